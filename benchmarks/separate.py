"""What a pass costs, step by step from `apply_model` to the machine's limit: `python -m benchmarks.separate`.

The ways of the ladder, each on top of the one before:
- `apply_model`: demucs' own, in a process of its own;
- `allocator settings`: the same with the settings of `schedopt.memory`: *the best plain way* for a pass;
- `ours`: all stems, then the target's alone, which is what a study runs; then with the settings that a probe of this
  machine chooses (`[separator] optimise`);
- `least possible`: the operations of the target's pass at the fastest rate of a matrix product or a convolution here.

All ways take turns, the plain ones in three processes one after the other, since by its place in memory a process may
take a sixth more than another for every pass; each row gives medians of CPU time and of the time on the clock. `ratio`
compares CPU time (on a CPU) with the best plain way. `max |Δ|` is the largest difference from `apply_model`, as a part
of the largest value.

`--profile` prints where the CPU time of the target's pass goes instead, by kinds of PyTorch's operations, and how near
to the machine's fastest rate they run.
"""

from __future__ import annotations

import argparse
import functools
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor

from benchmarks._harness import fresh_process, seconds_of, table, write_result
from benchmarks._models import MODELS, excerpts, operations, peak_rate, plain_pass, wait
from schedopt.data import mix
from schedopt.memory import keep_freed_memory
from schedopt.separators import Separator

TARGET = "vocals"
PLAIN = "allocator settings"
PROCESSES = 3
WARM_UP = 3
"""Passes of a new process that do not count: it takes memory from the system."""

KINDS = {
    "convolutions": ("conv",),
    "linear layers": ("addmm", "aten::mm", "linear"),
    "attention": ("attention", "attn", "bmm", "softmax"),
    "activations and norms": ("gelu", "glu", "sigmoid", "norm", "std", "mean"),
    "Fourier transforms": ("fft",),
    "copies": ("copy", "cat", "fill", "zero", "unfold", "pad"),
}
"""Parts of the names of operations; what has none of them is "other". Fused layers count their parts."""


@functools.cache
def _at_hand(name: str, device: str, seconds: float, keep: bool, threads: int) -> tuple[Any, Tensor]:
    """Model and mixture of a process that runs the plain way."""
    if keep:
        keep_freed_memory()
    torch.set_num_threads(threads)
    (excerpt,) = excerpts(1, seconds)
    return MODELS[name]().to(device), mix(excerpt.references).to(device)


def plain_seconds(name: str, device: str, seconds: float, keep: bool, threads: int) -> tuple[float, float]:
    """CPU time and time on the clock of one `apply_model`, in the process that calls this."""
    model, mixture = _at_hand(name, device, seconds, keep, threads)

    def work() -> None:
        plain_pass(model, mixture)
        wait(torch.device(device))

    return seconds_of(work)


def _in(process: Executor, *arguments: Any) -> tuple[float, float]:
    """`plain_seconds` in another process."""
    return process.submit(plain_seconds, *arguments).result()


def ladder(
    name: str, device: str, precisions: Sequence[str], batches: Sequence[int], seconds: float, repeats: int
) -> list[dict[str, Any]]:
    """The rows of one model on one device."""
    place, threads = torch.device(device), torch.get_num_threads()
    (excerpt,) = excerpts(1, seconds)
    mixture, model = mix(excerpt.references).to(place), MODELS[name]().to(place)
    expected = plain_pass(model, mixture)
    ours, change = _our_ways(model, device, precisions, batches, mixture, expected)
    taken: dict[str, list[tuple[float, float]]] = {}
    for _ in range(PROCESSES):
        with fresh_process() as bare, fresh_process() as kept:
            plain = {"apply_model": (bare, False), PLAIN: (kept, True)}
            ways: dict[str, Callable[[], tuple[float, float]]] = {
                way: functools.partial(_in, process, name, device, seconds, keep, threads)
                for way, (process, keep) in plain.items()
            }
            ways |= {way: functools.partial(seconds_of, work) for way, work in ours.items()}
            for way in list(plain) * WARM_UP:
                ways[way]()
            for _ in range(repeats):
                for way, run in ways.items():
                    taken.setdefault(way, []).append(run())
    separator = Separator.from_model(model, device=device)
    flops = sum(operations(lambda: separator(mixture[None], stems=(TARGET,))).values())
    least = flops / peak_rate(place, torch.float32)
    cost = {way: (median(cpu for cpu, _ in pairs), median(wall for _, wall in pairs)) for way, pairs in taken.items()}
    cost[f"least possible ({flops / 1e9:.1f} Gflop, {flops / least / 1e9:.0f} Gflop/s)"] = least, least
    clock = 0 if place.type == "cpu" else 1
    return [
        {
            "model": name,
            "device": device,
            "way": way,
            "CPU s": pair[0],
            "wall s": pair[1],
            "audio s / s": seconds / pair[clock],
            "ratio": cost[PLAIN][clock] / pair[clock],
            "max |Δ|": change.get(way),
        }
        for way, pair in cost.items()
    ]


def _our_ways(
    model: Any, device: str, precisions: Sequence[str], batches: Sequence[int], mixture: Tensor, expected: Tensor
) -> tuple[dict[str, Callable[[], None]], dict[str, float]]:
    """What each of our ways runs, by name, and how far its estimates are from those of `apply_model`."""
    separators = {}
    for precision in precisions:
        for batch in batches:
            suffix = (f", {precision}" if precision != "float32" else "") + (f", batch {batch}" if batch > 1 else "")
            options: dict[str, Any] = {"device": device, "precision": precision, "batch_segments": batch}
            plain = Separator.from_model(model, **options)
            separators[f"ours, all stems{suffix}"] = (plain, plain.stems)
            separators[f"ours, target only{suffix}"] = (plain, (TARGET,))
            faster = Separator.from_model(model, optimise=True, **options)
            if faster.optimised:
                names = " and ".join(faster.optimised)
                separators[f"ours, target only, {names}{suffix}"] = (faster, (TARGET,))

    def run(separator: Separator, stems: tuple[str, ...]) -> None:
        separator(mixture[None], stems=stems)
        wait(mixture.device)

    change = {}
    for way, (separator, stems) in separators.items():
        true = expected[[separator.stems.index(stem) for stem in stems]]
        change[way] = float((separator(mixture[None], stems=stems)[0] - true).abs().max() / true.abs().max())
    return {way: functools.partial(run, *pair) for way, pair in separators.items()}, change


def profiled(name: str, seconds: float, passes: int) -> list[dict[str, Any]]:
    """CPU time of a pass by kind of operation, without that of the operations which it calls."""
    keep_freed_memory()
    (excerpt,) = excerpts(1, seconds)
    mixture, separator = mix(excerpt.references)[None], Separator.from_model(MODELS[name](), device="cpu")
    separator(mixture, stems=(TARGET,))
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        for _ in range(passes):
            separator(mixture, stems=(TARGET,))
    spent: dict[str, float] = {}
    for one in profile.key_averages():
        kind = next((kind for kind, parts in KINDS.items() if any(part in one.key for part in parts)), "other")
        spent[kind] = spent.get(kind, 0) + one.self_cpu_time_total / 1e6 / passes
    total, done = sum(spent.values()), operations(lambda: separator(mixture, stems=(TARGET,)))
    peak = peak_rate(torch.device("cpu"), torch.float32)
    rates = {kind: flops / spent[kind] for kind, flops in done.items() if flops}
    return [
        {
            "model": name,
            "operations": kind,
            "CPU s": cpu,
            "%": round(100 * cpu / total, 1),
            "Gflop": round(done[kind] / 1e9, 1) if kind in rates else None,
            "Gflop/s": round(rates[kind] / 1e9, 1) if kind in rates else None,
            "% of peak": round(100 * rates[kind] / peak) if kind in rates else None,
        }
        for kind, cpu in sorted(spent.items(), key=lambda pair: -pair[1])
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--devices", nargs="+", default=["cuda" if torch.cuda.is_available() else "cpu"])
    parser.add_argument("--precisions", nargs="+", default=["float32"])
    parser.add_argument("--batches", nargs="+", type=int, default=[1])
    parser.add_argument("--seconds", type=float, default=5.3)
    parser.add_argument("--repeats", type=int, default=3, help="passes of each process that count")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--models", nargs="+", default=list(MODELS), choices=list(MODELS))
    parser.add_argument("--json", type=Path, help="file of the result; default: results/separate.json or profile.json")
    parser.add_argument("--profile", action="store_true", help="print where the time of a pass on the CPU goes")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.profile:
        shares = [row for name in options.models for row in profiled(name, options.seconds, options.repeats)]
        print(table(shares))
        write_result("profile", shares, options.json)
        return
    rows = [
        row
        for name in options.models
        for device in options.devices
        for row in ladder(name, device, options.precisions, options.batches, options.seconds, options.repeats)
    ]
    print(table(rows))
    write_result("separate", rows, options.json)


if __name__ == "__main__":
    main()

"""Train the bundled separator: `python -m schedopt.demo.train --minutes 45`.

The recipe: L1 error of waveforms, later with the RMS error beside it; AdamW with a cosine decay over the budget;
crops of 2 s; a running average of the weights. Songs are rendered first (some minutes) and kept in the cache folder,
beside the checkpoint for `--resume`.
"""

import argparse
import copy
import json
import math
import os
import platform
import shlex
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from demucs.hdemucs import HDemucs

from schedopt.demo.seeds import TRAIN_SEEDS, VALIDATION_SEEDS
from schedopt.demo.songs import Songs, draw_batch, load_songs
from schedopt.demo.synth import SAMPLE_RATE, STEMS
from schedopt.demo.weights import (
    MODEL_ARGUMENTS,
    MODEL_CLASS,
    RECORD,
    WEIGHTS,
    build_model,
    measure,
    save_weights,
)
from schedopt.files.writing import write_text
from schedopt.memory import keep_freed_memory

WARM_UP = 100  # steps over which the learning rate rises
FLOOR = 0.01  # part of the learning rate that is left at the end


@dataclass(frozen=True)
class Recipe:
    """What determines a training run, up to the speed of the machine if the budget is in minutes."""

    minutes: float = 45.0
    steps: int | None = None  # budget in steps; takes the place of the minutes
    seed: int = 0
    songs: int = len(TRAIN_SEEDS)
    song_seconds: float = 10.0
    batch: int = 4
    crop_seconds: float = 2.0
    learning_rate: float = 1.5e-3
    robust_part: float = 0.25  # of the budget, from its start, that minimises the L1 error alone
    average: float = 0.999  # decay of the running average of the weights
    bfloat16: bool = False  # autocast: faster with AMX or AVX512-BF16, slower without
    validation_songs: int = len(VALIDATION_SEEDS)
    validation_seconds: float = 20.0


@dataclass
class Run:
    """What a checkpoint holds: everything that changes while a run trains."""

    model: HDemucs
    averaged: HDemucs
    optimizer: torch.optim.Optimizer
    rng: np.random.Generator
    step: int = 0
    seconds: float = 0.0
    losses: list[float] = field(default_factory=list)  # mean over each interval of LOG_EVERY steps
    commands: list[str] = field(default_factory=list)  # that led here; more than one if the run was resumed


LOG_EVERY = 20
CHECKPOINT_SECONDS = 180.0
EXPORT_SECONDS = 600.0


def train(
    recipe: Recipe, out: Path, cache: Path, resume: bool = False, command: str = "", processes: int | None = None
) -> dict[str, Any]:
    """Train, write `out`/demo.safetensors and `out`/training.json, and return the record."""
    keep_freed_memory()
    seeds = TRAIN_SEEDS[: recipe.songs]
    songs = load_songs(cache / "songs", seeds, recipe.song_seconds, processes)
    run = start_run(recipe)
    checkpoint = cache / "checkpoint.pt"
    if resume and checkpoint.exists():
        restore(run, checkpoint)
    run.commands.append(command)
    _train_until_spent(recipe, run, songs, out / WEIGHTS.name, checkpoint)
    record = _finish(recipe, run, out)
    save_checkpoint(run, checkpoint)
    return record


def start_run(recipe: Recipe) -> Run:
    """A run at step 0."""
    torch.manual_seed(recipe.seed)
    model = build_model()
    return Run(
        model=model,
        averaged=copy.deepcopy(model),
        optimizer=torch.optim.AdamW(model.parameters(), lr=recipe.learning_rate),
        rng=np.random.default_rng(recipe.seed),
    )


def spent(recipe: Recipe, run: Run) -> float:
    """Part of the budget that is used up, from 0 to 1 and beyond."""
    return run.step / recipe.steps if recipe.steps is not None else run.seconds / (60 * recipe.minutes)


def learning_rate(recipe: Recipe, run: Run) -> float:
    """Linear warm-up, then a half cosine down to FLOOR at the end of the budget."""
    decay = FLOOR + (1 - FLOOR) * (0.5 + 0.5 * math.cos(math.pi * min(1.0, spent(recipe, run))))
    return recipe.learning_rate * min(1.0, (run.step + 1) / WARM_UP) * decay


def separation_error(estimates: torch.Tensor, references: torch.Tensor, robust: bool) -> torch.Tensor:
    """Training error of (batch, stems, channels, samples): L1, and unless `robust` the RMS error of each stem besides.

    An RMS error, alone from the start, teaches the model to hedge: half of what may be voice or chords goes to each,
    and there it stays. L1 makes it choose, but its choice for a sparse stem that is not yet understood is silence, and
    there the drums stay. So L1 comes first, and both together later. (Tried over 600 to 1,000 steps each.)
    """
    error = estimates - references
    absolute = error.abs().mean()
    if robust:
        return absolute
    return torch.as_tensor(absolute + (error.square().mean(dim=(2, 3)) + 1e-8).sqrt().mean())


def train_step(recipe: Recipe, run: Run, songs: Songs) -> float:
    """One update of the model and of its running average; returns the loss."""
    crops = draw_batch(songs, run.rng, recipe.batch, round(recipe.crop_seconds * SAMPLE_RATE))
    references = torch.from_numpy(crops)  # (batch, stems, channels, samples)
    mixture = references.sum(dim=1)
    mono = mixture.mean(dim=1)
    # As `separate` normalises: the model sees mixtures, and learns stems, at the scale it will meet.
    deviation = mono.std(dim=-1)[:, None, None] + 1e-3
    mixture = (mixture - mono.mean(dim=-1)[:, None, None]) / deviation
    for group in run.optimizer.param_groups:
        group["lr"] = learning_rate(recipe, run)
    with torch.autocast("cpu", torch.bfloat16, enabled=recipe.bfloat16):
        estimates = run.model(mixture)
    robust = spent(recipe, run) < recipe.robust_part
    loss = separation_error(estimates.float(), references / deviation[:, None], robust)
    run.optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    torch.nn.utils.clip_grad_norm_(run.model.parameters(), 5.0)
    run.optimizer.step()
    run.step += 1
    _average(run, min(recipe.average, (1 + run.step) / (10 + run.step)))
    return float(loss.detach())


@torch.no_grad()
def _average(run: Run, decay: float) -> None:
    """Move the averaged weights towards the model's; a short average early on forgets the random start."""
    for mean, value in zip(run.averaged.state_dict().values(), run.model.state_dict().values(), strict=True):
        mean.lerp_(value, 1 - decay)


def _train_until_spent(recipe: Recipe, run: Run, songs: Songs, weights: Path, checkpoint: Path) -> None:
    saved = exported = run.seconds
    recent: list[float] = []
    run.model.train()
    while spent(recipe, run) < 1:
        begun = time.monotonic()
        recent.append(train_step(recipe, run, songs))
        run.seconds += time.monotonic() - begun
        if run.step % LOG_EVERY == 0:
            run.losses.append(float(np.mean(recent)))
            recent.clear()
            print(f"step {run.step}  {run.seconds / 60:.1f} min  loss {run.losses[-1]:.4f}", flush=True)
        if run.seconds - saved > CHECKPOINT_SECONDS:
            saved = run.seconds
            save_checkpoint(run, checkpoint)
        if run.seconds - exported > EXPORT_SECONDS:
            exported = run.seconds
            save_weights(run.averaged, weights)
            figures = np.median(measure(run.averaged, VALIDATION_SEEDS[:8], recipe.validation_seconds), axis=0)
            print("median SNR of 8 songs:", dict(zip(STEMS, figures.round(2).tolist(), strict=True)), flush=True)


def save_checkpoint(run: Run, path: Path) -> None:
    """Write everything that `restore` needs; replaces the file in one go."""
    part = path.with_name(path.name + ".part")
    content = {
        "model": run.model.state_dict(),
        "averaged": run.averaged.state_dict(),
        "optimizer": run.optimizer.state_dict(),
        "rng": json.dumps(run.rng.bit_generator.state),
        "step": run.step,
        "seconds": run.seconds,
        "losses": run.losses,
        "commands": run.commands,
    }
    torch.save(content, part)
    os.replace(part, path)


def restore(run: Run, path: Path) -> None:
    """Put a run back to where `save_checkpoint` left it."""
    content = torch.load(path, weights_only=True)
    run.model.load_state_dict(content["model"])
    run.averaged.load_state_dict(content["averaged"])
    run.optimizer.load_state_dict(content["optimizer"])
    run.rng.bit_generator.state = json.loads(content["rng"])
    run.step, run.seconds, run.losses = content["step"], content["seconds"], content["losses"]
    run.commands = content["commands"]


def _finish(recipe: Recipe, run: Run, out: Path) -> dict[str, Any]:
    """Write weights and record; the figures are those of the weights as stored."""
    path = out / WEIGHTS.name
    digest = save_weights(run.averaged, path)
    stored = copy.deepcopy(run.averaged)
    stored.load_state_dict({name: tensor.half() for name, tensor in run.averaged.state_dict().items()})
    seeds = VALIDATION_SEEDS[: recipe.validation_songs]
    figures = measure(stored, seeds, recipe.validation_seconds)  # (songs, stems)
    record = {
        "commands": run.commands,
        "recipe": asdict(recipe),
        "model": {"class": MODEL_CLASS, "arguments": dict(MODEL_ARGUMENTS)},
        "parameters": sum(parameter.numel() for parameter in run.model.parameters()),
        "train_seeds": [TRAIN_SEEDS[0], TRAIN_SEEDS[recipe.songs - 1]],
        "validation_seeds": [seeds[0], seeds[-1]],
        "steps": run.step,
        "minutes": round(run.seconds / 60, 2),
        "machine": describe_machine(),
        "versions": {name: version(name) for name in ("torch", "demucs", "numpy", "scipy")}
        | {"python": platform.python_version()},
        "loss": thin(run.losses, LOG_EVERY, points=100),
        "snr_median": dict(zip(STEMS, np.median(figures, axis=0).round(3).tolist(), strict=True)),
        "snr_songs": {
            str(seed): dict(zip(STEMS, row.round(3).tolist(), strict=True))
            for seed, row in zip(seeds, figures, strict=True)
        },
        "sha256": digest,
    }
    write_text(out / RECORD.name, json.dumps(record, indent=1) + "\n")
    return record


def thin(losses: Sequence[float], every: int, points: int) -> list[list[float]]:
    """At most `points` pairs (step, mean loss since the pair before) of a curve with a value each `every` steps."""
    width = max(1, math.ceil(len(losses) / points))
    starts = range(0, len(losses), width)
    means = [float(np.mean(losses[start : start + width])) for start in starts]
    ends = [min(start + width, len(losses)) * every for start in starts]
    return [[end, round(mean, 5)] for end, mean in zip(ends, means, strict=True)]


def describe_machine() -> str:
    """Processor, cores and threads in words."""
    processor = platform.processor() or platform.machine()
    information = Path("/proc/cpuinfo")
    if information.exists():
        names = [line.split(":", 1)[1].strip() for line in information.read_text().splitlines() if "model name" in line]
        processor = names[0] if names else processor
    return f"{processor}, {os.cpu_count()} cores, {torch.get_num_threads()} threads, {platform.system()}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line of the training."""
    defaults = Recipe()
    parser = argparse.ArgumentParser(prog="python -m schedopt.demo.train", description=__doc__)
    parser.add_argument("--minutes", type=float, default=defaults.minutes, help="training time (%(default)s)")
    parser.add_argument("--steps", type=int, help="budget in steps instead of minutes; repeatable")
    parser.add_argument("--seed", type=int, default=defaults.seed, help="of weights and batches (%(default)s)")
    parser.add_argument("--songs", type=int, default=defaults.songs, help="training songs (%(default)s)")
    parser.add_argument("--batch", type=int, default=defaults.batch, help="crops a step (%(default)s)")
    parser.add_argument("--learning-rate", type=float, default=defaults.learning_rate, help="at its peak (%(default)s)")
    parser.add_argument("--bfloat16", action="store_true", help="autocast; pays on processors with AMX")
    parser.add_argument("--out", type=Path, default=WEIGHTS.parent, help="folder of weights and record (%(default)s)")
    parser.add_argument(
        "--cache",
        type=Path,
        default=Path(tempfile.gettempdir()) / "schedopt-demo-training",
        help="folder of rendered songs and checkpoint (%(default)s)",
    )
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoint in the cache folder")
    options = vars(parser.parse_args(arguments))
    out, cache, resume = options.pop("out"), options.pop("cache"), options.pop("resume")
    words = sys.argv[1:] if arguments is None else arguments
    command = shlex.join(["python", "-m", "schedopt.demo.train", *words])
    record = train(Recipe(**options), out, cache, resume, command)
    print(json.dumps(record["snr_median"]))
    return 0


if __name__ == "__main__":
    sys.exit(main())

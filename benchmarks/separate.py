"""Seconds of audio separated per second, against `apply_model`: `python -m benchmarks.separate`.

Each row is one model, device, precision and batch of segments. `ratio` compares with demucs' own `apply_model`
in float32 on the same device in the same run, in a process of its own; `mean |ΔSNR|` is the change of the estimates'
SNR against float32 (it means something only for weights that separate); `share` is the counted operations per second
over what a plain matrix product of the same precision reaches.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from demucs.apply import apply_model

from benchmarks._harness import best_of, fresh_process, table, write_result
from benchmarks._models import MODELS, excerpts, operations, product_rate, wait
from schedopt.data import mix
from schedopt.metrics import snr
from schedopt.separators import Separator


def plain_seconds(name: str, device: str, seconds: float, repeats: int) -> float:
    """What `apply_model` takes for the excerpt."""
    place = torch.device(device)
    (excerpt,) = excerpts(1, seconds)
    model, mixture = MODELS[name]().to(place), mix(excerpt.references).to(place)

    def plainly() -> None:
        with torch.no_grad():
            apply_model(model, mixture[None], shifts=0)
        wait(place)

    plainly()
    return best_of(repeats, plainly)


def rows_of(
    name: str, device: str, precisions: Sequence[str], batches: Sequence[int], seconds: float, repeats: int
) -> list[dict[str, Any]]:
    """A row for `apply_model`, and one for each precision and batch of ours."""
    place = torch.device(device)
    (excerpt,) = excerpts(1, seconds)
    references = excerpt.references.to(place)
    mixture = mix(excerpt.references).to(place)
    model = MODELS[name]()
    flops = operations(model.to(place), mixture)
    rates = {"float32": product_rate(place, torch.float32), "bfloat16": product_rate(place, torch.bfloat16)}
    with fresh_process() as process:
        plain = process.submit(plain_seconds, name, device, seconds, repeats).result()
    rows = [
        _row(name, device, "apply_model", "float32", 1, seconds / plain, 1.0, flops / plain / rates["float32"], None)
    ]
    exact = Separator.from_model(model, device=device)(mixture[None])[0]
    for precision in precisions:
        for batch in batches:
            separator = Separator.from_model(model, device=device, precision=precision, batch_segments=batch)
            found = separator(mixture[None])[0]
            change = (snr(references, found) - snr(references, exact)).abs().mean()

            def ours(separator: Separator = separator) -> None:
                separator(mixture[None])
                wait(place)

            took = best_of(repeats, ours)
            share = flops / took / rates[precision]
            rows.append(
                _row(name, device, "schedopt", precision, batch, seconds / took, plain / took, share, float(change))
            )
    return rows


def _row(
    model: str,
    device: str,
    way: str,
    precision: str,
    batch: int,
    speed: float,
    ratio: float,
    share: float,
    change: float | None,
) -> dict[str, Any]:
    row = {
        "model": model,
        "device": device,
        "way": way,
        "precision": precision,
        "batch": batch,
        "audio s / s": speed,
        "ratio": ratio,
        "share of the matrix product": share,
        "mean |ΔSNR| dB": change,
    }
    print(row, flush=True)
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--devices", nargs="+", default=["cpu", *(["cuda"] if torch.cuda.is_available() else [])])
    parser.add_argument("--precisions", nargs="+", default=["float32", "bfloat16"])
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 2, 4, 8, 16, 32])
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--models", nargs="+", default=list(MODELS), choices=list(MODELS))
    parser.add_argument("--json", type=Path, help="file of the result; default: benchmarks/results/separate.json")
    options = parser.parse_args()
    rows = [
        row
        for name in options.models
        for device in options.devices
        for row in rows_of(name, device, options.precisions, options.batches, options.seconds, options.repeats)
    ]
    print(table(rows))
    write_result("separate", rows, options.json)


if __name__ == "__main__":
    main()

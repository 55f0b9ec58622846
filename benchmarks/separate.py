"""Seconds of audio separated per second, against `apply_model`: `python -m benchmarks.separate`.

Each row is one model, device, precision and batch of segments. `ratio` compares with demucs' own `apply_model`
in float32 on the same device in the same run; `mean |ΔSNR|` is the change of the estimates' SNR against float32 (it
means something only for weights that separate); `share` is the counted operations per second over what a plain matrix
product of the same precision reaches.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from demucs.apply import Model, apply_model
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from benchmarks._harness import best_of, table, write_result
from benchmarks.study import demo_model, excerpts, htdemucs_sized
from schedopt.data import mix
from schedopt.metrics import snr
from schedopt.separator import Separator

SIZE = 2048
"""Side of the matrices of the plain product."""


def product_rate(device: torch.device, dtype: torch.dtype) -> float:
    """Operations a second of a square matrix product (2·n³ of them)."""
    a, b = (torch.randn(SIZE, SIZE, device=device, dtype=dtype) for _ in range(2))

    def multiply() -> None:
        torch.mm(a, b)
        _wait(device)

    multiply()
    return 2 * SIZE**3 / best_of(5, multiply)


def operations(model: Model, mixture: Tensor) -> int:
    """Multiplications and additions of one pass, counted by torch (convolutions and products, not the FFTs)."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        apply_model(model, mixture[None], shifts=0)
    return int(counter.get_total_flops())


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def rows_of(
    name: str, model: Model, device: str, batches: Sequence[int], seconds: float, repeats: int
) -> list[dict[str, Any]]:
    """A row for `apply_model`, and one for each precision and batch of ours."""
    place = torch.device(device)
    (excerpt,) = excerpts(1, seconds)
    references = excerpt.references.to(place)
    mixture = mix(excerpt.references).to(place)
    flops = operations(model.to(place), mixture)
    rates = {"float32": product_rate(place, torch.float32), "bfloat16": product_rate(place, torch.bfloat16)}

    def plainly() -> None:
        with torch.no_grad():
            apply_model(model, mixture[None], shifts=0)
        _wait(place)

    plainly()
    plain = best_of(repeats, plainly)
    rows = [
        _row(name, device, "apply_model", "float32", 1, seconds / plain, 1.0, flops / plain / rates["float32"], None)
    ]
    exact = Separator.from_model(model, device=device)(mixture[None])[0]
    for precision in ("float32", "bfloat16"):
        for batch in batches:
            separator = Separator.from_model(model, device=device, precision=precision, batch_segments=batch)
            found = separator(mixture[None])[0]
            change = (snr(references, found) - snr(references, exact)).abs().mean()

            def ours(separator: Separator = separator) -> None:
                separator(mixture[None])
                _wait(place)

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
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 2, 4, 8, 16, 32])
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--models", nargs="+", default=["demo", "htdemucs"], choices=["demo", "htdemucs"])
    parser.add_argument("--json", type=Path, help="file of the result; default: benchmarks/results/separate.json")
    options = parser.parse_args()
    models = {"demo": demo_model, "htdemucs": htdemucs_sized}
    rows = [
        row
        for name in options.models
        for device in options.devices
        for row in rows_of(name, models[name](), device, options.batches, options.seconds, options.repeats)
    ]
    print(table(rows))
    write_result("separate", rows, options.json)


if __name__ == "__main__":
    main()

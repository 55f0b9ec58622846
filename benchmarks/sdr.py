"""Seconds that mir_eval, torchmetrics and schedopt take for BSS Eval's SDR, and how far the scores lie apart.

    python -m benchmarks.sdr [--seconds 5 10 30 60] [--repeats 5] [--json [FILE]]

Signals are coloured stereo noise at 44.1 kHz, each estimate its reference with a fifth of the other stems. mir_eval is
called as it is meant to be, once a channel with all stems (`compute_permutation=False`); it computes SIR and SAR too
and cannot do without. Times are the best of `--repeats` runs (of one for mir_eval, of three for torchmetrics and for
preparation).
"""

from __future__ import annotations

import argparse
import importlib.util
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import signal

from benchmarks._harness import best_of, table, write_result
from schedopt.metrics import PreparedReference

RATE = 44100


def signals(stems: int, seconds: float) -> tuple[torch.Tensor, torch.Tensor]:
    """References and estimates, (stems, 2, samples) float32 each, the same for the same arguments."""
    rng = np.random.default_rng(0)
    white = rng.standard_normal((4, 2, round(seconds * RATE))) * 0.05
    stems_of_song = np.stack(
        [signal.lfilter([1.0], [1.0, -pole], x) for pole, x in zip((0.5, 0.95, 0.9, 0.8), white, strict=True)]
    )
    references = torch.from_numpy(stems_of_song).float()
    estimates = references + 0.2 * (references.sum(dim=0) - references)
    return references[:stems].contiguous(), estimates[:stems].contiguous()


def by_mir_eval(references: torch.Tensor, estimates: torch.Tensor) -> torch.Tensor:
    """(stems,) dB."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from mir_eval.separation import bss_eval_sources

        channels = [
            bss_eval_sources(
                references[:, c].double().numpy(), estimates[:, c].double().numpy(), compute_permutation=False
            )[0]
            for c in range(references.shape[1])
        ]
    return torch.from_numpy(np.mean(channels, axis=0))


def by_torchmetrics(references: torch.Tensor, estimates: torch.Tensor) -> torch.Tensor:
    """(stems,) dB."""
    from torchmetrics.functional.audio import signal_distortion_ratio

    scores: torch.Tensor = signal_distortion_ratio(estimates.double(), references.double())
    return scores.mean(dim=-1)


def measure(stems: int, seconds: float, repeats: int, with_torchmetrics: bool) -> dict[str, Any]:
    """One line of the table."""
    references, estimates = signals(stems, seconds)
    scores: dict[str, torch.Tensor] = {}

    def keep(name: str, values: torch.Tensor) -> None:
        scores[name] = values

    by_mir_eval(references[..., :RATE], estimates[..., :RATE])  # the first call imports
    theirs = best_of(1, lambda: keep("mir_eval", by_mir_eval(references, estimates)))
    torchmetrics = None
    if with_torchmetrics:
        by_torchmetrics(references[..., :RATE], estimates[..., :RATE])
        torchmetrics = best_of(3, lambda: by_torchmetrics(references, estimates))
    prepared = PreparedReference(references)
    ours = best_of(repeats, lambda: keep("ours", prepared.sdr(estimates)))
    preparing = best_of(3, lambda: PreparedReference(references))
    return {
        "audio (s)": seconds,
        "stems": stems,
        "mir_eval (s)": theirs,
        "torchmetrics (s)": torchmetrics,
        "prepared (s)": ours,
        "with preparation (s)": ours + preparing,
        "mir_eval ÷ prepared": theirs / ours,
        "torchmetrics ÷ prepared": torchmetrics / ours if torchmetrics else None,
        "max difference (dB)": (scores["ours"] - scores["mir_eval"]).abs().max().item(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sdr", description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--seconds", type=float, nargs="+", default=[5.0, 10.0, 30.0, 60.0], help="lengths of the excerpts"
    )
    parser.add_argument("--repeats", type=int, default=5, help="runs of which the best counts (default 5)")
    parser.add_argument("--json", type=Path, help="file of the result; default: benchmarks/results/sdr.json")
    arguments = parser.parse_args()

    with_torchmetrics = importlib.util.find_spec("torchmetrics") is not None
    if not with_torchmetrics:
        print("torchmetrics not installed")
    rows = [
        measure(stems, seconds, arguments.repeats, with_torchmetrics)
        for seconds in arguments.seconds
        for stems in (1, 4)
    ]
    print(table(rows))
    write_result("sdr", rows, arguments.json)


if __name__ == "__main__":
    main()

"""What all metrics share: checks of shapes, the range of scores, the mean over channels."""

from __future__ import annotations

import functools
import logging

import torch

from schedopt.errors import DataError

FLOOR_DB = -100.0
"""The lowest score, also of an estimate that has none (silent, not finite): at −100 dB the reference's share of an
estimate is below one step of 16-bit audio, so no separator's estimate falls under it, and means stay finite."""

CEILING_DB = 150.0
"""The highest score, also of a perfect estimate: float32 signals that differ by rounding alone are 150 dB apart."""


def check_reference(reference: torch.Tensor) -> torch.Tensor:
    """Which channels of (…, channels, samples) sound: (…, channels) bool.

    Raises `DataError` unless there are samples, all are finite, and one channel at least sounds at every leading index.
    """
    if reference.ndim < 2 or reference.numel() == 0 or not reference.is_floating_point():
        raise DataError(
            "a reference needs the shape (…, channels, samples) and float samples, "
            f"not {tuple(reference.shape)} of {_type(reference)}"
        )
    peaks = reference.abs().amax(dim=-1)  # (…, channels)
    if not peaks.isfinite().all():
        raise DataError("a reference has samples that are not finite")
    sounding = peaks > 0
    silent = (~sounding.any(dim=-1)).nonzero()
    if len(silent):
        which = f"reference {tuple(silent[0].tolist())}" if reference.ndim > 2 else "the reference"
        raise DataError(f"{which} is silent, so no estimate can be scored against it: leave it out")
    return sounding


def check_estimates(shape: torch.Size, estimates: torch.Tensor) -> None:
    """Raises `DataError` unless there are estimates, of the reference's `shape` after any further leading axes."""
    fits = estimates.shape[-len(shape) :] == shape and estimates.numel() > 0
    if not fits or not estimates.is_floating_point():
        raise DataError(
            f"an estimate of shape {tuple(estimates.shape)} and {_type(estimates)} samples does not fit its reference "
            f"of shape {tuple(shape)}: channels and samples must be the same, samples float"
        )


def float64_device(tensor: torch.Tensor) -> torch.device:
    """Where to compute: the tensor's own device if it has float64, else the CPU."""
    return torch.device("cpu") if tensor.device.type == "mps" else tensor.device


def decibels(
    signal: torch.Tensor, distortion: torch.Tensor, energy: torch.Tensor, sounding: torch.Tensor
) -> torch.Tensor:
    """Mean over the sounding channels of 10·log10(signal / distortion): energies (…, channels) → dB, (…,).

    Each channel's score is held between `FLOOR_DB` and `CEILING_DB`; one that is not a number gets `FLOOR_DB`.
    `energy` is the estimate's own: where it is zero or not finite, the log says so once in a process.
    """
    if (sounding & ~((energy > 0) & energy.isfinite())).any():
        _warn_once(
            "an estimate is silent or has samples that are not finite: "
            f"it scores {FLOOR_DB:g} dB (0 dB where silence is scored by SNR)"
        )
    score = 10 * torch.log10(signal / distortion)
    score = score.nan_to_num(FLOOR_DB, CEILING_DB, FLOOR_DB).clamp(FLOOR_DB, CEILING_DB)
    return (score * sounding).sum(dim=-1) / sounding.sum(dim=-1)


@functools.cache
def _warn_once(message: str) -> None:
    logging.getLogger("schedopt").warning(message)


def _type(tensor: torch.Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")

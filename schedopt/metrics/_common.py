"""What all metrics share: checks of shapes, the range of scores, the mean over channels."""

from __future__ import annotations

import functools
import logging

import torch

from schedopt.errors import DataError

FLOOR_DB = -100.0
"""The lowest score, also of an estimate that has none (silent, not finite): at −100 dB the reference's share of an estimate is
below one step of 16-bit audio, so no estimate that a separator makes falls under it, and a mean over tracks stays finite."""

CEILING_DB = 150.0
"""The highest score, also of a perfect estimate: two float32 signals that differ by rounding alone are about 150 dB apart."""


def check_reference(reference: torch.Tensor) -> torch.Tensor:
    """Which channels of (…, channels, samples) sound: (…, channels) bool.

    Raises `DataError` unless there are samples, all are finite, and one channel at least sounds at every leading index.
    """
    if reference.ndim < 2 or reference.numel() == 0 or not reference.is_floating_point():
        raise DataError(
            f"a reference needs the shape (…, channels, samples) and float samples, not {tuple(reference.shape)} "
            f"of {str(reference.dtype).removeprefix('torch.')}"
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
    """Raises `DataError` unless estimates have the reference's `shape` with any leading axes before it."""
    if estimates.shape[-len(shape) :] != shape or not estimates.is_floating_point():
        raise DataError(
            f"an estimate of shape {tuple(estimates.shape)} ({str(estimates.dtype).removeprefix('torch.')}) does not fit "
            f"its reference of shape {tuple(shape)}: channels and samples must be the same, samples float"
        )


def float64_device(tensor: torch.Tensor) -> torch.device:
    """Where to compute: the tensor's own device if it has float64, else the CPU."""
    return torch.device("cpu") if tensor.device.type == "mps" else tensor.device


def decibels(
    signal: torch.Tensor, distortion: torch.Tensor, energy: torch.Tensor, sounding: torch.Tensor
) -> torch.Tensor:
    """Mean over the sounding channels of 10·log10(signal / distortion): energies (…, channels) → dB, (…,).

    Each channel's score is held between `FLOOR_DB` and `CEILING_DB`; one that is not a number gets `FLOOR_DB`. `energy` is the
    estimate's own: where it is zero or not finite, this is said once in the log.
    """
    if (sounding & ~((energy > 0) & energy.isfinite())).any():
        _warn_once("an estimate is silent or has samples that are not finite; it is scored all the same, as low as can be")
    score = 10 * torch.log10(signal / distortion)
    score = score.nan_to_num(FLOOR_DB, CEILING_DB, FLOOR_DB).clamp(FLOOR_DB, CEILING_DB)
    return (score * sounding).sum(dim=-1) / sounding.sum(dim=-1)


@functools.cache
def _warn_once(message: str) -> None:
    logging.getLogger("schedopt").warning(message)

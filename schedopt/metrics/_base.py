"""What a metric is, and what all of them share: checks, the range of scores, the mean over channels."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from schedopt.errors import ConfigError, DataError

FLOOR_DB = -100.0
"""The lowest score, also of an estimate that has none (silent, not finite): at −100 dB the reference's share of an
estimate is below one step of 16-bit audio, so no separator's estimate falls under it, and means stay finite."""

CEILING_DB = 150.0
"""The highest score, also of a perfect estimate: float32 signals that differ by rounding alone are 150 dB apart."""

Score = Callable[[Tensor], Tensor]
"""Estimates (…, channels, samples) → scores (…,), float64; raises `DataError` where shapes do not fit."""


@dataclass(frozen=True)
class Truth:
    """What estimates are scored against.

    Attributes:
        reference: the target's, (…, channels, samples).
        references: those of all stems, (stems, channels, samples), if they are known.
        target: index of `reference` in `references`.
        sample_rate: Hz.
        keep_transform: whether a metric may keep more than the samples to be faster (see `PreparedReference`).
    """

    reference: Tensor
    references: Tensor | None = None
    target: int = 0
    sample_rate: int = 44_100
    keep_transform: bool = True


@dataclass(frozen=True)
class Metric:
    """A way to score estimates.

    Attributes:
        name: as study files and commands write it.
        title: as tables and figures write it.
        doc: one line for users.
        prepare: does once what does not depend on the estimate. Raises `DataError` on a reference that cannot be
            scored against.
        unit: of the score.
        direction: whether higher scores are better (`maximize`).
        needs_all_stems: whether `prepare` reads `Truth.references`.
        over_tracks: how publications that use the metric average the scores of tracks.
    """

    name: str
    title: str
    doc: str
    prepare: Callable[[Truth], Score]
    unit: str = "dB"
    direction: Literal["maximize", "minimize"] = "maximize"
    needs_all_stems: bool = False
    over_tracks: Literal["mean", "median"] = "mean"


def all_stems(truth: Truth) -> tuple[Tensor, int, Tensor]:
    """All references (stems, channels, samples), the target's index, and in which channels the target sounds.

    Raises `ConfigError` where they are not given, `DataError` where they cannot be used.
    """
    references, target = truth.references, truth.target
    if references is None:
        raise ConfigError("this metric needs the references of all stems: scorer(metric, references=…, target=…)")
    sounding = check_reference(references[target])
    if not references.isfinite().all():
        raise DataError("a reference has samples that are not finite")
    return references, target, sounding.to(float64_device(references))


def check_reference(reference: Tensor) -> Tensor:
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


def check_estimates(shape: torch.Size, estimates: Tensor, sounding: Tensor) -> None:
    """Raises `DataError` unless there are estimates, of the reference's `shape` after any further leading axes.

    Where one is silent or not finite in a channel in which the reference sounds, the log says so once in a process (not
    on cuda, where looking would wait for the GPU).
    """
    fits = estimates.shape[-len(shape) :] == shape and estimates.numel() > 0
    if not fits or not estimates.is_floating_point():
        raise DataError(
            f"an estimate of shape {tuple(estimates.shape)} and {_type(estimates)} samples does not fit its reference "
            f"of shape {tuple(shape)}: channels and samples must be the same, samples float"
        )
    if estimates.device.type != "cuda":
        peaks = torch.linalg.vector_norm(estimates, torch.inf, dim=-1).to(sounding.device)
        if (sounding & ~((peaks > 0) & peaks.isfinite())).any():
            _warn_once(
                "an estimate is silent or has samples that are not finite: it gets the lowest score "
                "(0 dB where silence is scored by SNR)"
            )


def float64_device(tensor: Tensor) -> torch.device:
    """Where to compute: the tensor's own device if it has float64, else the CPU."""
    return torch.device("cpu") if tensor.device.type == "mps" else tensor.device


def decibels(signal: Tensor, distortion: Tensor, sounding: Tensor) -> Tensor:
    """Mean over the sounding channels of 10·log10(signal / distortion): energies (…, channels) → dB, (…,)."""
    score = bounded(10 * torch.log10(signal / distortion))
    return (score * sounding).sum(dim=-1) / sounding.sum(dim=-1)


def bounded(score: Tensor) -> Tensor:
    """Scores in dB between `FLOOR_DB` and `CEILING_DB`, the floor for what is not a number."""
    return score.nan_to_num(FLOOR_DB, CEILING_DB, FLOOR_DB).clamp(FLOOR_DB, CEILING_DB)


@functools.cache
def _warn_once(message: str) -> None:
    logging.getLogger("schedopt").warning(message)


def _type(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")

"""How close an estimate comes to its reference, in dB; channels are averaged.

    sdr     BSS Eval v3, equal to mir_eval's `bss_eval_sources`: any filter of 512 taps is forgiven
    si_sdr  Le Roux et al. 2019: any gain is forgiven
    snr     equation 1 of the report: nothing is forgiven

Audio is (…, channels, samples) of any float type; scores are float64, computed in float64, one for each leading index.
A reference may lack leading axes of its estimates: four references (4, 2, n) score six steps (6, 4, 2, n) as (6, 4).
Every score is finite: between `FLOOR_DB` and `CEILING_DB`.

>>> import torch
>>> reference = torch.tensor([[1.0, -1.0, 1.0, -1.0]])  # one channel
>>> estimate = torch.tensor([[0.5, -0.5, 0.5, -0.4]])
>>> round(snr(reference, estimate).item(), 3), round(si_sdr(reference, estimate).item(), 3)
(5.567, 20.804)
>>> scorer("sdr", reference)(torch.stack([estimate, 2 * estimate])).shape
torch.Size([2])
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Literal

import torch

from schedopt.errors import ConfigError
from schedopt.metrics._bss_eval import PreparedReference, sdr
from schedopt.metrics._common import CEILING_DB, FLOOR_DB, check_reference
from schedopt.metrics._ratios import si_sdr, snr

__all__ = ["CEILING_DB", "FLOOR_DB", "METRICS", "Metric", "PreparedReference", "scorer", "sdr", "si_sdr", "snr"]

Metric = Literal["sdr", "si_sdr", "snr"]

METRICS: dict[Metric, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]] = {
    "sdr": sdr,
    "si_sdr": si_sdr,
    "snr": snr,
}
"""Name → function of (reference, estimate)."""


def scorer(
    metric: Metric, reference: torch.Tensor, *, keep_transform: bool = True
) -> Callable[[torch.Tensor], torch.Tensor]:
    """The metric on one reference, checked and prepared once: estimates (…, channels, samples) → dB, (…,) float64.

    `keep_transform` is that of `PreparedReference`.

    Raises `ConfigError` on an unknown metric and `DataError` on a reference that cannot be scored against.
    """
    if metric not in METRICS:
        raise ConfigError(f"metric {metric!r} is not known: choose one of {', '.join(METRICS)}")
    if metric == "sdr":
        return PreparedReference(reference, keep_transform=keep_transform).sdr
    check_reference(reference)
    return partial(METRICS[metric], reference)

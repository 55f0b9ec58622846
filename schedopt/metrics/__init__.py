"""How close an estimate comes to its reference.

    sdr         BSS Eval v3, equal to mir_eval's `bss_eval_sources`: any filter of 512 taps is forgiven
    si_sdr      Le Roux et al. 2019: any gain is forgiven
    snr         equation 1 of the report: nothing is forgiven
    si_sir      target over interference (bleed of other stems); any gain is forgiven
    si_sar      target over artifacts (what is in no stem); any gain is forgiven
    global_sdr  as snr, channels pooled: the SDR of the Sound Demixing Challenge and of MSST
    csdr        museval's SDR (BSS Eval v4): median over frames of 1 s
    bleedless   MSST: how little is too loud in the mel spectrogram, 0 to 100
    fullness    MSST: how little is too soft in the mel spectrogram, 0 to 100

Higher is better in all. Scores are dB unless said; the mean over channels where channels are scored one by one.
Audio is (…, channels, samples) of any float type; scores are float64, computed in float64, one for each leading index,
on the device of the reference (on the CPU for mps, which has no float64).
A reference may lack leading axes of its estimates: four references (4, 2, n) score six steps (6, 4, 2, n) as (6, 4).
Every score is finite: dB lie between `FLOOR_DB` and `CEILING_DB`.

There is no level below which an estimate counts as silent: sdr, si_sdr, si_sir and si_sar forgive a gain of 1e-20 as
they forgive one of 0.5. (mir_eval subtracts the reference and adds it again, which leaves only rounding of an estimate
below 1e-14 of it: −47 dB where the same estimate, amplified, has 12.8.) snr, global_sdr and csdr give it 0 dB.

>>> import torch
>>> reference = torch.tensor([[1.0, -1.0, 1.0, -1.0]])  # one channel
>>> estimate = torch.tensor([[0.5, -0.5, 0.5, -0.4]])
>>> round(snr(reference, estimate).item(), 3), round(si_sdr(reference, estimate).item(), 3)
(5.567, 20.804)
>>> scorer("sdr", reference)(torch.stack([estimate, 2 * estimate])).shape
torch.Size([2])
>>> others = torch.tensor([[1.0, 1.0, -1.0, -1.0]])
>>> round(scorer("si_sir", references=torch.stack([reference, others]), target=0)(estimate).item(), 3)
25.575
"""

from __future__ import annotations

from torch import Tensor

from schedopt.errors import ConfigError
from schedopt.metrics._base import CEILING_DB, FLOOR_DB, Metric, Score, Truth
from schedopt.metrics._bss_eval import SDR, PreparedReference, sdr
from schedopt.metrics._frames import CSDR, csdr, frame_scores
from schedopt.metrics._mel import BLEEDLESS, FULLNESS, bleedless, fullness
from schedopt.metrics._projection import SI_SAR, SI_SDR, SI_SIR, si_sar, si_sdr, si_sir
from schedopt.metrics._ratios import GLOBAL_SDR, SNR, global_sdr, snr
from schedopt.registry import Registry

__all__ = [
    "CEILING_DB",
    "FLOOR_DB",
    "METRICS",
    "Metric",
    "PreparedReference",
    "Score",
    "Truth",
    "bleedless",
    "csdr",
    "frame_scores",
    "fullness",
    "global_sdr",
    "register_metric",
    "scorer",
    "sdr",
    "si_sar",
    "si_sdr",
    "si_sir",
    "snr",
    "title",
]

METRICS: Registry[Metric] = Registry("metric", "schedopt.metrics", ConfigError, {
    metric.name: metric for metric in (SDR, SI_SDR, SNR, SI_SIR, SI_SAR, GLOBAL_SDR, CSDR, BLEEDLESS, FULLNESS)
})  # fmt: skip


def register_metric(metric: Metric) -> Metric:
    """Make a metric known by its name.

    >>> import schedopt, torch
    >>> def prepare(truth: schedopt.Truth):
    ...     return lambda estimates: -(estimates - truth.reference).double().abs().mean(dim=(-2, -1))
    >>> _ = schedopt.register_metric(schedopt.Metric("doc_mae", "MAE", "error, negated", prepare, unit=""))
    >>> schedopt.scorer("doc_mae", torch.zeros(1, 4))(torch.ones(1, 4)).item()
    -1.0
    """
    return METRICS.register(metric.name, metric)


def title(metric: str) -> str:
    """What tables and figures call a metric; its own name where its package is not installed."""
    return METRICS.find(metric).title if METRICS.knows(metric) else metric


def scorer(
    metric: str,
    reference: Tensor | None = None,
    *,
    references: Tensor | None = None,
    target: int = 0,
    sample_rate: int = 44_100,
    keep_transform: bool = True,
) -> Score:
    """The metric on one reference, checked and prepared once: estimates (…, channels, samples) → (…,) float64.

    Args:
        reference: the target's, (…, channels, samples).
        references: in its place those of all stems, (stems, channels, samples), with the index `target`; metrics that
            look at the other stems need them (`Metric.needs_all_stems`).
        sample_rate: Hz, for metrics of frames or frequencies.
        keep_transform: that of `PreparedReference`.

    Raises `ConfigError` on an unknown metric and `DataError` on a reference that cannot be scored against.

    >>> import schedopt, torch
    >>> score = schedopt.scorer("snr", torch.tensor([[1.0, -1.0]]))
    >>> score(torch.tensor([[[0.5, -0.5]], [[0.9, -0.9]]])).round(decimals=2).tolist()
    [6.02, 20.0]
    """
    if reference is None:
        if references is None:
            raise ConfigError("scorer needs a reference")
        reference = references[target]
    return METRICS.find(metric).prepare(Truth(reference, references, target, sample_rate, keep_transform))

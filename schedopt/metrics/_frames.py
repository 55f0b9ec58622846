"""cSDR, the score of SiSEC's tables: museval's SDR (BSS Eval v4), median over frames of one second."""

from __future__ import annotations

import torch
from torch import Tensor

from schedopt.errors import DataError
from schedopt.metrics._base import FLOOR_DB, Metric, Score, Truth, all_stems, bounded, check_estimates


def csdr(references: Tensor, target: int, estimate: Tensor, sample_rate: int = 44_100) -> Tensor:
    """Median of `frame_scores` over the frames that count: dB, (leading axes,) float64; `FLOOR_DB` where none does.

    Publications take the median over songs, too (`Metric.over_tracks`). Arguments and errors as in `frame_scores`, and
    `DataError` if there is no frame in which all stems sound.
    """
    return _prepare(Truth(references[target], references, target, sample_rate))(estimate)


def frame_scores(references: Tensor, target: int, estimates: Tensor, sample_rate: int = 44_100) -> Tensor:
    """SDR in dB of each whole second: estimates (…, channels, samples) → (…, frames) float64, NaN where none counts.

    10·log10(Σ‖x‖² / Σ‖x − x̂‖²) with sums over channels and the frame: museval's `bss_eval_images` (BSS Eval v4), whose
    filters enter its ISR, SIR and SAR but not this ratio. As there, a frame does not count in which the channels of any
    true stem, or of the estimate, add up to silence; what is shorter than a second is one frame; the rest of the last
    second is left out. Source: Stöter, Liutkus, Ito, "The 2018 Signal Separation Evaluation Campaign".

    references: (stems, channels, samples), of all stems; target: index of the one that is estimated. Raises `DataError`
    on a silent target or shapes that differ.
    """
    return _framewise(Truth(references[target], references, target, sample_rate))(estimates)


def _prepare(truth: Truth) -> Score:
    framewise = _framewise(truth)
    references, target, _ = all_stems(truth)
    if framewise(references[target]).isnan().all():
        raise DataError("there is no second in which all stems sound, so that there is no cSDR")

    def score(estimates: Tensor) -> Tensor:
        median = bounded(framewise(estimates).nanquantile(0.5, dim=-1))
        finite = estimates.isfinite().flatten(-2).all(dim=-1).to(median.device)
        return torch.where(finite, median, FLOOR_DB)

    return score


def _framewise(truth: Truth) -> Score:
    references, target, sounding = all_stems(truth)
    frame = min(truth.sample_rate, references.shape[-1])
    frames = references.shape[-1] // frame

    def framed(audio: Tensor) -> Tensor:
        """(channels, samples) → (frames, channels, frame)."""
        whole = audio[:, : frames * frame].to(sounding.device).double()
        return whole.reshape(len(audio), frames, frame).transpose(0, 1)

    used = torch.stack([_sounds(framed(stem)) for stem in references]).all(dim=0)  # (frames,)

    def score(estimates: Tensor) -> Tensor:
        check_estimates(references.shape[1:], estimates, sounding)
        true, scores = framed(references[target]), []
        for one in estimates.reshape(-1, *estimates.shape[-2:]):
            guess = framed(one)
            ratio = true.square().sum(dim=(-2, -1)) / (true - guess).square().sum(dim=(-2, -1))
            scores.append(torch.where(used & _sounds(guess), bounded(10 * torch.log10(ratio)), torch.nan))
        return torch.stack(scores).reshape(*estimates.shape[:-2], frames)

    return score


def _sounds(frames: Tensor) -> Tensor:
    """(frames, channels, samples) → (frames,) bool."""
    return (frames.sum(dim=-2) != 0).any(dim=-1)


CSDR = Metric(
    "csdr",
    "cSDR",
    "museval's SDR: median over frames of 1 s, then over songs",
    _prepare,
    needs_all_stems=True,
    over_tracks="median",
)

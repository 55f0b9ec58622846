"""Bleedless and fullness: what an estimate's mel spectrogram has too much and too little of, from 0 to 100.

As Music-Source-Separation-Training defines them (`utils/metrics.py`, `bleed_full`). With S(x) the levels in dB of 512
mel bands of |STFT(x)| (4096 samples, hop 1024, Hann), none more than 80 dB below the highest one of x, and
D = S(x̂) − S(x) over all channels, bands and frames:

    bleedless = 100 / (1 + mean of D where D > 0),   fullness = 100 / (1 + mean of −D where D < 0)

Computed in float64; there in float32, which changes less than 1e-3.
"""

from __future__ import annotations

from functools import partial

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from schedopt.metrics._base import Metric, Score, Truth, check_estimates, check_reference, float64_device

WINDOW, HOP, BANDS = 4096, 1024, 512

AMPLITUDE = 1e-10
"""Smallest level that is told from zero, −200 dB."""

RANGE_DB = 80.0

FRAMES = 512
"""Frames transformed at a time, 8 MB a channel."""


def bleedless(reference: Tensor, estimate: Tensor, sample_rate: int = 44_100) -> Tensor:
    """100 where the estimate is nowhere louder than the reference, less the more bleeds in: (leading axes,) float64.

    reference: (…, channels, samples); estimate: the same, or with further leading axes. A score that is not a number
    (the estimate is not finite) becomes 0. Raises `DataError` on a silent reference or shapes that differ.
    """
    return _prepare(Truth(reference, sample_rate=sample_rate), excess=True)(estimate)


def fullness(reference: Tensor, estimate: Tensor, sample_rate: int = 44_100) -> Tensor:
    """100 where the estimate is nowhere softer than the reference, less the more is missing; see `bleedless`."""
    return _prepare(Truth(reference, sample_rate=sample_rate), excess=False)(estimate)


def _prepare(truth: Truth, *, excess: bool) -> Score:
    reference, device = truth.reference, float64_device(truth.reference)
    sounding = check_reference(reference).to(device)
    bank = mel_bank(truth.sample_rate).to(device)
    sign = 1 if excess else -1
    true = _levels(reference.to(device), bank)

    def score(estimates: Tensor) -> Tensor:
        check_estimates(reference.shape, estimates, sounding)
        # one leading index at a time, so that memory does not grow with the batch
        scores = []
        for one in estimates.reshape(-1, *reference.shape):
            excesses = (sign * (_levels(one.to(device), bank) - true)).flatten(-3)  # (…, channels · bands · frames)
            total, count = excesses.clamp(min=0).sum(dim=-1), (excesses > 0).sum(dim=-1)
            scores.append(100 / (1 + total / count.clamp(min=1)))
        return torch.stack(scores).nan_to_num(0.0).reshape(estimates.shape[:-2])

    return score


def _levels(audio: Tensor, bank: Tensor) -> Tensor:
    """(…, channels, samples) → dB, (…, channels, bands, frames), none more than 80 below the highest of all."""
    padded = pad(audio, (WINDOW // 2, WINDOW // 2)).unfold(-1, WINDOW, HOP)  # (…, channels, frames, WINDOW)
    window = torch.hann_window(WINDOW, dtype=torch.float64, device=audio.device)
    bands = [
        torch.fft.rfft(padded[..., first : first + FRAMES, :].double() * window).abs() @ bank
        for first in range(0, padded.shape[-2], FRAMES)
    ]
    levels = 20 * torch.cat(bands, dim=-2).clamp(min=AMPLITUDE).log10().mT
    return torch.maximum(levels, levels.amax(dim=(-3, -2, -1), keepdim=True) - RANGE_DB)


def mel_bank(sample_rate: int) -> Tensor:
    """Weights (frequencies, BANDS) of triangular bands of equal area, from 0 Hz to half the sample rate.

    Slaney's mel scale (Auditory Toolbox, 1998), librosa's default: 200/3 Hz a mel up to 1 kHz, then 27 mel for each
    factor of 6.4. Bands that hold no frequency of the transform stay empty, as there.
    """
    top = np.where(sample_rate / 2 < 1000, 3 * sample_rate / 400, 15 + 27 * np.log(sample_rate / 2000) / np.log(6.4))
    mels = np.linspace(0, top, BANDS + 2)
    edges = np.where(mels < 15, mels * 200 / 3, 1000 * 6.4 ** ((mels - 15) / 27))[:, None]  # Hz, (BANDS + 2, 1)
    frequencies = np.arange(WINDOW // 2 + 1) * sample_rate / WINDOW
    rising = (frequencies - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - frequencies) / (edges[2:] - edges[1:-1])
    return torch.from_numpy((np.minimum(rising, falling).clip(min=0) * 2 / (edges[2:] - edges[:-2])).T.copy())


BLEEDLESS = Metric(
    "bleedless",
    "bleedless",
    "how little is too loud in the mel spectrogram, 0 to 100",
    partial(_prepare, excess=True),
    unit="",
)
FULLNESS = Metric(
    "fullness",
    "fullness",
    "how little is too soft in the mel spectrogram, 0 to 100",
    partial(_prepare, excess=False),
    unit="",
)

"""Test signals in mir_eval's manner, and two other ways to compute BSS Eval's SDR."""

import warnings

import numpy as np
import scipy.linalg
import torch

from schedopt.metrics import CEILING_DB


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    """White noise of unit variance, float32."""
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape)).float()


def sines(samples: int, *periods: float) -> torch.Tensor:
    """A stereo sum of sines, (2, samples) float32; periods in samples; the same on every machine."""
    time = torch.arange(samples, dtype=torch.float64)
    return torch.stack(
        [sum((torch.sin(2 * torch.pi * time / p + c) for p in periods), 0 * time) for c in (0, 1)]
    ).float()


def mir_eval_sdr(reference: torch.Tensor, estimate: torch.Tensor) -> float:
    """mir_eval's SDR of (channels, samples) each, channel by channel, not above our ceiling; their mean."""
    scores = []
    for x, y in zip(reference.double().numpy(), estimate.double().numpy(), strict=True):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # mir_eval.separation goes in 0.9
            from mir_eval.separation import bss_eval_sources

            scores.append(float(bss_eval_sources(x[None], y[None], compute_permutation=False)[0][0]))
    return float(np.mean(np.minimum(scores, CEILING_DB)))


def plain_sdr(reference: torch.Tensor, estimate: torch.Tensor) -> float:
    """The definition of BSS Eval's SDR of (samples,) each: least squares on 512 delayed copies, in the time domain."""
    x = np.concatenate([reference.double().numpy(), np.zeros(511)])
    y = np.concatenate([estimate.double().numpy(), np.zeros(511)])
    delayed = scipy.linalg.toeplitz(x, np.zeros(512))  # (samples + 511, 512)
    projection = delayed @ np.linalg.lstsq(delayed, y, rcond=None)[0]
    return float(10 * np.log10(np.sum(projection**2) / np.sum((y - projection) ** 2)))

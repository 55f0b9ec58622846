"""Frequency bands with smooth edges that add up to the signal again.

The low-pass filters h_1 … h_{K−1} are sinc functions under a Hann window, symmetric (zero phase), each as long as eight
periods of its edge, so that all edges are equally steep on a logarithmic scale. Band 1 is h_1, band k is h_k − h_{k−1},
band K is 1 − h_{K−1}: their sum is 1 exactly.
"""

from __future__ import annotations

import functools

import numpy as np
import scipy  # its parts are loaded at their first use
import torch
from numpy.typing import NDArray
from torch import Tensor

EDGES = (250.0, 1000.0, 4000.0, 10_000.0)
"""Hz."""

BANDS = len(EDGES) + 1

REACH = 2048
"""Samples on either side that a filter looks at, at most: four periods of the lowest edge, up to 128 kHz."""


def kernel(edge: float, rate: int) -> NDArray[np.float64]:
    """Low-pass filter (2·half + 1,) with the sum 1; a single 1 where the edge is above all that the rate holds."""
    if edge >= 0.45 * rate:
        return np.ones(1)
    half = min(REACH, round(4 * rate / edge))
    time = np.arange(-half, half + 1)
    window = np.sinc(2 * edge / rate * time) * np.hanning(2 * half + 3)[1:-1]
    return np.asarray(window / window.sum())


@functools.lru_cache(maxsize=8)
def responses(size: int, rate: int) -> NDArray[np.float64]:
    """Of the low-pass filters at the frequencies of a real FFT of `size` samples: (K − 1, size // 2 + 1), real."""
    found = []
    for edge in EDGES:
        taps = kernel(edge, rate)
        around_zero = np.zeros(size)
        half = len(taps) // 2
        around_zero[: half + 1] = taps[half:]
        around_zero[size - half :] = taps[:half]
        found.append(np.fft.rfft(around_zero).real)
    return np.stack(found)


def size_for(samples: int) -> int:
    """Length of an FFT in which a filtered signal of `samples` does not meet its own beginning."""
    return int(scipy.fft.next_fast_len(samples + REACH, real=True))


def joined(rows: Tensor, rate: int) -> Tensor:
    """Band 1 of rows[0] + … + band K of rows[K−1]: (K, …, samples) → (…, samples).

    Outside of the samples there is silence. Equal rows come back as they are, bit for bit: only their differences are
    filtered, band after band, since Σ_k band_k(x_k) = x_K + Σ_{k<K} h_k(x_k − x_{k+1}).
    """
    samples = rows.shape[-1]
    size = size_for(samples)
    gains = torch.from_numpy(responses(size, rate).astype(np.float32)).to(rows.device)
    out = rows[-1]
    for below, above, gain in zip(rows[:-1], rows[1:], gains, strict=True):
        changed = torch.fft.irfft(torch.fft.rfft(below - above, size) * gain, size)
        out = out + changed[..., :samples]
    return out

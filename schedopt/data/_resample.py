"""Other sample rates brought to 44.1 kHz, piece by piece.

A piece is the same, to a few millionths, whether it is read alone or cut out of the whole: each read begins
early, on a frame whose time is also that of a 44.1 kHz sample, and ends late, so that soxr's filter has
settled on both sides.
"""

from __future__ import annotations

from collections.abc import Callable
from math import gcd

import numpy as np
import numpy.typing as npt
import soxr

SAMPLE_RATE = 44_100
"""Hz; the rate of all audio in schedopt, since Demucs and MUSDB18 have it."""

MARGIN = 4096
"""Samples read on both sides of a piece. soxr's longest filter rings for less than 1024 (tried from 8 to
192 kHz)."""

FloatArray = npt.NDArray[np.float32]


def resampled_length(length: int, sample_rate: int) -> int:
    """Samples at 44.1 kHz of `length` frames at `sample_rate`."""
    return length * SAMPLE_RATE // sample_rate


def read_resampled(
    read: Callable[[int, int], FloatArray], sample_rate: int, length: int, first: int, count: int
) -> FloatArray:
    """`count` samples at 44.1 kHz from sample `first` on, (samples, channels).

    `read(first, count)` gives frames (frames, channels) of a file of `length` frames at `sample_rate`.
    """
    common = gcd(sample_rate, SAMPLE_RATE)
    frame_step, sample_step = sample_rate // common, SAMPLE_RATE // common  # both last 1/common seconds
    steps = max(0, first - MARGIN) // sample_step
    begin = steps * frame_step
    end = min(length, -(-(first + count + MARGIN) * sample_rate // SAMPLE_RATE))
    piece = soxr.resample(read(begin, end - begin), sample_rate, SAMPLE_RATE, quality="VHQ")
    offset = first - steps * sample_step
    piece = piece[offset : offset + count]
    # soxr may round the last sample of a file away
    return np.pad(piece, ((0, count - len(piece)), (0, 0))) if len(piece) < count else piece

"""Sample rates converted piece by piece.

A piece is the same, to a few millionths, whether it is read alone or cut out of the whole: each read begins
early, on a frame whose time is also that of a sample at the new rate, and ends late, so that soxr's filter has
settled on both sides.
"""

from __future__ import annotations

from collections.abc import Callable
from math import gcd

import numpy as np
import numpy.typing as npt
import soxr

SAMPLE_RATE = 44_100
"""Hz; the rate of excerpts, since Demucs and MUSDB18 have it."""

MARGIN = 4096
"""Samples read on both sides of a piece. soxr's longest filter rings for less than 1024 (tried from 8 to
192 kHz)."""

FloatArray = npt.NDArray[np.float32]


def resampled_length(length: int, source: int, target: int) -> int:
    """Samples at `target` Hz of `length` frames at `source` Hz, rounded down as in demucs (julius)."""
    return length * target // source


def read_resampled(
    read: Callable[[int, int], FloatArray], source: int, target: int, length: int, first: int, count: int
) -> FloatArray:
    """`count` samples at `target` Hz from sample `first` on, (samples, channels).

    `read(first, count)` gives frames (frames, channels) of a file of `length` frames at `source` Hz.
    """
    common = gcd(source, target)
    frame_step, sample_step = source // common, target // common  # both last 1/common seconds
    steps = max(0, first - MARGIN) // sample_step
    begin = steps * frame_step
    end = min(length, -(-(first + count + MARGIN) * source // target))
    piece = soxr.resample(read(begin, end - begin), source, target, quality="VHQ")
    offset = first - steps * sample_step
    piece = piece[offset : offset + count]
    # soxr may round the last sample of a file away
    return np.pad(piece, ((0, count - len(piece)), (0, 0))) if len(piece) < count else piece

"""Stems as files: WAV of 16, 24 or 32 (float) bits, or FLAC, written piece by piece."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import soundfile
import torch
from torch import Tensor

from schedopt.arrays import blocks
from schedopt.data._text import reason, shown
from schedopt.errors import DataError

Bits = Literal[16, 24, 32]
Clip = Literal["rescale", "clamp", "none"]

HEADROOM = 1.01
"""demucs' `rescale` leaves so much room above the peak."""

CLAMP = 0.99
"""demucs' `clamp` cuts here."""

WAV_BYTES = 2**32 - 2**16
"""A WAV file's length is a number of 32 bits; a longer one is written as RF64, which is WAV with a wider number."""


@dataclass(frozen=True)
class Encoding:
    """How stems are written.

    `bits`: 32 is float, of WAV alone. `clip`: `rescale` divides a whole stem where its peak is too high, `clamp` cuts
    what is too high, `none` leaves it to the format; None: `rescale`, and `none` in float, which needs neither.
    """

    flac: bool = False
    bits: Bits = 16
    clip: Clip | None = None

    @property
    def ext(self) -> str:
        return "flac" if self.flac else "wav"

    @property
    def clipping(self) -> Clip:
        return self.clip or ("none" if self.bits == 32 else "rescale")

    def subtype(self) -> str:
        return "FLOAT" if self.bits == 32 else f"PCM_{self.bits}"

    def container(self, samples: int, channels: int) -> str:
        if self.flac:
            return "FLAC"
        return "WAV" if samples * channels * self.bits // 8 < WAV_BYTES else "RF64"


def write(wave: Tensor, path: Path, sample_rate: int, encoding: Encoding) -> None:
    """Write `wave`, (channels, samples), to `path`, which must be a name that nobody takes for a finished file yet.

    Raises:
        DataError: it cannot be written.
    """
    divisor = 1.0
    if encoding.clipping == "rescale":
        divisor = max(1.0, HEADROOM * max(float(wave[:, block].abs().max()) for block in blocks(wave.shape[-1])))
    channels, samples = wave.shape
    try:
        with soundfile.SoundFile(
            path,
            "w",
            sample_rate,
            channels,
            subtype=encoding.subtype(),
            format=encoding.container(samples, channels),
        ) as file:
            for block in blocks(samples):
                file.write(_clipped(wave[:, block], divisor, encoding.clipping).numpy().T)
        with path.open("r+b") as written:
            os.fsync(written.fileno())
    except (OSError, RuntimeError) as error:
        raise DataError(f"{shown(path)}: cannot be written: {reason(error)}") from None


def _clipped(piece: torch.Tensor, divisor: float, clip: Clip) -> torch.Tensor:
    if clip == "rescale":
        return piece / divisor
    return piece.clamp(-CLAMP, CLAMP) if clip == "clamp" else piece

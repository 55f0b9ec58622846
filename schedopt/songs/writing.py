"""Stems as files: WAV of 16, 24 or 32 (float) bits, or FLAC, written piece by piece."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal

import soundfile
import torch
from torch import Tensor

from schedopt.arrays import blocks
from schedopt.errors import DataError, reason, shown

Bits = Literal[16, 24, 32]
Clip = Literal["rescale", "clamp", "none"]

HEADROOM = 1.01
"""demucs' `rescale` leaves so much room above the peak."""

CLAMP = 0.99
"""demucs' `clamp` cuts here."""

HEADER = 512
"""Bytes in which a WAV file's PEAK chunk lies, before its samples."""

HEX = 32
"""Digits of the hashes in a record."""

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


@dataclass(frozen=True)
class Record:
    """What a stem was made from (`song`) and with (`settings`), `HEX` hexadecimal digits each; kept in its file."""

    song: str
    settings: str

    def __str__(self) -> str:
        return f"schedopt separate song={self.song} settings={self.settings}"


def read_record(path: Path) -> Record | None:
    """The record in a stem's file; None where there is none, or no file."""
    try:
        with path.open("rb") as stream, soundfile.SoundFile(stream) as file:
            found = re.fullmatch(str(Record("([0-9a-f]+)", "([0-9a-f]+)")), file.comment)
    except (OSError, RuntimeError):
        return None
    return Record(*found.groups()) if found else None


def write(wave: Tensor, path: Path, sample_rate: int, encoding: Encoding, record: Record | None = None) -> None:
    """Write `wave`, (channels, samples), to `path`, which must be a name that nobody takes for a finished file yet.

    Equal samples make equal bytes.

    Raises:
        DataError: it cannot be written.
    """
    divisor = 1.0
    if encoding.clipping == "rescale":
        divisor = max(1.0, HEADROOM * max(float(wave[:, block].abs().max()) for block in blocks(wave.shape[-1])))
    channels, samples = wave.shape
    container = encoding.container(samples, channels)
    try:
        # By descriptor, since libsndfile takes no name that is not UTF-8.
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | getattr(os, "O_BINARY", 0), 0o666)
        with soundfile.SoundFile(
            descriptor, "w", sample_rate, channels, encoding.subtype(), format=container, closefd=True
        ) as file:
            if record is not None:
                file.comment = str(record)
            for block in blocks(samples):
                file.write(_clipped(wave[:, block], divisor, encoding.clipping).numpy().T)
        with path.open("r+b") as written:
            _remove_time(written)
            os.fsync(written.fileno())
    except (OSError, RuntimeError) as error:
        raise DataError(f"{shown(path)}: cannot be written: {reason(error)}") from None


def _remove_time(file: BinaryIO) -> None:
    """Set to 0 the time of writing that libsndfile keeps in a float WAV's PEAK chunk: name, length, version, time."""
    header = file.read(HEADER)
    offset = header[: header.find(b"data")].find(b"PEAK")
    if header.startswith((b"RIFF", b"RF64")) and offset >= 0:
        file.seek(offset + 12)
        file.write(bytes(4))


def _clipped(piece: torch.Tensor, divisor: float, clip: Clip) -> torch.Tensor:
    if clip == "rescale":
        return piece / divisor
    return piece.clamp(-CLAMP, CLAMP) if clip == "clamp" else piece

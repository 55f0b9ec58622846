"""Stems as files: WAV of 16, 24 or 32 (float) bits, FLAC or MP3, written piece by piece by libsndfile."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal

import soundfile
import torch
from torch import Tensor

from schedopt.arrays import blocks
from schedopt.errors import DataError, reason, shown

Format = Literal["wav", "flac", "mp3"]
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

BITRATES = (64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
"""kbit/s of an MP3 at 44.1 kHz; of fewer LAME would change the sample rate."""

LOWEST_BITRATE, HIGHEST_BITRATE = 32, 320
"""What libsndfile's compression levels 1 and 0 stand for at 44.1 kHz."""

WAV_BYTES = 2**32 - 2**16
"""A WAV file's length is a number of 32 bits; a longer one is written as RF64, which is WAV with a wider number."""


@dataclass(frozen=True)
class Encoding:
    """How stems are written.

    `bits`: 32 is float, of WAV alone; MP3 has none. `clip`: `rescale` divides a whole stem where its peak is too high,
    `clamp` cuts what is too high, `none` leaves it to the format; None: `rescale`, and `none` in float, which needs
    neither. `bitrate`: one of `BITRATES`, of MP3.
    """

    format: Format = "wav"
    bits: Bits = 16
    clip: Clip | None = None
    bitrate: int = 320

    @property
    def ext(self) -> str:
        return self.format

    @property
    def clipping(self) -> Clip:
        return self.clip or ("none" if self.bits == 32 else "rescale")

    def subtype(self) -> str:
        if self.format == "mp3":
            return "MPEG_LAYER_III"
        return "FLOAT" if self.bits == 32 else f"PCM_{self.bits}"

    def compression(self) -> dict[str, Any]:
        """What libsndfile is to be told beside the subtype: it makes an MP3's bitrate of a level from 0 to 1."""
        if self.format != "mp3":
            return {}
        # Half a kbit/s more than asked for, since it rounds down, and LAME takes the nearest bitrate that there is.
        level = (HIGHEST_BITRATE - self.bitrate - 0.5) / (HIGHEST_BITRATE - LOWEST_BITRATE)
        return {"compression_level": max(0.0, level), "bitrate_mode": "CONSTANT"}

    def container(self, samples: int, channels: int) -> str:
        if self.format != "wav":
            return self.format.upper()
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
    if encoding.format == "mp3":
        check_mp3()
    divisor = 1.0
    if encoding.clipping == "rescale":
        divisor = max(1.0, HEADROOM * max(float(wave[:, block].abs().max()) for block in blocks(wave.shape[-1])))
    channels, samples = wave.shape
    container = encoding.container(samples, channels)
    try:
        # By descriptor, since libsndfile takes no name that is not UTF-8.
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | getattr(os, "O_BINARY", 0), 0o666)
        with soundfile.SoundFile(
            descriptor,
            "w",
            sample_rate,
            channels,
            encoding.subtype(),
            format=container,
            closefd=True,
            **encoding.compression(),
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


def check_mp3() -> None:
    """Refuse to write MP3 where libsndfile cannot.

    Raises:
        DataError: it is older than 1.1, or was built without LAME.
    """
    if "MP3" not in soundfile.available_formats():
        raise DataError(
            f"libsndfile {soundfile.__libsndfile_version__} cannot write MP3 here: install the package soundfile from"
            " a wheel, which brings one that can, or write FLAC (--flac)"
        )


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

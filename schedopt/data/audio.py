"""One file of audio, read piece by piece as stereo float32 at 44.1 kHz.

Whatever libsndfile reads is taken (WAV and FLAC of any sample format among others). Mono is copied to both
channels and other sample rates are resampled, each said once when the file is opened. Samples above full
scale are kept as they are.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
import soundfile
import torch

from schedopt.data._resample import SAMPLE_RATE, read_resampled, resampled_length
from schedopt.data._riff import share_there
from schedopt.data._text import reason, shown
from schedopt.errors import DataError

log = logging.getLogger("schedopt")

SAMPLE_RATES = range(4_000, 768_001)
"""Sample rates, Hz, that are believed; a header that says something else is broken."""

LONGEST = 2**40
"""Frames, most of a year of audio: a header that says more than that does not know the length."""

FloatArray = npt.NDArray[np.float32]


class Frames(Protocol):
    """Stored audio at its own sample rate and channel count. One frame holds one sample of each channel."""

    @property
    def path(self) -> Path: ...

    @property
    def sample_rate(self) -> int: ...

    @property
    def channels(self) -> int: ...

    @property
    def length(self) -> int:
        """Number of frames."""
        ...

    def read(self, first: int, count: int) -> FloatArray:
        """`count` frames from `first` on, (frames, channels); both lie inside the file."""
        ...


@dataclass(frozen=True)
class FileFrames:
    """Frames of a file that libsndfile reads; it is opened anew for each piece, so nothing stays open."""

    path: Path
    sample_rate: int
    channels: int
    length: int

    def read(self, first: int, count: int) -> FloatArray:
        try:
            with soundfile.SoundFile(self.path) as file:
                file.seek(first)
                frames: FloatArray = file.read(count, dtype="float32", always_2d=True)
        except (OSError, RuntimeError) as error:  # libsndfile's errors are RuntimeErrors
            where = first / self.sample_rate
            raise DataError(f"{shown(self.path)} cannot be read from {where:.3f} s on: {reason(error)}") from error
        return frames


@dataclass(frozen=True)
class Audio:
    """Stereo view of `frames` at 44.1 kHz; made by `open_audio`, which checks the file first."""

    frames: Frames

    @property
    def path(self) -> Path:
        return self.frames.path

    @property
    def samples(self) -> int:
        """Samples of one channel at 44.1 kHz."""
        return resampled_length(self.frames.length, self.frames.sample_rate)

    @property
    def seconds(self) -> float:
        return self.samples / SAMPLE_RATE

    def read(self, start: float = 0.0, seconds: float | None = None) -> torch.Tensor:
        """The piece from `start` on, (2, samples); shorter where the file ends sooner, all the rest if not
        said."""
        first = sample_at(start)
        count = self.samples if seconds is None else sample_at(seconds)
        return torch.from_numpy(self.read_samples(first, count))

    def read_samples(self, first: int, count: int) -> FloatArray:
        """`count` samples from sample `first` on, (2, samples), cut where the file ends.

        Raises:
            DataError: where the file ends early or holds NaN or infinite samples.
        """
        count = max(0, min(count, self.samples - first))
        if count == 0:
            return np.zeros((2, 0), np.float32)
        if self.frames.sample_rate == SAMPLE_RATE:
            piece = self._read_frames(first, count)
        else:
            piece = read_resampled(self._read_frames, self.frames.sample_rate, self.frames.length, first, count)
        return np.ascontiguousarray(np.broadcast_to(piece.T, (2, count)))  # mono: the same on both channels

    def _read_frames(self, first: int, count: int) -> FloatArray:
        """Frames as they are stored, (frames, channels), complete and finite."""
        piece = self.frames.read(first, count)
        rate = self.frames.sample_rate
        if len(piece) < count:
            raise DataError(cut_short(self.path, (first + len(piece)) / rate, self.frames.length / rate))
        finite = np.isfinite(piece).all(axis=1)
        if not finite.all():
            where = (first + int(np.argmin(finite))) / rate
            raise DataError(f"{shown(self.path)} holds NaN or infinite samples, the first at {where:.6f} s")
        return piece


def cut_short(path: Path, ends: float, says: float) -> str:
    """What is said of a file that ends at `ends` seconds, though its header says `says`."""
    return f"{shown(path)} ends at {ends:.3f} s, its header says {says:.3f} s: copy it again"


def sample_at(seconds: float) -> int:
    """The sample nearest to a time, which must be finite and not negative."""
    assert 0 <= seconds < float("inf"), f"not a time: {seconds} s"
    return round(seconds * SAMPLE_RATE)


def open_audio(path: str | Path) -> Audio:
    """The file at `path`, checked by its header and not yet read; conversions are logged here, once a file.

    Raises:
        DataError: if it is missing, unreadable, empty, cut short, of more than two channels or of an odd sample rate.
    """
    path = Path(path)
    check_file(path)
    try:
        info = soundfile.info(path)
        there = share_there(path)
    except UnicodeEncodeError:
        raise DataError(f"{shown(path)}: its name is not UTF-8; rename the file or its folder") from None
    except (OSError, RuntimeError) as error:
        raise DataError(f"{shown(path)} is not audio that can be read: {reason(error)}") from error
    audio = checked(FileFrames(path, int(info.samplerate), int(info.channels), int(info.frames)))
    if 0 < there < 1:
        ends = audio.frames.length / audio.frames.sample_rate
        raise DataError(cut_short(path, ends, ends / there))
    note_conversions(audio.frames)
    return audio


def read_audio(path: str | Path, start: float = 0.0, seconds: float | None = None) -> torch.Tensor:
    """A file (or the piece of it from `start` on) as (2, samples) float32 at 44.1 kHz; see `open_audio`."""
    return open_audio(path).read(start, seconds)


def checked(frames: Frames) -> Audio:
    """`frames` as stereo audio at 44.1 kHz, if their header can be believed."""
    name = shown(frames.path)
    if frames.sample_rate not in SAMPLE_RATES:
        raise DataError(f"{name} has a sample rate of {frames.sample_rate} Hz; 4000 to 768000 Hz can be read")
    if frames.channels not in (1, 2):
        raise DataError(f"{name} has {frames.channels} channels: mix it down to mono or stereo")
    if frames.length > LONGEST:
        raise DataError(f"{name} does not say how long it is: write it again as WAV or FLAC")
    if resampled_length(frames.length, frames.sample_rate) == 0:
        raise DataError(f"{name} holds no samples")
    return Audio(frames)


def note_conversions(frames: Frames) -> None:
    """Say in the log what reading `frames` changes, if anything."""
    notes = []
    if frames.channels == 1:
        notes.append("mono, copied to both channels")
    if frames.sample_rate != SAMPLE_RATE:
        notes.append(f"{frames.sample_rate} Hz, resampled to {SAMPLE_RATE} Hz")
    if notes:
        log.warning("%s: %s", shown(frames.path), "; ".join(notes))


def check_file(path: Path) -> None:
    try:
        size = path.stat().st_size
        regular = path.is_file()
        if regular:
            path.open("rb").close()  # libsndfile does not say that permission is denied
    except OSError as error:  # missing, no permission, a loop of links, a name that is too long
        raise DataError(f"{shown(path)} cannot be read: {reason(error)}") from error
    if not regular:
        kind = "a folder" if path.is_dir() else "not a regular file"
        raise DataError(f"{shown(path)} is {kind}, an audio file was expected")
    if size == 0:
        raise DataError(f"{shown(path)} is empty (0 bytes)")

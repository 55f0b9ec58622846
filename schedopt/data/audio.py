"""One file of audio, in whatever format, read piece by piece as float32 at a given rate and number of channels.

One reader for songs, stems, `evaluate` and `schedopt.api`. Mono is copied to both channels; of more than two channels
the first two are used, as in demucs, or all are mixed down on request. What is converted is logged once, when the file
is opened. Samples above full scale are kept as they are.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from schedopt.data._resample import SAMPLE_RATE, FloatArray, read_resampled, resampled_length
from schedopt.data.decoding import PIECE, Frames, cut_short, open_frames
from schedopt.errors import DataError, shown

log = logging.getLogger("schedopt")

SAMPLE_RATES = range(4_000, 768_001)
"""Sample rates, Hz, that are believed; a header that says something else is broken."""

SPEAKERS = {
    3: "FL FR FC",
    4: "FL FR BL BR",
    5: "FL FR FC BL BR",
    6: "FL FR FC LFE BL BR",
    7: "FL FR FC LFE BC SL SR",
    8: "FL FR FC LFE BL BR SL SR",
}
"""Channels of a file by their number, in the order of WAVE and FLAC."""

HALF_POWER = 0.5**0.5
TO_STEREO = {
    "FL": (1.0, 0.0),
    "FR": (0.0, 1.0),
    "FC": (HALF_POWER, HALF_POWER),
    "LFE": (0.0, 0.0),
    "BL": (HALF_POWER, 0.0),
    "BR": (0.0, HALF_POWER),
    "SL": (HALF_POWER, 0.0),
    "SR": (0.0, HALF_POWER),
    "BC": (0.5, 0.5),
}
"""Weights of each speaker in left and right. Source: ITU-R BS.775-3, annex 4, table 2."""


@dataclass(frozen=True)
class Audio:
    """View of `frames` at `sample_rate` Hz with one or two `channels`; made by `open_audio`, which checks the file."""

    frames: Frames
    sample_rate: int = SAMPLE_RATE
    channels: int = 2
    downmix: bool = False

    @property
    def path(self) -> Path:
        return self.frames.path

    @property
    def samples(self) -> int:
        """Samples of one channel at `sample_rate`."""
        return resampled_length(self.frames.length, self.frames.sample_rate, self.sample_rate)

    @property
    def seconds(self) -> float:
        return self.samples / self.sample_rate

    def read(self, start: float = 0.0, seconds: float | None = None) -> torch.Tensor:
        """The piece from `start` on, (channels, samples); shorter where the file ends sooner, all the rest if not
        said."""
        first = sample_at(start, self.sample_rate)
        count = self.samples if seconds is None else sample_at(seconds, self.sample_rate)
        return torch.from_numpy(self.read_samples(first, count))

    def pieces(self, count: int = PIECE) -> Iterator[torch.Tensor]:
        """The whole file as (channels, at most `count` samples) each, so that memory does not grow with it."""
        for first in range(0, self.samples, count):
            yield torch.from_numpy(self.read_samples(first, count))

    def read_samples(self, first: int, count: int) -> FloatArray:
        """`count` samples from sample `first` on, (channels, samples), cut where the file ends.

        Raises:
            DataError: where the file ends early or holds NaN or infinite samples.
        """
        count = max(0, min(count, self.samples - first))
        if count == 0:
            return np.zeros((self.channels, 0), np.float32)
        if self.frames.sample_rate == self.sample_rate:
            piece = self._read_frames(first, count)
        else:
            rates = self.frames.sample_rate, self.sample_rate
            piece = read_resampled(self._read_frames, *rates, self.frames.length, first, count)
        both = np.broadcast_to(piece.T, (self.channels, count))  # mono: the same on both channels
        return np.require(both, requirements=["C", "W"])  # a copy, unless it can be written to; PyTorch wants that

    def _read_frames(self, first: int, count: int) -> FloatArray:
        """Frames as they are stored, complete and finite: (frames, one or `channels`)."""
        piece = self.frames.read(first, count)
        rate = self.frames.sample_rate
        if len(piece) < count:
            raise DataError(cut_short(self.path, (first + len(piece)) / rate, self.frames.length / rate))
        if not self.downmix:
            piece = piece[:, :2]
        finite = np.isfinite(piece).all(axis=1)
        if not finite.all():
            where = (first + int(np.argmin(finite))) / rate
            raise DataError(f"{shown(self.path)} holds NaN or infinite samples, the first at {where:.6f} s")
        if piece.shape[1] > 2:
            weights = [TO_STEREO[speaker] for speaker in SPEAKERS[piece.shape[1]].split()]
            piece = piece @ np.array(weights, np.float32)
        return piece.mean(axis=1, keepdims=True) if self.channels == 1 else piece


def open_audio(
    path: str | Path,
    sample_rate: int | None = SAMPLE_RATE,
    *,
    channels: int = 2,
    downmix: bool = False,
    stream: int = 0,
    folder: Path | None = None,
    note: bool = True,
) -> Audio:
    """The file at `path`, checked; conversions are logged here, once a file.

    Uncompressed files and FLAC are read in place, with seeks. Other formats are decoded here, from end to end, into a
    temporary file that goes with the result.

    Args:
        sample_rate: Hz; None: the file's own.
        channels: 2, or 1 for the mean of both.
        downmix: of files of 3 to 8 channels mix all, by ITU-R BS.775, instead of taking the first two.
        stream: number of the audio stream, where a file has several (`.stem.mp4`).
        folder: where the temporary file is made; by default the system's folder for such files.
        note: log what is converted.

    Raises:
        DataError: if it is missing, unreadable, empty, cut short, or of an odd sample rate.
    """
    assert channels in (1, 2), f"{channels} channels"
    frames = open_frames(Path(path), stream, folder)
    name = shown(frames.path)
    if frames.sample_rate not in SAMPLE_RATES:
        raise DataError(f"{name} has a sample rate of {frames.sample_rate} Hz; 4000 to 768000 Hz can be read")
    if downmix and frames.channels > 2 and frames.channels not in SPEAKERS:
        raise DataError(f"{name} has {frames.channels} channels; 3 to 8 can be mixed down")
    audio = Audio(frames, sample_rate or frames.sample_rate, channels, downmix)
    if audio.samples == 0:
        raise DataError(f"{name} holds no samples")
    if note:
        _note_conversions(audio)
    return audio


def read_audio(path: str | Path, start: float = 0.0, seconds: float | None = None) -> torch.Tensor:
    """A file (or the piece of it from `start` on) as (2, samples) float32 at 44.1 kHz; see `open_audio`."""
    return open_audio(path).read(start, seconds)


def read_song(path: str | Path, sample_rate: int, channels: int = 2, *, downmix: bool = False) -> torch.Tensor:
    """A whole file as (channels, samples) float32 at `sample_rate` Hz, in memory; see `open_audio`."""
    return open_audio(path, sample_rate, channels=channels, downmix=downmix).read()


def sample_at(seconds: float, sample_rate: int = SAMPLE_RATE) -> int:
    """The sample nearest to a time, which must be finite and not negative."""
    assert 0 <= seconds < float("inf"), f"not a time: {seconds} s"
    return round(seconds * sample_rate)


def _note_conversions(audio: Audio) -> None:
    """Say in the log what reading changes, if anything."""
    frames, notes = audio.frames, []
    if frames.channels == 1 and audio.channels == 2:
        notes.append("mono, copied to both channels")
    if frames.channels > 2:
        which = "mixed down to two" if audio.downmix else "of which the first two (front left and right) are used"
        notes.append(f"{frames.channels} channels, {which}")
    if frames.sample_rate != audio.sample_rate:
        notes.append(f"{frames.sample_rate} Hz, resampled to {audio.sample_rate} Hz")
    if notes:
        log.warning("%s: %s", shown(frames.path), "; ".join(notes))

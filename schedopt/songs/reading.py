"""A song in whatever format, decoded piece by piece: stereo float32 at the separator's rate.

libsndfile reads WAV, FLAC, OGG, MP3, AIFF and more; what it does not, ffmpeg is asked for. As in demucs, mono is copied
to both channels, and of more than two channels the first two (left and right) are taken.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import struct
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt
import soundfile
import soxr
import torch

from schedopt.data._riff import share_there
from schedopt.data._text import reason, shown
from schedopt.data.audio import SAMPLE_RATES, check_file, cut_short
from schedopt.errors import DataError

log = logging.getLogger("schedopt")

FloatArray = npt.NDArray[np.float32]

SOUND_SUFFIXES = (
    ".wav",
    ".wave",
    ".flac",
    ".ogg",
    ".oga",
    ".opus",
    ".mp3",
    ".aif",
    ".aiff",
    ".aifc",
    ".caf",
    ".au",
    ".w64",
)
FFMPEG_SUFFIXES = (
    ".m4a",
    ".m4b",
    ".aac",
    ".wma",
    ".ac3",
    ".dts",
    ".mka",
    ".mkv",
    ".mp4",
    ".mov",
    ".webm",
    ".ape",
    ".wv",
)
SUFFIXES = frozenset(SOUND_SUFFIXES + FFMPEG_SUFFIXES)
"""Of files that are taken for songs where a folder is given. A file that is named is tried whatever its suffix."""

PIECE = 2**19
"""Frames decoded at once."""

AU_FLOAT = 6
"""Sun's AU format is what ffmpeg is asked for: its header has rate and channels, and needs no length."""


@dataclass(frozen=True)
class Stream:
    """Frames of a song as they are decoded: (frames, channels) each, at `sample_rate` Hz."""

    sample_rate: int
    channels: int
    frames: Iterator[FloatArray]


def decode(path: Path, sample_rate: int) -> Iterator[torch.Tensor]:
    """The whole song piece by piece, (2, samples) each, at `sample_rate` Hz; conversions are said in the log.

    Raises:
        DataError: neither libsndfile nor ffmpeg can read it, it ends early, or holds NaN, infinite or no samples.
    """
    check_file(path)
    count = 0
    with opened(path) as stream:
        _note_conversions(path, stream, sample_rate)
        for piece in _resampled(_checked(path, stream), stream.sample_rate, sample_rate):
            stereo = np.broadcast_to(piece.T, (2, len(piece))) if piece.shape[1] == 1 else piece.T
            count += len(piece)
            yield torch.from_numpy(np.ascontiguousarray(stereo))
    if count == 0:
        raise DataError(f"{shown(path)} holds no samples")


@contextlib.contextmanager
def opened(path: Path) -> Iterator[Stream]:
    """The song at `path`, ready to be read from its beginning.

    Raises:
        DataError: neither libsndfile nor ffmpeg can read it.
    """
    there = 1.0
    with contextlib.ExitStack() as stack:
        try:
            # By descriptor, since libsndfile takes no name that is not UTF-8.
            descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
            file = stack.enter_context(soundfile.SoundFile(descriptor, closefd=True))
            there = share_there(path)
            stream = Stream(file.samplerate, file.channels, _sound_frames(path, file))
        except (OSError, RuntimeError) as error:  # libsndfile's errors are RuntimeErrors
            if isinstance(error, OSError):
                raise DataError(f"{shown(path)} cannot be read: {reason(error)}") from None
            stream = stack.enter_context(_by_ffmpeg(path, reason(error)))
        if 0 < there < 1:
            ends = file.frames / file.samplerate
            raise DataError(cut_short(path, ends, ends / there))
        if stream.sample_rate not in SAMPLE_RATES:
            raise DataError(
                f"{shown(path)} has a sample rate of {stream.sample_rate} Hz; 4000 to 768000 Hz can be read"
            )
        yield stream


def _sound_frames(path: Path, file: Any) -> Iterator[FloatArray]:
    done = 0
    while True:
        try:
            frames: FloatArray = file.read(PIECE, dtype="float32", always_2d=True)
        except RuntimeError as error:
            where = done / file.samplerate
            raise DataError(f"{shown(path)} cannot be read from {where:.3f} s on: {reason(error)}") from None
        if not len(frames):
            break
        done += len(frames)
        yield frames
    if done < file.frames < 2**62:  # libsndfile says 2^63−1 where it does not know
        raise DataError(cut_short(path, done / file.samplerate, file.frames / file.samplerate))


@contextlib.contextmanager
def _by_ffmpeg(path: Path, why: str) -> Iterator[Stream]:
    """The song as ffmpeg decodes it; `why` is what libsndfile says of it."""
    program = shutil.which("ffmpeg")
    if program is None:
        raise DataError(
            f"{shown(path)}: libsndfile cannot read it ({why}), and ffmpeg is not installed: install ffmpeg, or make it"
            " a WAV or FLAC file"
        )
    command = [program, "-nostdin", "-v", "error", "-protocol_whitelist", "file,pipe", "-i", f"file:{path.absolute()}"]
    command += ["-map", "0:a:0", "-f", "au", "-c:a", "pcm_f32be", "pipe:1"]
    with tempfile.TemporaryFile() as said, contextlib.ExitStack() as stack:
        try:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=said)
        except OSError as error:
            raise DataError(f"ffmpeg cannot be started: {reason(error)}") from None
        stack.callback(process.wait)
        stack.callback(process.kill)
        assert process.stdout is not None
        stack.enter_context(process.stdout)
        header = process.stdout.read(24)
        if len(header) < 24 or header[:4] != b".snd":
            process.wait()
            raise DataError(f"{shown(path)}: neither libsndfile ({why}) nor ffmpeg ({_last_line(said)}) can read it")
        offset, _, encoding, rate, channels = struct.unpack(">5I", header[4:])
        assert encoding == AU_FLOAT, f"ffmpeg wrote AU of encoding {encoding}"
        process.stdout.read(offset - len(header))
        yield Stream(rate, channels, _piped_frames(path, process, channels, said))


def _piped_frames(path: Path, process: subprocess.Popen[bytes], channels: int, said: IO[bytes]) -> Iterator[FloatArray]:
    assert process.stdout is not None
    size = 4 * channels
    while content := process.stdout.read(PIECE * size):
        whole = len(content) // size * size
        yield np.frombuffer(content[:whole], ">f4").astype(np.float32).reshape(-1, channels)
    if process.wait() != 0:
        raise DataError(f"{shown(path)}: ffmpeg gave up: {_last_line(said)}")
    if line := _last_line(said):
        log.warning("%s: ffmpeg: %s", shown(path), line)


def _last_line(said: IO[bytes]) -> str:
    """The last thing that ffmpeg said."""
    said.seek(0)
    lines = said.read().decode(errors="replace").strip().splitlines()
    return shown(lines[-1].strip()[:200]) if lines else ""


def _checked(path: Path, stream: Stream) -> Iterator[FloatArray]:
    """One or two channels of the stream, all finite."""
    done = 0
    for frames in stream.frames:
        piece = frames[:, :2]
        finite = np.isfinite(piece).all(axis=1)
        if not finite.all():
            where = (done + int(np.argmin(finite))) / stream.sample_rate
            raise DataError(f"{shown(path)} holds NaN or infinite samples, the first at {where:.6f} s")
        done += len(piece)
        yield piece


def _resampled(pieces: Iterator[FloatArray], source: int, target: int) -> Iterator[FloatArray]:
    """Pieces at `source` Hz as pieces at `target` Hz."""
    if source == target:
        yield from pieces
        return
    resampler: Any = None
    last: FloatArray | None = None  # one behind, so that the last is known as such
    for piece in pieces:
        if resampler is None:
            resampler = soxr.ResampleStream(source, target, piece.shape[1], dtype="float32", quality="VHQ")
        if last is not None:
            yield resampler.resample_chunk(np.ascontiguousarray(last))
        last = piece
    if last is not None:
        yield resampler.resample_chunk(np.ascontiguousarray(last), last=True)


def _note_conversions(path: Path, stream: Stream, sample_rate: int) -> None:
    notes = []
    if stream.channels == 1:
        notes.append("mono, copied to both channels")
    if stream.channels > 2:
        notes.append(f"{stream.channels} channels, of which the first two are taken")
    if stream.sample_rate != sample_rate:
        notes.append(f"{stream.sample_rate} Hz, resampled to {sample_rate} Hz")
    if notes:
        log.warning("%s: %s", shown(path), "; ".join(notes))

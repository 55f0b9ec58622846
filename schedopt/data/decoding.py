"""Any file of audio → its frames, at the file's own rate and channels, to be read anywhere.

libsndfile reads uncompressed files and FLAC in place. All else is decoded once, from end to end, into a temporary file:
of compressed formats a header's length is an estimate, and only the decoder knows where they end. ffmpeg decodes where
it is installed, since libsndfile stops at its own estimate; without it libsndfile does what it can.
"""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import re
import shutil
import struct
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Protocol

import numpy as np
import numpy.typing as npt
import soundfile

from schedopt.data._containers import share_there
from schedopt.data._ends import end_of, is_mpeg, is_tagged
from schedopt.data._rest import read_up_to, rest_of
from schedopt.errors import DataError, reason, shown

log = logging.getLogger("schedopt")

SUFFIXES = frozenset(
    [
        *[".wav", ".wave", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".aifc", ".caf", ".au", ".w64"],
        *[".rf64", ".m4a", ".m4b", ".aac", ".wma", ".ac3", ".dts", ".mka", ".mkv", ".mp4", ".mov", ".webm", ".ape"],
        ".wv",
    ]
)
"""Of files that are taken for audio where a folder is given. A file that is named is tried whatever its suffix."""

IN_PLACE = frozenset(["PCM_S8", "PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "ALAW"])
"""libsndfile's sample formats in which frames are counted, not estimated (FLAC's are called PCM too)."""

RARE = frozenset(["AVR", "MAT4", "MAT5", "MPC2K", "WVE"])
"""libsndfile's names of containers that promise a length, of which nothing else here knows."""

LONGEST = 2**40
"""Frames, most of a year of audio: libsndfile says more than that where it does not know the length."""

PIECE = 2**18
"""Frames decoded at once."""

AU_FLOAT = 6
"""Sun's AU format is what ffmpeg is asked for: its header has rate and channels, and needs no length."""

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
    """Frames of a file that libsndfile reads in place; it is opened anew for each piece, so nothing stays open."""

    path: Path
    sample_rate: int
    channels: int
    length: int

    def read(self, first: int, count: int) -> FloatArray:
        try:
            with _sound_file(self.path) as file:
                file.seek(first)
                frames: FloatArray = file.read(count, dtype="float32", always_2d=True)
        except (OSError, RuntimeError) as error:  # libsndfile's errors are RuntimeErrors
            where = first / self.sample_rate
            raise DataError(f"{shown(self.path)} cannot be read from {where:.3f} s on: {reason(error)}") from error
        return frames


@dataclass(frozen=True)
class DecodedFrames:
    """Frames of a file that was decoded into a temporary one, which goes with this object."""

    path: Path
    sample_rate: int
    samples: FloatArray = field(repr=False)  # (frames, channels)

    @property
    def channels(self) -> int:
        return int(self.samples.shape[1])

    @property
    def length(self) -> int:
        return len(self.samples)

    def read(self, first: int, count: int) -> FloatArray:
        return np.array(self.samples[first : first + count])


@dataclass(frozen=True)
class Stream:
    """Frames as they are decoded: (frames, channels) each, at `sample_rate` Hz."""

    sample_rate: int
    channels: int
    pieces: Iterator[FloatArray]
    notes: list[str] = field(default_factory=list)
    """What the decoder said, once all pieces are read."""


def open_frames(path: Path, stream: int = 0, folder: Path | None = None) -> Frames:
    """The audio at `path`; of its several audio streams the one of number `stream`.

    Args:
        folder: where a temporary file is made, 4 bytes a sample, if the format asks for it; by default the system's
            folder for such files.

    Raises:
        DataError: missing, unreadable, or cut short: it ends before its container says.
    """
    check_file(path)
    # libsndfile writes warnings of its own about MP3s to the process's standard error.
    decoder = shutil.which("ffmpeg") is not None and is_mpeg(path)
    found, why = (None, "") if decoder else _in_place(path)
    _check_whole(path, found)
    read_to = None if found is None or found.length > LONGEST else read_up_to(path, found.length)
    rest = rest_of(path, read_to)
    if rest is not None:
        log.warning("%s holds more after its end, which is not read: %s", shown(path), rest.what)
    in_order = found is not None and rest is not None and rest.misleads
    if found is not None and read_to is not None and not in_order:
        return found
    return _decoded(path, stream, found, why, folder, by_ffmpeg=not in_order)


def _check_whole(path: Path, found: FileFrames | None) -> None:
    """Refuse a file that ends before its container says, or within a page; `found` is what libsndfile knows of it."""
    share = share_there(path)
    # With a tag in front libsndfile's length is not that of what is there.
    if share < 1 and found is not None and 0 < found.length <= LONGEST and not is_tagged(path):
        ends = found.length / found.sample_rate
        raise DataError(cut_short(path, ends, ends / share))
    if share < 1:
        raise DataError(f"{shown(path)} holds {share:.0%} of the bytes that its header promises: copy it again")
    end = end_of(path)
    if end is not None and end.is_cut:
        raise DataError(f"{shown(path)} is cut short: {end.what}: copy it again")
    if end is not None:
        log.warning("%s may be cut short: %s", shown(path), end.what)


def cut_short(path: Path, ends: float, says: float) -> str:
    """What is said of a file that ends at `ends` seconds, though its header says `says`."""
    return f"{shown(path)} ends at {ends:.3f} s, its header says {says:.3f} s: copy it again"


def check_file(path: Path) -> None:
    """Refuse what is not a file that can be read, without a look at its content.

    Raises:
        DataError: missing, not permitted, empty, a folder, a pipe.
    """
    try:
        size = path.stat().st_size
        regular = path.is_file()
        if regular:
            path.open("rb").close()  # libsndfile does not say that permission is denied
    except (OSError, ValueError) as error:  # missing, no permission, a loop of links, a name that cannot be
        raise DataError(f"{shown(path)} cannot be read: {reason(error)}") from error
    if not regular:
        kind = "a folder" if path.is_dir() else "not a regular file"
        raise DataError(f"{shown(path)} is {kind}, an audio file was expected")
    if size == 0:
        raise DataError(f"{shown(path)} is empty (0 bytes)")


@contextlib.contextmanager
def _sound_file(path: Path) -> Iterator[Any]:
    # By descriptor, since libsndfile takes no name that is not UTF-8.
    with path.open("rb") as raw, soundfile.SoundFile(raw.fileno(), closefd=False) as file:
        yield file


def _in_place(path: Path) -> tuple[FileFrames | None, str]:
    """What libsndfile says of a file; None where it cannot read it, and why. Estimated lengths are above LONGEST."""
    try:
        with _sound_file(path) as file:
            exact = file.subtype in IN_PLACE and file.format != "OGG" and file.frames > 0
            known = FileFrames(path, file.samplerate, file.channels, file.frames if exact else LONGEST + 1)
            promised = _promised_frames(file)
            if promised > 1.01 * file.frames:
                raise DataError(cut_short(path, file.frames / file.samplerate, promised / file.samplerate))
            return known, ""
    except (OSError, RuntimeError) as error:
        return None, reason(error)


def _promised_frames(file: Any) -> int:
    """Frames by the header of a rare format, which libsndfile's log names and its length does not heed; 0: unknown."""
    if file.format not in RARE:
        return 0
    counts = re.findall(r"(?:Frames|Cols) *: *(\d+)|Data length (\d+) should be", file.extra_info)
    return max((int(one or other) for one, other in counts), default=0)


def _decoded(
    path: Path, stream: int, known: FileFrames | None, why: str, folder: Path | None, *, by_ffmpeg: bool
) -> DecodedFrames:
    """The file decoded by ffmpeg, or by libsndfile (which `known` says that it can) where there is no ffmpeg."""
    with contextlib.ExitStack() as stack:
        source = _source(stack, path, stream, known, why, by_ffmpeg=by_ffmpeg)
        frames = DecodedFrames(path, source.sample_rate, _stored(path, source, folder))
    seconds, promised = frames.length / frames.sample_rate, _promised_seconds(path, stream)
    # Codecs pad, and containers count with or without it: less than a quarter of a second says nothing.
    if promised is not None and promised - seconds > max(0.05, min(0.25, promised / 10)):
        raise DataError(cut_short(path, seconds, promised))
    for note in source.notes:
        log.warning("%s: %s", shown(path), note)
    return frames


def _source(
    stack: contextlib.ExitStack, path: Path, stream: int, known: FileFrames | None, why: str, *, by_ffmpeg: bool
) -> Stream:
    if by_ffmpeg and shutil.which("ffmpeg") is not None:
        try:
            return stack.enter_context(_by_ffmpeg(path, stream, why))
        except DataError:
            if known is None and not why:
                known, _ = _in_place(path)
            if known is None:
                raise
    if known is not None:
        return stack.enter_context(_by_libsndfile(path))
    raise DataError(
        f"{shown(path)}: libsndfile cannot read it ({why}), and ffmpeg is not installed: install ffmpeg, or make it a"
        " WAV or FLAC file"
    )


def _stored(path: Path, source: Stream, folder: Path | None) -> FloatArray:
    """All frames of `source`, (frames, channels), in a temporary file that nothing but the array keeps."""
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            for piece in source.pieces:
                file.write(np.ascontiguousarray(piece).data)
            file.flush()
            length = file.tell() // (4 * source.channels)
            if length == 0:  # cannot be mapped
                return np.zeros((0, source.channels), np.float32)
            return np.memmap(file, np.float32, "r+", shape=(length, source.channels))
    except OSError as error:
        cure = "; free some space, or set TMPDIR" if error.errno == errno.ENOSPC and folder is None else ""
        place = folder or tempfile.gettempdir()
        raise DataError(f"{shown(path)} cannot be decoded into {shown(place)}: {reason(error)}{cure}") from None


@contextlib.contextmanager
def _by_libsndfile(path: Path) -> Iterator[Stream]:
    with _sound_file(path) as file:
        if file.subtype.startswith("MPEG"):
            log.warning(
                "%s: its length is an estimate of libsndfile's: install ffmpeg to be sure of its end", shown(path)
            )
        yield Stream(file.samplerate, file.channels, _sound_pieces(path, file))


def _sound_pieces(path: Path, file: Any) -> Iterator[FloatArray]:
    done = 0
    while True:
        try:
            frames: FloatArray = file.read(PIECE, dtype="float32", always_2d=True)
        except RuntimeError as error:
            where = done / file.samplerate
            raise DataError(
                f"{shown(path)} cannot be read from {where:.3f} s on by libsndfile: {reason(error)}; if it is whole,"
                " install ffmpeg, which reads more"
            ) from None
        if not len(frames):
            return
        done += len(frames)
        yield frames


@contextlib.contextmanager
def _by_ffmpeg(path: Path, stream: int, why: str) -> Iterator[Stream]:
    """The file as ffmpeg decodes it; `why` is what libsndfile says of it, if anything."""
    program = shutil.which("ffmpeg") or "ffmpeg"
    command = [program, "-nostdin", "-v", "level+warning", *_input(path), "-map", f"0:a:{stream}"]
    # Time stamps by count: those of joined files begin anew, of which ffmpeg would complain for each frame.
    command += ["-af", "asetpts=N/SR/TB", "-f", "au", "-c:a", "pcm_f32be", "pipe:1"]
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
            raise DataError(_refusal(path, why, _says(said, path)))
        offset, _, encoding, rate, channels = struct.unpack(">5I", header[4:])
        assert encoding == AU_FLOAT, f"ffmpeg wrote AU of encoding {encoding}"
        process.stdout.read(offset - len(header))
        notes: list[str] = []
        yield Stream(rate, channels, _piped_pieces(path, process, channels, said, notes), notes)


def _input(path: Path) -> list[str]:
    # A name may look like an option, a protocol or a pattern, and a playlist may name what lies elsewhere.
    return ["-protocol_whitelist", "file,pipe", "-i", f"file:{path.absolute()}"]


def _piped_pieces(
    path: Path, process: subprocess.Popen[bytes], channels: int, said: IO[bytes], notes: list[str]
) -> Iterator[FloatArray]:
    assert process.stdout is not None
    size = 4 * channels
    while content := process.stdout.read(PIECE * size):
        whole = len(content) // size * size
        yield np.frombuffer(content[:whole], ">f4").astype(np.float32).reshape(-1, channels)
    says = _says(said, path)
    if process.wait() != 0:
        raise DataError(f"{shown(path)}: ffmpeg gave up: {says}")
    if says:
        notes.append(f"ffmpeg: {says}")


def _refusal(path: Path, why: str, says: str) -> str:
    if "matches no streams" in says:
        says = "it holds no audio stream"
    if not why:
        return f"{shown(path)}: ffmpeg cannot read it ({says})"
    return f"{shown(path)}: neither libsndfile ({why}) nor ffmpeg ({says}) can read it"


def _says(said: IO[bytes], path: Path) -> str:
    """Of what ffmpeg said the first error, which names the reason; those after it are what follows from it."""
    said.seek(0)
    lines = said.read(100_000).decode(errors="replace").splitlines()
    errors = [line for line in lines if re.match(r"(\[[^\]]*\] )?\[(error|fatal|panic)\]", line)]
    text = re.sub(r"^(\[[^\]]*\] ?)+", "", errors[0]) if errors else ""
    return shown(text.removeprefix(f"file:{path.absolute()}: ").strip()[:200])


def _promised_seconds(path: Path, stream: int) -> float | None:
    """How long a stream is by its container; None where that is not said, or estimated, or ffprobe is not there."""
    program = shutil.which("ffprobe")
    if program is None:
        return None
    command = [program, "-v", "level+warning", *_input(path), "-select_streams", f"a:{stream}", "-of", "json"]
    command += ["-show_entries", "stream=duration:stream_tags=DURATION:format=duration,nb_streams"]
    try:
        answer = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=False)
        document = json.loads(answer.stdout)
        (found,), whole = document["streams"], document["format"]
    except (OSError, subprocess.TimeoutExpired, ValueError, KeyError):
        return None
    if b"Estimating duration" in answer.stderr:
        return None
    # Matroska has it in a tag only, as hours:minutes:seconds.
    text = found.get("duration") or found.get("tags", {}).get("DURATION", "")
    if not text and whole.get("nb_streams") == 1:
        text = whole.get("duration", "")
    try:
        return float(sum(60**power * float(part) for power, part in enumerate(reversed(text.split(":")))))
    except ValueError:
        return None

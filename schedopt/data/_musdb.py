"""MUSDB18 through the musdb package: `.stem.mp4` files, or the WAV folders of MUSDB18-HQ.

musdb lists the tracks and knows the split. It decodes with the programs ffmpeg and ffprobe, piece by piece;
each piece costs a decoder's start and a run from the file's beginning, so long pieces are cheaper than
many. WAV stems are read directly, with seeks.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from schedopt.data._text import reason, shown
from schedopt.data.audio import FloatArray, checked, note_conversions
from schedopt.data.folder import is_folder, list_folder, open_stem_folder, track_folders
from schedopt.data.splits import Split, check_disjoint, searched, validation_names
from schedopt.data.stems import StemTrack
from schedopt.errors import DataError
from schedopt.types import STEMS

SUFFIX = ".stem.mp4"
SUBSETS: dict[Split, str] = {"search": "train", "held-out": "test"}

AAC_TAIL = 4096
"""Frames that a stream may lack at its end: players and encoders count the last AAC frames (1024 each)
differently."""


@dataclass(frozen=True)
class StreamFrames:
    """One stem of a `.stem.mp4`, decoded by musdb to 16 bits."""

    track: Any  # musdb.MultiTrack, which has no type
    stream: int
    sample_rate: int
    channels: int
    length: int

    @property
    def path(self) -> Path:
        return Path(self.track.path)

    def read(self, first: int, count: int) -> FloatArray:
        rate = self.sample_rate
        with _one_line_errors(self.path):
            # musdb rounds times to microseconds: two frames more than needed, cut off below
            audio = self.track.load_audio(self.track.path, self.stream, first / rate, (count + 2) / rate)
        # musdb drops axes of length one, as mono has
        frames: FloatArray = np.asarray(audio, np.float32).reshape(-1, self.channels)[:count]  # (frames, channels)
        missing = count - len(frames)
        if 0 < missing <= AAC_TAIL and first + count > self.length - AAC_TAIL:
            frames = np.pad(frames, ((0, missing), (0, 0)))
        return frames


def load_musdb(root: Path, split: Split, limit: int | None = None) -> list[StemTrack]:
    """One side of MUSDB18 at `root`, in the order of the tracks' names: validation tracks, or the test folder.

    Where `train` holds none of the validation tracks (a part of MUSDB18, or other music), the search uses
    all of it.
    """
    sides = {side: root / subset for side, subset in SUBSETS.items()}
    list_folder(root)
    if not any(is_folder(place) for place in sides.values()):
        raise DataError(f"{shown(root)} has neither a folder 'train' nor 'test', which MUSDB18 has")
    _require_ffmpeg(root)
    is_wav = not any(_stem_mp4_names(place) for place in sides.values())
    names = {side: _names(place, is_wav) for side, place in sides.items()}
    if not names[split]:
        raise DataError(f"{shown(sides[split])} holds no tracks: the {split} tracks of MUSDB18 belong there")
    check_disjoint(names["search"], names["held-out"], shown(root))
    chosen = names[split] if split == "held-out" else searched(names[split], shown(sides[split]))
    valid = split == "search" and validation_names().issuperset(chosen)
    tracks = _database(root, SUBSETS[split], "valid" if valid else None, is_wav)
    return [_open(tracks.get(name), is_wav, sides[split] / name) for name in chosen[:limit]]


def _names(place: Path, is_wav: bool) -> list[str]:
    if not is_wav:
        return _stem_mp4_names(place)
    return [folder.name for folder in track_folders(place)] if is_folder(place) else []


def _stem_mp4_names(place: Path) -> list[str]:
    if not is_folder(place):
        return []
    return [entry.name.removesuffix(SUFFIX) for entry in list_folder(place) if entry.name.endswith(SUFFIX)]


def _database(root: Path, subset: str, split: str | None, is_wav: bool) -> dict[str, Any]:
    """musdb's tracks by name; musdb probes each file here."""
    import musdb

    with _one_line_errors(root / subset):
        found = musdb.DB(root=str(root), subsets=subset, split=split, is_wav=is_wav)
    return {track.name: track for track in found}


def _open(track: Any, is_wav: bool, place: Path) -> StemTrack:
    if is_wav:
        return open_stem_folder(place)
    if track is None or track.info is None:  # a folder or a dead link of that name
        raise DataError(f"{shown(place)}{SUFFIX} is not a file that can be read")
    path = Path(track.path)
    if track.info.nb_audio_streams <= max(track.sources[stem].stem_id for stem in STEMS):
        raise DataError(
            f"{shown(path)} has {track.info.nb_audio_streams} audio streams; a mixture and 4 stems belong there"
        )
    frames = {stem: _stream(track, track.sources[stem].stem_id) for stem in STEMS}
    audio = {stem: checked(frames[stem]) for stem in STEMS}
    note_conversions(frames[STEMS[0]])  # all streams of a file are alike
    return StemTrack(shown(track.name), audio, threads=len(STEMS))


def _stream(track: Any, stream: int) -> StreamFrames:
    rate = int(track.rate)  # musdb decodes all streams at the rate of the first
    length = round(track.info.duration(stream) * rate)
    return StreamFrames(track, stream, rate, int(track.info.channels(stream)), length)


def _require_ffmpeg(root: Path) -> None:
    missing = [program for program in ("ffmpeg", "ffprobe") if shutil.which(program) is None]
    if missing:
        raise DataError(
            f"{shown(root)}: musdb needs the programs ffmpeg and ffprobe, and {' and '.join(missing)} is not found: "
            "install ffmpeg (or read WAV folders with folder:PATH, which does without)"
        )


@contextmanager
def _one_line_errors(path: Path) -> Iterator[None]:
    """Turn what musdb and stempeg raise into a `DataError`; both print ffmpeg's whole answer otherwise."""
    import stempeg.read

    try:
        yield
    except (stempeg.read.ffmpeg.Error, Warning, RuntimeError, ValueError, KeyError, OSError) as error:
        raise DataError(f"{shown(path)} cannot be read by musdb: {_ffmpeg_says(error)}") from error


def _ffmpeg_says(error: Exception) -> str:
    """The last line of ffmpeg's answer, which names the file and the fault, or the error itself."""
    said = getattr(error, "stderr", None)
    lines = said.decode("utf-8", "replace").strip().splitlines() if said else []
    return shown(lines[-1]) if lines else reason(error)

"""Songs, one after the other, from files to the files of their stems.

A song's waves lie in a hidden folder beside its results while it is separated; its stems are written there and get
their names when all of them are complete. A run that is cut off leaves the folder; the same command continues in it.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import filelock
import torch
from torch import Tensor

from schedopt import __version__
from schedopt.arrays import Arrays, ScratchFiles, blocks, stored
from schedopt.data import SUFFIXES, check_file, open_audio
from schedopt.data._text import reason, shown
from schedopt.errors import DataError, SchedoptError
from schedopt.files.schedule_file import Entry
from schedopt.separators import Separator
from schedopt.songs.naming import Template, inside, model_folder
from schedopt.songs.refining import Position, SongPasses, arrays_at_most, separate, stems_to_estimate
from schedopt.songs.writing import Encoding, write

SAMPLE_BYTES = 4

OtherMethod = Literal["add", "minus", "none"]
State = Literal["done", "there", "failed"]


@dataclass(frozen=True)
class Options:
    """What becomes of every song.

    Attributes:
        out: the results' folder; one named after the model is made in it.
        entries: schedule by stem; stems without one come from the plain pass.
        shifts: see `SongPasses`.
        two_stems: write this stem and what is left beside it, `no_STEM`.
        other_method: what is left: `add`, the sum of the other stems; `minus`, the song without the stem (called
            `minus_STEM`, as in demucs); `none`, nothing.
        overwrite: separate again where results are there.
        downmix: of songs of more than two channels mix all, instead of taking the first two.
    """

    out: Path
    entries: Mapping[str, Entry] = field(default_factory=dict)
    template: Template = field(default_factory=Template)
    encoding: Encoding = field(default_factory=Encoding)
    shifts: int = 0
    two_stems: str | None = None
    other_method: OtherMethod = "add"
    overwrite: bool = False
    downmix: bool = False


@dataclass(frozen=True)
class Result:
    """What became of a song: separated now, there already, or failed with one line that says why."""

    song: Path
    state: State
    files: Sequence[Path] = ()
    error: str = ""


OnPosition = Callable[[Path, Position, int], None]
"""Called with a song, how far it is, and its length in samples."""


def find_songs(paths: Sequence[Path]) -> list[Path]:
    """The songs that `paths` name: files as they are, and the audio files of folders (not of folders in them).

    Raises:
        DataError: a folder that cannot be read or has none.
    """
    songs: dict[Path, None] = {}
    for path in paths:
        try:
            found = _in_folder(path) if path.is_dir() else [path]
        except OSError as error:
            raise DataError(f"{shown(path)} cannot be read: {reason(error)}") from None
        if not found:
            raise DataError(f"{shown(path)}: no audio file in this folder")
        songs.update(dict.fromkeys(found))
    return list(songs)


def _in_folder(folder: Path) -> list[Path]:
    named = [path for path in sorted(folder.iterdir()) if path.suffix.lower() in SUFFIXES and path.name[0] != "."]
    return [path for path in named if path.is_file()]


def separate_songs(
    songs: Sequence[Path], separator: Separator, options: Options, on_position: OnPosition | None = None
) -> Iterator[Result]:
    """Separate `songs` one after the other; a bad one does not stop the others.

    Raises:
        DataError: `two_stems` that the model does not have.
    """
    if options.two_stems is not None and options.two_stems not in separator.stems:
        raise DataError(f"{separator.name} has no stem {options.two_stems!r}, only {', '.join(separator.stems)}")
    taken: dict[Path, Path] = {}
    for song in songs:
        try:
            yield _Job(song, separator, options, taken, on_position).run()
        except SchedoptError as error:
            yield Result(song, "failed", error=str(error))
        except OSError as error:
            yield Result(song, "failed", error=f"{shown(song)}: {_trouble(error)}")


class _Job:
    """One song."""

    def __init__(
        self,
        song: Path,
        separator: Separator,
        options: Options,
        taken: dict[Path, Path],
        on_position: OnPosition | None,
    ) -> None:
        self.song = song
        self.separator = separator
        self.options = options
        self.on_position = on_position
        self.folder = options.out / model_folder(separator.name)
        self.files = self._files()
        for file in self.files.values():
            other = taken.setdefault(file, song)
            if other is not song:
                raise DataError(
                    f"{shown(song)}: its stems would go to the files of {shown(other)}; tell them apart with"
                    " --filename '{track}.{trackext}/{stem}.{ext}'"
                )

    def run(self) -> Result:
        files = list(self.files.values())
        if not self.options.overwrite and all(file.is_file() for file in files):
            return Result(self.song, "there", files)
        check_file(self.song)
        key = hashlib.sha256("\0".join(map(str, self.files.values())).encode(errors="surrogateescape")).hexdigest()
        scratch = self.folder / f".schedopt-{key[:16]}"
        scratch.mkdir(parents=True, exist_ok=True)
        try:
            with filelock.FileLock(scratch / "lock", timeout=0):
                try:
                    self._continue_in(scratch)
                finally:
                    shutil.rmtree(scratch, ignore_errors=True)
        except filelock.Timeout:
            raise DataError(f"{shown(self.song)}: another process is separating it") from None
        return Result(self.song, "done", files)

    def _continue_in(self, scratch: Path) -> None:
        """Separate the song into files in `scratch`, then give them their names."""
        self._prepare(scratch)
        arrays = ScratchFiles(scratch)
        song = open_audio(
            self.song,
            self.separator.sample_rate,
            channels=self.separator.channels,
            downmix=self.options.downmix,
            folder=scratch,
        )
        mixture = stored(song.pieces(), arrays)
        self._check_space(scratch, mixture.shape[-1])
        stems = self._stems()
        passes = SongPasses(
            self.separator,
            mixture,
            stems_to_estimate(self.separator, self.options.entries, stems),
            arrays,
            self.options.shifts,
            self._told(mixture.shape[-1]),
        )
        names = list(self.files)
        outputs = separate(passes, self.options.entries, stems)
        if self.options.two_stems is not None:
            outputs = self._two(mixture, outputs, arrays)
        for name, audio in outputs:
            path = scratch / f"{names.index(name)}.{self.options.encoding.ext}"
            write(audio, path, self.separator.sample_rate, self.options.encoding)
        for number, file in enumerate(self.files.values()):
            file.parent.mkdir(parents=True, exist_ok=True)
            inside(self.folder, file.relative_to(self.folder))
            (scratch / f"{number}.{self.options.encoding.ext}").replace(file)

    def _prepare(self, scratch: Path) -> None:
        """Empty the folder of what was made of another song or with other settings."""
        note = scratch / "job.json"
        wanted = self._identity()
        try:
            same = json.loads(note.read_text(encoding="utf-8")) == wanted
        except (OSError, ValueError):
            same = False
        if same:
            return
        for path in scratch.iterdir():
            if path.name != "lock":
                path.unlink()
        part = scratch / "job.part"
        part.write_text(json.dumps(wanted), encoding="utf-8")
        part.replace(note)

    def _identity(self) -> dict[str, Any]:
        """All that the waves in the folder depend on."""
        stat = self.song.stat()
        return {
            "song": [str(self.song.absolute()).encode(errors="surrogateescape").hex(), stat.st_size, stat.st_mtime_ns],
            "separator": [self.separator.fingerprint, self.separator.device.type, self.separator.batch_segments],
            "entries": {stem: entry.model_dump(mode="json") for stem, entry in self.options.entries.items()},
            "shifts": self.options.shifts,
            "downmix": self.options.downmix,
            "versions": [__version__, torch.__version__],
        }

    def _check_space(self, scratch: Path, samples: int) -> None:
        """Refuse now what would fill the disk later.

        On it lie the arrays of `separate`, and the stems that are written from them.
        """
        held = arrays_at_most(self.separator, self.options.entries, self._stems())
        written = len(self.files) * self.options.encoding.bits / 32
        needed = (held + written) * samples * self.separator.channels * SAMPLE_BYTES
        free = shutil.disk_usage(scratch).free + sum(path.stat().st_size for path in scratch.iterdir())
        if needed > free:
            raise DataError(
                f"{shown(self.song)}: needs about {needed / 1e9:.1f} GB in {shown(self.options.out)} while it is"
                f" separated; {free / 1e9:.1f} GB are free"
            )

    def _told(self, samples: int) -> Callable[[Position], None]:
        told = self.on_position
        if told is None:
            return lambda _: None
        told(self.song, Position(None, 0, 0), samples)
        return lambda position: told(self.song, position, samples)

    def _stems(self) -> list[str]:
        """Stems that must be estimated."""
        only = self.options.two_stems
        return list(self.separator.stems) if only is None or self.options.other_method == "add" else [only]

    def _two(
        self, mixture: Tensor, estimates: Iterator[tuple[str, Tensor]], arrays: Arrays
    ) -> Iterator[tuple[str, Tensor]]:
        """The chosen stem, and what is left beside it: the others' sum, with the mixture's mean once, or the rest."""
        only, method = self.options.two_stems, self.options.other_method
        rest = arrays.empty(*mixture.shape).zero_()
        mean = self.separator.mean_of(mixture)
        others = 0
        for stem, estimate in estimates:
            for block in blocks(mixture.shape[-1]):
                if stem == only and method == "minus":
                    rest[:, block] = mixture[:, block] - estimate[:, block]
                elif stem != only:
                    rest[:, block] += estimate[:, block] - (mean if others else 0)
            others += stem != only
            if stem == only:
                yield stem, estimate
        if method != "none":
            yield f"{'no' if method == 'add' else 'minus'}_{only}", rest

    def _files(self) -> dict[str, Path]:
        """Where each output goes, by its name."""
        only, other = self.options.two_stems, self.options.other_method
        names = list(self.separator.stems)
        if only is not None:
            names = [only, *({"add": [f"no_{only}"], "minus": [f"minus_{only}"]}.get(other, []))]
        ext = self.options.encoding.ext
        return {name: inside(self.folder, self.options.template.path(self.song, name, ext)) for name in names}


def _trouble(error: OSError) -> str:
    if error.errno == errno.ENOSPC:
        return "the disk is full; free some space, and the same command carries on"
    name = "" if error.filename is None else f"{shown(os.fspath(error.filename))}: "
    return f"{name}{reason(error)}"

"""Songs, one after the other, from files to the files of their stems.

A song's waves lie in a hidden folder beside its results while it is separated; its stems are written there and get
their names when all of them are complete. Every stem carries a record of the song and the settings that it was made
with: what is there already counts only if it would be made just so again.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import hashlib
import logging
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from torch import Tensor

from schedopt.arrays import Arrays, ScratchFiles, blocks, stored
from schedopt.data import SUFFIXES, check_file, open_audio
from schedopt.errors import DataError, SchedoptError, reason, shown
from schedopt.files.schedule_file import Entry
from schedopt.files.scratch import scratch_folder
from schedopt.files.writing import identity
from schedopt.separators import Separator
from schedopt.songs.at_once import end_if_cancelled, in_threads
from schedopt.songs.naming import BY_FOLDER, Template, inside, model_folder, telling_apart
from schedopt.songs.quality import Quality, quality
from schedopt.songs.refining import Position, SongPasses, arrays_at_most, separate, stems_to_estimate
from schedopt.songs.writing import HEX, Encoding, Record, check_mp3, read_record, write

SAMPLE_BYTES = 4

OtherMethod = Literal["add", "minus", "none"]
State = Literal["done", "there", "failed"]

log = logging.getLogger("schedopt")


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
        overwrite: separate again whatever is there, also what was made from another song.
        quality: also measure the quality of all stems without references (`schedopt.songs.quality`), which costs as
            many passes again; songs that are there already are separated again for it, and their files stay.
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
    quality: bool = False


@dataclass(frozen=True)
class Result:
    """What became of a song: separated now, there already, or failed with one line that says why.

    `quality` is that of each stem, where it was asked for.
    """

    song: Path
    state: State
    files: Sequence[Path] = ()
    error: str = ""
    quality: Mapping[str, Quality] = field(default_factory=dict)


OnPosition = Callable[[Path, Position, int], None]
"""Called with a song, how far it is, and its length in samples."""


def find_songs(paths: Sequence[Path]) -> list[Path]:
    """The songs that `paths` name: files as they are, and the audio files of folders (not of folders in them).

    A folder without any, or one that cannot be read, stands for itself: to separate it fails with the reason.
    """
    songs: dict[str, Path] = {}
    for path in paths:
        found = [path]
        with contextlib.suppress(OSError):
            found = (path.is_dir() and _in_folder(path)) or [path]
        for song in found:
            songs.setdefault(os.path.abspath(song), song)
    return list(songs.values())


def _in_folder(folder: Path) -> list[Path]:
    named = [path for path in sorted(folder.iterdir()) if path.suffix.lower() in SUFFIXES and path.name[0] != "."]
    # A link that leads nowhere is a song that cannot be read, which is said when its turn comes.
    return [path for path in named if os.path.isfile(path) or not os.path.exists(path)]


def separate_songs(
    songs: Sequence[Path],
    separator: Separator,
    options: Options,
    on_position: OnPosition | None = None,
    *,
    jobs: int = 1,
) -> Iterator[Result]:
    """Separate `songs`, whose results come in their order; a bad one does not stop the others.

    Args:
        jobs: songs that are separated at once, each in a thread with its share of the cores: for a CPU. Memory and
            scratch space are needed so many times. `on_position` is called in these threads.

    Raises:
        DataError: `two_stems` that the model does not have, or together with `quality`; MP3 that cannot be written
            here.
    """
    if options.encoding.format == "mp3":
        check_mp3()
    if options.two_stems is not None and options.quality:
        raise DataError("--quality and --two-stems: the quality of all stems is measured; leave out one of the two")
    if options.two_stems is not None and options.two_stems not in separator.stems:
        raise DataError(f"{separator.name} has no stem {options.two_stems!r}, only {', '.join(separator.stems)}")
    taken: dict[Path, Path] = {}
    inputs = {identity(song): song for song in songs}
    inputs.pop(None, None)
    planned = (
        _planned(song, functools.partial(_Job, song, separator, options, taken, inputs, on_position)) for song in songs
    )
    if jobs > 1:
        yield from in_threads([functools.partial(_result, one) for one in planned], jobs)
    else:
        yield from map(_result, planned)


def _planned(song: Path, job: Callable[[], _Job]) -> _Job | Result:
    try:
        return job()
    except (SchedoptError, OSError) as error:
        return _failed(song, error)


def _result(planned: _Job | Result) -> Result:
    if isinstance(planned, Result):
        return planned
    try:
        return planned.run()
    except (SchedoptError, OSError) as error:
        return _failed(planned.song, error)


def _failed(song: Path, error: SchedoptError | OSError) -> Result:
    text = str(error) if isinstance(error, SchedoptError) else _trouble(error)
    return Result(song, "failed", error=text if text.startswith((shown(song), "--")) else f"{shown(song)}: {text}")


class _Job:
    """One song.

    `taken`: the files of the songs before, to which its own are added. `inputs`: the songs of the call by identity.
    """

    def __init__(
        self,
        song: Path,
        separator: Separator,
        options: Options,
        taken: dict[Path, Path],
        inputs: Mapping[tuple[int, int] | None, Path],
        on_position: OnPosition | None,
    ) -> None:
        self.song = song
        self.separator = separator
        self.options = options
        self.on_position = on_position
        self.quality: Mapping[str, Quality] = {}
        self.folder = options.out / model_folder(separator.name)
        self.files = self._files()
        for file in self.files.values():
            other = taken.setdefault(file, song)
            if other is not song:
                raise DataError(
                    f"{shown(song)}: its stems would go to the files of {shown(other)}; {telling_apart(song, other)}"
                )
            if (replaced := inputs.get(identity(file))) is not None:
                raise DataError(
                    f"{shown(song)}: one of its stems would replace the song {shown(replaced)}; name another folder"
                    " (-o), or other files (--filename)"
                )

    def run(self) -> Result:
        files = list(self.files.values())
        if self.song.is_dir():
            next(self.song.iterdir(), None)  # says why it cannot be read
            raise DataError(f"{shown(self.song)}: no audio file in this folder")
        check_file(self.song)
        self.records = {name: self._record(name) for name in self.files}
        state: State = "there" if not self.options.overwrite and self._is_there() else "done"
        if state == "done" or self.options.quality:
            with scratch_folder(self.folder, hashed("\0".join(map(str, files)))) as scratch:
                self._separate_in(scratch)
        return Result(self.song, state, files, quality=self.quality)

    def _is_there(self) -> bool:
        """Whether all stems are there, made from this song with these settings.

        Raises:
            DataError: a stem's file is there, but not from this song.
        """
        found = {name: read_record(file) for name, file in self.files.items() if os.path.lexists(file)}
        for name, record in found.items():
            if record is None or record.song != self.records[name].song:
                whose = "nothing tells from which song" if record is None else "from another song or version of it"
                raise DataError(
                    f"{shown(self.song)}: {shown(self.files[name])} is there already ({whose}); --overwrite replaces"
                    f" it; -o FOLDER or --filename '{BY_FOLDER}' keeps both"
                )
        if any(record != self.records[name] for name, record in found.items()):
            log.warning("%s: is separated again, with other settings than those of %s", shown(self.song), self.folder)
        return found == self.records

    @functools.cached_property
    def _samples(self) -> str:
        """Stands for the song's samples: a hash of its file."""
        digest = hashlib.sha256()
        with self.song.open("rb") as file:
            while block := file.read(2**20):
                digest.update(block)
        return digest.hexdigest()[:HEX]

    def _record(self, name: str) -> Record:
        """What the output `name` of this song is made from and with."""
        entries = self.options.entries
        made_of = [stem for stem in self.separator.stems if name in (stem, f"minus_{stem}")]
        made_of = made_of or [stem for stem in self.separator.stems if name != f"no_{stem}"]
        refined = {
            stem: (entries[stem].betas, repr(entries[stem].refinement(stem))) for stem in made_of if stem in entries
        }
        options = self.options
        separator = (self.separator.fingerprint, self.separator.precision)
        settings = (name, separator, options.shifts, options.downmix, options.encoding, refined)
        return Record(self._samples, hashed(repr(settings)))

    def _separate_in(self, scratch: Path) -> None:
        """Separate the song; each stem gets its name when it is complete, and stems that are there stay."""
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
        stems, told = self._stems(), self._told(mixture.shape[-1])
        there = {
            stem for stem in stems if self.options.two_stems is None and not self.options.overwrite and self._has(stem)
        }
        if not self.options.quality:
            stems = [stem for stem in stems if stem not in there]
        passes = SongPasses(
            self.separator,
            mixture,
            stems_to_estimate(self.separator, self.options.entries, stems),
            arrays,
            self.options.shifts,
            told,
        )
        outputs = separate(passes, self.options.entries, stems)
        if self.options.two_stems is not None:
            outputs = self._two(mixture, outputs, arrays)
        estimates = {}
        for name, audio in outputs:
            if self.options.quality:
                estimates[name] = audio
            if name in there:
                continue
            file, written = self.files[name], scratch / f"stem.{self.options.encoding.ext}"
            write(audio, written, self.separator.sample_rate, self.options.encoding, self.records[name])
            file.parent.mkdir(parents=True, exist_ok=True)
            inside(self.folder, file.relative_to(self.folder))
            written.replace(file)
        if self.options.quality:
            self.quality = quality(
                self.separator,
                mixture,
                estimates,
                self.options.entries,
                arrays=arrays,
                shifts=self.options.shifts,
                on_position=told,
            )

    def _has(self, name: str) -> bool:
        """Whether an output is there, made from this song with these settings."""
        return os.path.lexists(self.files[name]) and read_record(self.files[name]) == self.records[name]

    def _check_space(self, scratch: Path, samples: int) -> None:
        """Refuse now what would fill the disk later.

        On it lie the arrays of `separate`, and the stems that are written from them.
        """
        held = arrays_at_most(self.separator, self.options.entries, self._stems())
        if self.options.quality:  # the second mixture and what is made of it, beside the first estimates; a moved one
            held = 2 * held + 1
        written = len(self.files) * self.options.encoding.bits / 32
        needed = (held + written) * samples * self.separator.channels * SAMPLE_BYTES
        free = shutil.disk_usage(scratch).free + sum(path.stat().st_size for path in scratch.iterdir())
        if needed > free:
            raise DataError(
                f"{shown(self.song)}: needs about {needed / 1e9:.1f} GB in {shown(self.options.out)} while it is"
                f" separated; {free / 1e9:.1f} GB are free"
            )

    def _told(self, samples: int) -> Callable[[Position], None]:
        def told(position: Position) -> None:
            end_if_cancelled()
            if self.on_position is not None:
                self.on_position(self.song, position, samples)

        told(Position(None, 0, 0))
        return told

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


def hashed(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:HEX]


def _trouble(error: OSError) -> str:
    if error.errno == errno.ENOSPC:
        return "the disk is full; free some space and run the same command again"
    name = "" if error.filename is None else f"{shown(os.fspath(error.filename))}: "
    return f"{name}{reason(error)}"

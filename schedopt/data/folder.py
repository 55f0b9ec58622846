"""Tracks in folders: a sub-folder a track, in it a file a stem (MUSDB18-HQ) or a folder of files a stem (MoisesDB).

    ROOT/search/TRACK/vocals.wav …   ROOT/held-out/…      a split of one's own
    ROOT/train/TRACK/vocals.wav …    ROOT/test/…          MUSDB18-HQ: its validation tracks are searched on
    ROOT/TRACK/vocals.wav …                               split by the tracks' names, see `splits.split_by_name`
    ROOT/TRACK/vocals/ANY.wav …                           MoisesDB: the stem is the sum of the folder's files

A file is a stem if its name is known: Demucs' and MoisesDB's stems, those of the mapping, those of the model. Other
files, a mixture among them, are ignored: the mixture is always the sum of the stems.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from schedopt.data.decoding import SUFFIXES, check_file
from schedopt.data.splits import Split, check_disjoint, log, searched, split_by_name
from schedopt.data.stems import KNOWN_STEMS, StemSums, add_up, in_order
from schedopt.data.tracks import StemFile, StemTrack
from schedopt.errors import DataError, reason, shown
from schedopt.types import STEMS

LOSSLESS = (".wav", ".flac")
"""Where a stem is there in several formats, one of these is taken."""

LAYOUTS: tuple[dict[Split, str], ...] = (
    {"search": "search", "held-out": "held-out"},
    {"search": "train", "held-out": "test"},
)
"""Names of the sub-folders that hold a split; the first layout that is found counts."""


class NoTracks(DataError):
    """A folder in which no file has a known stem's name."""


Sides = dict[Split, dict[str, Path]]
"""Track folders by name, for each side of a split."""

Names = Mapping[str, str]
"""Stems by the names in lower case by which files are taken for them."""

KNOWN: Names = {stem: stem for stem in KNOWN_STEMS}


def load_folder(root: Path, split: Split, limit: int | None, sums: StemSums, names: Names = KNOWN) -> list[StemTrack]:
    """The tracks of one side of `root`, in the order of their names; files are listed, not opened."""
    if is_track_folder(root, names):
        raise DataError(f"{shown(root)} is itself a track: give the folder that it lies in, or one with more tracks")
    layout = next(
        (layout for layout in LAYOUTS if any(_holds_a_side(root / name, names) for name in layout.values())), None
    )
    sides = _layout_sides(root, layout, split, names) if layout else _flat_sides(root, split, names)
    _check_sides(sides, root)
    chosen = sorted(sides[split])
    if layout and (split, layout[split]) == ("search", "train"):
        chosen = searched(chosen, shown(root / "train"))
    return [open_track(sides[split][name], sums, names) for name in chosen[:limit]]


def open_track(folder: Path, sums: StemSums, names: Names = KNOWN) -> StemTrack:
    """The track in `folder` with all the stems that it offers, after the mapping `sums`."""
    found = _stem_paths(folder, names)
    made = add_up(found, sums)
    files = {stem: [StemFile(path) for part in made[stem] for path in found[part]] for stem in in_order(made)}
    return StemTrack(shown(folder.name), folder, files)


def stem_files(folder: str | Path, names: Names = KNOWN) -> dict[str, list[Path]]:
    """The files of the stems that lie in `folder`, in the order of KNOWN_STEMS; letters' case does not matter.

    Raises:
        DataError: if there are two files for one stem.
    """
    found = _stem_paths(Path(folder), names)
    return {stem: found[stem] for stem in in_order(found)}


def track_folders(root: str | Path, names: Names = KNOWN) -> list[Path]:
    """The sub-folders of `root` that are tracks, sorted by name; those without any stem are passed over with a note."""
    folders = []
    for entry in list_folder(Path(root)):
        if not is_folder(entry):
            if entry.is_symlink() and not os.path.exists(entry):
                log.warning("%s: a link to what is not there, not used as a track", shown(entry))
            continue
        if is_track_folder(entry, names):
            folders.append(entry)
        else:
            log.warning("%s: no stem in this folder, not used as a track", shown(entry))
    return folders


def is_track_folder(folder: str | Path, names: Names = KNOWN) -> bool:
    """Whether at least one stem lies in `folder` itself, as a file or as a folder of files."""
    entries = list_folder(Path(folder))
    return any(_stem_of(entry, names) for entry in entries) or any(_parts_in(entry, names) for entry in entries)


def list_folder(folder: Path) -> list[Path]:
    """What lies in a folder, sorted by name, without hidden entries: macOS leaves a `._NAME` beside every NAME.

    Raises:
        DataError: it cannot be read.
    """
    try:
        return sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
    except (OSError, ValueError) as error:  # missing, not a folder, no permission, a loop of links, a NUL
        raise DataError(f"{shown(folder)} cannot be read as a folder: {reason(error)}") from error


def is_folder(path: Path) -> bool:
    """`Path.is_dir`, with one line where permission is denied."""
    try:
        return path.is_dir()
    except OSError as error:
        raise DataError(f"{shown(path)} cannot be read: {reason(error)}") from error


def _stem_paths(folder: Path, names: Names) -> dict[str, list[Path]]:
    """Files of each stem in `folder`."""
    entries = list_folder(folder)
    found: dict[str, list[Path]] = {}
    for entry in entries:
        if stem := _stem_of(entry, names):
            found.setdefault(stem, []).append(entry)
    for stem, paths in found.items():
        paths[:] = [path for path in paths if path.suffix.lower() in LOSSLESS] or paths
        if len(paths) > 1:
            raise DataError(_twice(folder, stem, paths[0], paths[1]))
    for entry in entries:
        _check_link(entry, names)
        if parts := _parts_in(entry, names):
            stem = names[entry.name.lower()]
            if stem in found:
                raise DataError(_twice(folder, stem, found[stem][0], entry))
            found[stem] = parts
    return found


def _check_link(entry: Path, names: Names) -> None:
    """Refuse a link that is named as a stem's folder is and leads nowhere: the stem would be missing unnoticed."""
    if entry.name.lower() in names and entry.is_symlink() and not os.path.exists(entry):
        check_file(entry)


def _twice(folder: Path, stem: str, one: Path, other: Path) -> str:
    what = "two files" if one.suffix and other.suffix else "a file and a folder"
    return f"{shown(folder)} holds {what} for {stem}: {shown(one.name)} and {shown(other.name)}; remove one"


def _stem_of(entry: Path, names: Names) -> str | None:
    """The stem that a file is named after, if any."""
    return names.get(entry.stem.lower()) if entry.suffix.lower() in SUFFIXES else None


def _parts_in(entry: Path, names: Names) -> list[Path]:
    """The audio files in a folder that is named after a stem, unless it is a track of that name."""
    stem = names.get(entry.name.lower())
    if stem is None or not is_folder(entry):
        return []
    inside = list_folder(entry)
    if any(_stem_of(file, names) not in (None, stem) for file in inside):
        return []
    return [file for file in inside if file.suffix.lower() in SUFFIXES]


def _layout_sides(root: Path, layout: dict[Split, str], split: Split, names: Names) -> Sides:
    """The tracks of both sides of a root that has a sub-folder for `split`, and maybe one for the other side."""
    folder = root / layout[split]
    if not is_folder(folder):
        raise DataError(f"{shown(root)} has no folder {layout[split]!r}: put the {split} tracks there")
    sides: Sides = {
        side: {folder.name: folder for folder in track_folders(root / name, names)}
        for side, name in layout.items()
        if is_folder(root / name)
    }
    _require(sides[split], folder)
    return sides


def _flat_sides(root: Path, split: Split, names: Names) -> Sides:
    """The tracks of both sides of a root that holds the tracks themselves."""
    folders = {folder.name: folder for folder in track_folders(root, names)}
    _require(folders, root)
    sides: Sides = {side: {name: folders[name] for name in found} for side, found in split_by_name(folders).items()}
    if not sides[split]:
        raise DataError(
            f"{shown(root)} holds a single track, which the search uses: add another one, or put tracks that are to be "
            f"held out into {shown(root / 'held-out')} and the others into {shown(root / 'search')}"
        )
    return sides


def _check_sides(sides: Sides, root: Path) -> None:
    """Refuse a track that is on both sides, be it by name or by a link."""
    search, held_out = sides.get("search", {}), sides.get("held-out", {})
    check_disjoint(search, held_out, shown(root))
    real = {folder.resolve() for folder in search.values()}
    for name, folder in held_out.items():
        if folder.resolve() in real:
            raise DataError(f"{shown(folder)} links to a track of the other side: {shown(name)!r} cannot be held out")


def _require(folders: dict[str, Path], folder: Path) -> None:
    if not folders and any(entry.name.endswith(".stem.mp4") for entry in list_folder(folder)):
        raise DataError(f"{shown(folder)} holds .stem.mp4 files: give musdb:PATH as the source, not folder:PATH")
    if not folders:
        files = f"{', '.join(STEMS)} as audio files (.wav, .flac, …)"
        raise NoTracks(f"{shown(folder)} holds no tracks: each is a sub-folder with {files}")


def _holds_a_side(folder: Path, names: Names) -> bool:
    """Whether a folder is one side of a split, not a track that happens to be called `test`."""
    return is_folder(folder) and not is_track_folder(folder, names)

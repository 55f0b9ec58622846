"""Tracks in folders: one sub-folder a track, one WAV or FLAC file a stem, as in MUSDB18-HQ.

    ROOT/search/TRACK/vocals.wav …   ROOT/held-out/…      a split of one's own ROOT/train/TRACK/vocals.wav …
    ROOT/test/…          MUSDB18-HQ: its validation tracks are searched on ROOT/TRACK/vocals.wav …
    split by the tracks' names, see `splits.split_by_name`

Other files, a mixture among them, are ignored: the mixture is always the sum of the stems.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from schedopt.data._text import reason, shown
from schedopt.data.audio import open_audio
from schedopt.data.splits import Split, check_disjoint, log, searched, split_by_name
from schedopt.data.stems import StemTrack
from schedopt.errors import DataError
from schedopt.types import STEMS

SUFFIXES = (".wav", ".flac")
LAYOUTS: tuple[dict[Split, str], ...] = (
    {"search": "search", "held-out": "held-out"},
    {"search": "train", "held-out": "test"},
)
"""Names of the sub-folders that hold a split; the first layout that is found counts."""

Sides = dict[Split, dict[str, Path]]
"""Track folders by name, for each side of a split."""


def load_folder(root: Path, split: Split, limit: int | None = None) -> list[StemTrack]:
    """The tracks of one side of `root`, in the order of their names; only these are opened."""
    if is_track_folder(root):
        raise DataError(f"{shown(root)} is itself a track: give the folder that it lies in, or one with more tracks")
    layout = next((layout for layout in LAYOUTS if any(_holds_a_side(root / name) for name in layout.values())), None)
    sides = _layout_sides(root, layout, split) if layout else _flat_sides(root, split)
    _check_sides(sides, root)
    names = sorted(sides[split])
    if layout and (split, layout[split]) == ("search", "train"):
        names = searched(names, shown(root / "train"))
    return [open_stem_folder(sides[split][name]) for name in names[:limit]]


def track_folders(root: str | Path) -> list[Path]:
    """The sub-folders of `root` that are tracks, sorted by name; those without any stem are passed over with a note."""
    folders = []
    for entry in list_folder(Path(root)):
        if entry.name.startswith("."):
            continue
        if not is_folder(entry):
            if entry.is_symlink() and not os.path.exists(entry):
                log.warning("%s: a link to what is not there, not used as a track", shown(entry))
            continue
        if is_track_folder(entry):
            folders.append(entry)
        else:
            log.warning("%s: no stem in this folder, not used as a track", shown(entry))
    return folders


def is_track_folder(folder: str | Path) -> bool:
    """Whether at least one stem lies in `folder` itself."""
    return any(_stem_of(entry) for entry in list_folder(Path(folder)))


def stem_files(folder: str | Path) -> dict[str, Path]:
    """The files of the stems that lie in `folder`, in the order of STEMS; letters' case does not matter.

    Raises:
        DataError: if there are two files for one stem.
    """
    found: dict[str, Path] = {}
    for entry in list_folder(Path(folder)):
        stem = _stem_of(entry)
        if stem and stem in found:
            raise DataError(
                f"{shown(folder)} holds two files for {stem}: {shown(found[stem].name)} and {shown(entry.name)}; "
                "remove one"
            )
        if stem:
            found[stem] = entry
    return {stem: found[stem] for stem in STEMS if stem in found}


def open_stem_folder(folder: str | Path, stems: Sequence[str] = STEMS) -> StemTrack:
    """The track in `folder`, with exactly `stems`, in that order; headers are read, samples not yet.

    Raises:
        DataError: if a stem is missing or its file cannot be used.
    """
    folder = Path(folder)
    found = stem_files(folder)
    for stem in stems:
        if stem not in found:
            raise DataError(
                f"{shown(folder)}: {stem} is missing; a track needs {', '.join(stems)}, each as .wav or .flac"
            )
    return StemTrack(shown(folder.name), {stem: open_audio(found[stem]) for stem in stems})


def list_folder(folder: Path) -> list[Path]:
    """What lies in a folder, sorted by name."""
    try:
        return sorted(folder.iterdir())
    except OSError as error:  # missing, not a folder, no permission, a loop of links
        raise DataError(f"{shown(folder)} cannot be read as a folder: {reason(error)}") from error


def _layout_sides(root: Path, layout: dict[Split, str], split: Split) -> Sides:
    """The tracks of both sides of a root that has a sub-folder for `split`, and maybe one for the other side."""
    place = root / layout[split]
    if not is_folder(place):
        raise DataError(f"{shown(root)} has no folder {layout[split]!r}: put the {split} tracks there")
    sides: Sides = {
        side: {folder.name: folder for folder in track_folders(root / name)}
        for side, name in layout.items()
        if is_folder(root / name)
    }
    _require(sides[split], place)
    return sides


def _flat_sides(root: Path, split: Split) -> Sides:
    """The tracks of both sides of a root that holds the tracks themselves."""
    folders = {folder.name: folder for folder in track_folders(root)}
    _require(folders, root)
    sides: Sides = {side: {name: folders[name] for name in names} for side, names in split_by_name(folders).items()}
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


def _require(folders: dict[str, Path], place: Path) -> None:
    if not folders and any(entry.name.endswith(".stem.mp4") for entry in list_folder(place)):
        raise DataError(f"{shown(place)} holds .stem.mp4 files: give musdb:PATH as the source, not folder:PATH")
    if not folders:
        raise DataError(
            f"{shown(place)} holds no tracks: each is a sub-folder with {', '.join(STEMS)} as .wav or .flac"
        )


def _holds_a_side(place: Path) -> bool:
    """Whether a folder is one side of a split, not a track that happens to be called `test`."""
    return is_folder(place) and not is_track_folder(place)


def is_folder(path: Path) -> bool:
    """`Path.is_dir`, with one line where permission is denied."""
    try:
        return path.is_dir()
    except OSError as error:
        raise DataError(f"{shown(path)} cannot be read: {reason(error)}") from error


def _stem_of(entry: Path) -> str | None:
    """The stem that a file is named after, if any."""
    stem = entry.stem.lower()
    return stem if stem in STEMS and entry.suffix.lower() in SUFFIXES else None

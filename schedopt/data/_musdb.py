"""MUSDB18: `.stem.mp4` files, decoded by ffmpeg, or MUSDB18-HQ's WAV folders. The musdb package knows the split."""

from __future__ import annotations

import shutil
from pathlib import Path

from schedopt.data.folder import is_folder, list_folder, open_track, track_folders
from schedopt.data.splits import Split, check_disjoint, searched
from schedopt.data.stems import StemSums, add_up, in_order
from schedopt.data.tracks import StemFile, StemTrack
from schedopt.errors import DataError, shown
from schedopt.types import STEMS

SUFFIX = ".stem.mp4"
SUBSETS: dict[Split, str] = {"search": "train", "held-out": "test"}

STREAMS = {stem: number for number, stem in enumerate(STEMS, start=1)}
"""Of a `.stem.mp4`: number 0 is the mixture. Source: musdb's configs/mus.yaml."""


def load_musdb(root: Path, split: Split, limit: int | None, sums: StemSums) -> list[StemTrack]:
    """One side of MUSDB18 at `root`, in the order of the tracks' names: validation tracks, or the test folder.

    Where `train` holds none of the validation tracks (a part of MUSDB18, or other music), the search uses
    all of it.
    """
    sides = {side: root / subset for side, subset in SUBSETS.items()}
    list_folder(root)
    if not any(is_folder(folder) for folder in sides.values()):
        raise DataError(f"{shown(root)} has neither a folder 'train' nor 'test', which MUSDB18 has")
    is_wav = not any(_stem_mp4_names(folder) for folder in sides.values())
    names = {side: _names(folder, is_wav) for side, folder in sides.items()}
    if not names[split]:
        raise DataError(f"{shown(sides[split])} holds no tracks: the {split} tracks of MUSDB18 belong there")
    check_disjoint(names["search"], names["held-out"], shown(root))
    chosen = names[split] if split == "held-out" else searched(names[split], shown(sides[split]))
    if is_wav:
        return [open_track(sides[split] / name, sums) for name in chosen[:limit]]
    missing = [program for program in ("ffmpeg", "ffprobe") if shutil.which(program) is None]
    if missing:
        raise DataError(
            f"{shown(root)}: .stem.mp4 files need the programs ffmpeg and ffprobe, and {' and '.join(missing)} is not"
            " found: install ffmpeg (or take the WAV folders of MUSDB18-HQ, which do without)"
        )
    return [_open(sides[split] / f"{name}{SUFFIX}", sums) for name in chosen[:limit]]


def _names(folder: Path, is_wav: bool) -> list[str]:
    if not is_wav:
        return _stem_mp4_names(folder)
    return [folder.name for folder in track_folders(folder)] if is_folder(folder) else []


def _stem_mp4_names(folder: Path) -> list[str]:
    if not is_folder(folder):
        return []
    return [entry.name.removesuffix(SUFFIX) for entry in list_folder(folder) if entry.name.endswith(SUFFIX)]


def _open(path: Path, sums: StemSums) -> StemTrack:
    made = add_up(STREAMS, sums)
    files = {stem: [StemFile(path, STREAMS[part]) for part in made[stem]] for stem in in_order(made)}
    return StemTrack(shown(path.name.removesuffix(SUFFIX)), path, files)

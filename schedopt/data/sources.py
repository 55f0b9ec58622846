"""The text `source` of a study file → tracks."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import get_args

from schedopt.data._demo import load_demo
from schedopt.data._musdb import load_musdb
from schedopt.data.decoding import SUFFIXES
from schedopt.data.folder import Names, NoTracks, load_folder
from schedopt.data.splits import Split
from schedopt.data.stems import KNOWN_STEMS, StemSums, in_order
from schedopt.errors import DataError
from schedopt.types import Track


def load_tracks(
    source: str,
    split: Split,
    limit: int | None = None,
    *,
    mapping: StemSums | None = None,
    stems: Collection[str] = (),
) -> list[Track]:
    """The tracks of one side of a source, in a fixed order, at most `limit` of them.

    The two sides of a source never share a track. Files are listed here, and opened when a track is read.

    Args:
        source: `demo`, `folder:PATH` or `musdb:PATH`.
        mapping: `[data.stems]`: a stem → the stems whose sum takes its place.
        stems: names by which files are taken for stems, beside KNOWN_STEMS and those of the mapping: the model's.

    Raises:
        DataError: if the source cannot be used or holds no track for this side.

    >>> import schedopt
    >>> (track,) = schedopt.load_tracks("demo", "search", 1)
    >>> track.read(0.0, 1.0).shape
    torch.Size([4, 2, 44100])
    """
    assert split in get_args(Split), f"not a split: {split!r}"
    if limit is not None and limit < 1:
        raise DataError(f"the number of tracks must be at least 1, got {limit}")
    sums = mapping or {}
    names = (*KNOWN_STEMS, *sums, *(member for listed in sums.values() for member in listed), *stems)
    tracks = _load(source, split, limit, sums, {name.lower(): name for name in names})
    for stem in sums:
        if not any(stem in track.stems for track in tracks):
            raise DataError(f"data.stems.{stem}: no {split} track of {source} has {' or '.join(sums[stem])}")
    return tracks


def _load(source: str, split: Split, limit: int | None, sums: StemSums, names: Names) -> list[Track]:
    kind, _, rest = source.partition(":")
    if source == "demo":
        return list(load_demo(split, limit, sums))
    if kind == "folder" and rest:
        return list(load_folder(_path(rest), split, limit, sums, names))
    if kind == "musdb" and rest:
        return list(load_musdb(_path(rest), split, limit, sums))
    raise DataError(f"data source {source!r} is not known; it is demo, folder:PATH or musdb:PATH")


def check_source(source: str, split: Split, mapping: StemSums | None = None) -> None:
    """Refuse a source that cannot be used, before a model is loaded for it; folders are listed, no file is opened.

    A folder of audio files of other names is let through, since the model may have stems of these names.

    Raises:
        DataError: as `load_tracks`.
    """
    try:
        load_tracks(source, split, mapping=mapping)
    except NoTracks:
        root = _path(source.partition(":")[2])
        inside = itertools.chain(root.glob("*/*.*"), root.glob("*/*/*.*"))
        if not any(path.suffix.lower() in SUFFIXES for path in inside):
            raise


def stems_of(tracks: Sequence[Track]) -> tuple[str, ...]:
    """The stems that at least one of `tracks` has: STEMS first, the others by name."""
    return tuple(in_order({stem for track in tracks for stem in track.stems}))


def _path(text: str) -> Path:
    try:
        return Path(text).expanduser()
    except RuntimeError as error:  # no such user
        raise DataError(f"{text!r}: {error}") from error

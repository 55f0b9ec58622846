"""The text `source` of a study file → tracks."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

from schedopt.data._demo import load_demo
from schedopt.data._musdb import load_musdb
from schedopt.data.folder import load_folder
from schedopt.data.splits import Split
from schedopt.errors import DataError
from schedopt.types import Track


def load_tracks(source: str, split: Split, limit: int | None = None) -> list[Track]:
    """The tracks of one side of a source, in a fixed order, at most `limit` of them.

    `source` is `demo`, `folder:PATH` or `musdb:PATH`. The two sides of a source never share a track. Only
    the tracks that are handed out are opened, and of these only the headers are read.

    Raises:
        DataError: if the source cannot be used or holds no track for this side.
    """
    assert split in get_args(Split), f"not a split: {split!r}"
    if limit is not None and limit < 1:
        raise DataError(f"the number of tracks must be at least 1, got {limit}")
    kind, _, rest = source.partition(":")
    if source == "demo":
        return list(load_demo(split, limit))
    if kind == "folder" and rest:
        return list(load_folder(_path(rest), split, limit))
    if kind == "musdb" and rest:
        return list(load_musdb(_path(rest), split, limit))
    raise DataError(f"data source {source!r} is not known; it is demo, folder:PATH or musdb:PATH")


def _path(text: str) -> Path:
    try:
        return Path(text).expanduser()
    except RuntimeError as error:  # no such user
        raise DataError(f"{text!r}: {error}") from error

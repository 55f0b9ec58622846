"""Which tracks are searched on and which are held out. No rule ever puts a track on both sides."""

from __future__ import annotations

import hashlib
import logging
import unicodedata
from collections.abc import Iterable
from functools import cache
from importlib.resources import files
from typing import Literal

import yaml

from schedopt.errors import DataError, shown

log = logging.getLogger("schedopt")

Split = Literal["search", "held-out"]

HELD_OUT_SHARE = 1 / 3
"""Part of a flat folder's tracks that is held out, on average."""


def split_by_name(names: Iterable[str]) -> dict[Split, list[str]]:
    """Split tracks that come without a split: the side of a track follows from a hash of its name.

    About a third is held out. A track keeps its side when others are added or taken away, with one
    exception: where all would fall on one side, the track at that side's edge goes to the other, so that
    two tracks or more always give both. One track alone is searched on.
    """
    ranked = sorted(names, key=lambda name: (_rank(name), name))
    held_out = sum(_rank(name) < HELD_OUT_SHARE for name in ranked)
    if ranked:
        held_out = min(max(held_out, 1 if len(ranked) > 1 else 0), len(ranked) - 1)
    return {"search": sorted(ranked[held_out:]), "held-out": sorted(ranked[:held_out])}


def searched(names: Iterable[str], where: str) -> list[str]:
    """The tracks to search on among those of a `train` folder: MUSDB18's validation tracks, else all of them."""
    names = sorted(names)
    validation = [name for name in names if unicodedata.normalize("NFC", name) in validation_names()]
    if names and not validation:
        log.warning("%s: none of MUSDB18's 14 validation tracks is here; the search uses all tracks of it", where)
    return validation or names


def check_disjoint(search: Iterable[str], held_out: Iterable[str], where: str) -> None:
    """Refuse names that are on both sides; case and Unicode form do not make a name another one."""
    keys = {_key(name) for name in search}
    for name in held_out:
        if _key(name) in keys:
            raise DataError(f"{where}: track {shown(name)!r} is both searched on and held out; remove one of the two")


@cache
def validation_names() -> frozenset[str]:
    """The 14 tracks of MUSDB18's train folder that the musdb package sets aside for validation."""
    settings = yaml.safe_load(files("musdb").joinpath("configs/mus.yaml").read_text(encoding="utf-8"))
    return frozenset(unicodedata.normalize("NFC", name) for name in settings["validation_tracks"])


def _key(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


def _rank(name: str) -> float:
    """A number in [0, 1) that is fixed by the name (macOS and Linux store accents differently: NFC evens that out)."""
    data = unicodedata.normalize("NFC", name).encode("utf-8", "surrogateescape")
    return int.from_bytes(hashlib.sha256(data).digest()[:6], "big") / 2**48

"""What a report holds, without saying how it looks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from schedopt.view.figures import Chart


@dataclass(frozen=True)
class Table:
    """Cells are text; the first column is a name, the others are numbers or text."""

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    title: str = ""


@dataclass(frozen=True)
class Sound:
    """A few seconds of audio under a label; `flac` is the content of a FLAC file."""

    label: str
    flac: bytes


@dataclass(frozen=True)
class Clip:
    """The same seconds of one excerpt as mixture, one pass, schedule and reference; `gain` in dB."""

    place: str
    stem: str
    excerpt: str
    gain: float
    sounds: tuple[Sound, ...]


@dataclass(frozen=True)
class Section:
    """`key` tells the sections of a page apart; `missing` says what could not be made, and why."""

    key: str
    title: str
    text: tuple[str, ...] = ()
    tables: tuple[Table, ...] = ()
    charts: Mapping[str, Chart] = field(default_factory=dict)
    clips: tuple[Clip, ...] = ()
    notes: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()


@dataclass(frozen=True)
class Page:
    title: str
    subtitle: str
    sections: tuple[Section, ...]
    provenance: tuple[Table, ...]

"""What a page holds, without saying how it looks."""

from __future__ import annotations

from dataclasses import dataclass, field

from schedopt.view.figures import Figures


@dataclass(frozen=True)
class Table:
    """Cells are text; the first column is a name, the others are numbers or text."""

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    title: str = ""


@dataclass(frozen=True)
class Sound:
    """A few seconds of audio under a label; `source` is its URL (`data:…`, or a path of the server)."""

    label: str
    source: str


@dataclass(frozen=True)
class Clip:
    """The same seconds of one excerpt: mixture, one pass, refined and reference, under one gain."""

    title: str
    sounds: tuple[Sound, ...]


@dataclass(frozen=True)
class Section:
    """`key` tells the sections of a page apart; `missing` says what could not be made, and why."""

    key: str
    title: str
    text: tuple[str, ...] = ()
    tables: tuple[Table, ...] = ()
    figures: Figures = field(default_factory=dict)
    clips: tuple[Clip, ...] = ()
    notes: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()


@dataclass(frozen=True)
class Page:
    """`media`: where sounds may come from, as a Content-Security-Policy source."""

    title: str
    subtitle: str
    sections: tuple[Section, ...]
    provenance: tuple[Table, ...] = ()
    media: str = "data:"

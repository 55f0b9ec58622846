"""Charts as data: what is drawn, without saying with which library.

A chart holds panels, a panel holds marks; every number that a picture shows can be read here. Levels and gains are dB.

    study | benchmark | sweep | reproduction ─► Chart ─┬► matplotlib: PNG, SVG, PDF files
                                                       └► plotly: interactive pages
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

Values = tuple[float, ...]
Dash = Literal["solid", "dashed", "dotted"]
Marker = Literal["none", "circle", "square", "diamond", "cross"]


@dataclass(frozen=True)
class Style:
    """How a mark looks; `colour` is #rrggbb, `width` in points."""

    colour: str
    dash: Dash = "solid"
    marker: Marker = "none"
    width: float = 2.0
    opacity: float = 1.0


@dataclass(frozen=True)
class Axis:
    """`label` says the unit. `ticks`: places and their names; `whole`: only whole numbers have a tick; `low`: where the
    axis begins, if not at the smallest value."""

    label: str
    ticks: tuple[tuple[float, str], ...] = ()
    log: bool = False
    whole: bool = False
    low: float | None = None


@dataclass(frozen=True)
class Line:
    """y over x, with a band from `low` to `high` where given; `steps`: y keeps its value until the next x."""

    name: str
    x: Values
    y: Values
    style: Style
    low: Values = ()
    high: Values = ()
    steps: bool = False


@dataclass(frozen=True)
class Bundle:
    """Many lines without names, the first drawn lowest; each is coloured by its value on the chart's scale."""

    lines: tuple[tuple[Values, Values], ...]
    values: Values


@dataclass(frozen=True)
class Points:
    """y over x; `low` and `high` are the ends of error bars (of y, or of x if `sideways`), `labels` what a point says
    under the pointer."""

    name: str
    x: Values
    y: Values
    style: Style
    low: Values = ()
    high: Values = ()
    labels: tuple[str, ...] = ()
    sideways: bool = False


@dataclass(frozen=True)
class Bars:
    """Horizontal bars at the heights 0, 1 …; the y axis's ticks name them."""

    name: str
    values: Values
    style: Style


@dataclass(frozen=True)
class Boxes:
    """One box (quartiles, median, whiskers to 1.5 times their distance) at each x, of the values given for it."""

    name: str
    x: Values
    values: tuple[Values, ...]
    style: Style
    width: float = 0.5


Mark = Line | Bundle | Points | Bars | Boxes


@dataclass(frozen=True)
class Panel:
    x: Axis
    y: Axis
    marks: tuple[Mark, ...]
    title: str = ""


def lies_on_zero(panel: Panel) -> bool:
    """Whether its marks are rows that start from a vertical line at 0."""
    return any(isinstance(mark, Bars) or (isinstance(mark, Points) and mark.sideways) for mark in panel.marks)


def rows(panel: Panel) -> int:
    """How many rows such a panel has."""
    bars = [len(mark.values) for mark in panel.marks if isinstance(mark, Bars)]
    return max([len(panel.y.ticks), *bars])


@dataclass(frozen=True)
class Scale:
    """The colour scale of a chart's bundles, from `low` (light) to `high` (dark); values beyond take the ends."""

    label: str
    low: float
    high: float


@dataclass(frozen=True)
class Chart:
    """`caption` says in a sentence what is drawn and how it was computed. Marks of equal name share a legend entry."""

    title: str
    panels: tuple[Panel, ...]
    caption: str = ""
    scale: Scale | None = None

    @property
    def columns(self) -> int:
        return 1 if len(self.panels) == 1 else 2

    @property
    def rows(self) -> int:
        return -(-len(self.panels) // self.columns)

    def named(self) -> Iterator[tuple[str, Mark]]:
        """One mark for each entry of the legend, in the order of drawing."""
        seen: set[str] = set()
        for panel in self.panels:
            for mark in panel.marks:
                name = "" if isinstance(mark, Bundle) else mark.name
                if name and name not in seen:
                    seen.add(name)
                    yield name, mark


Charts = Mapping[str, Chart]
"""Charts by a short name, which serves as a file's name and as an id in a page."""

SHOWN_LINES = 300
SHOWN_POINTS = 1_000


def thinned(count: int, most: int) -> list[int]:
    """At most `most` of the indices 0 … count − 1, evenly spread, the first and the last among them."""
    if count <= most:
        return list(range(count))
    return [round(n * (count - 1) / (most - 1)) for n in range(most)]


def short(name: str, most: int = 28) -> str:
    """`name` on one line, cut so that it fits beside an axis."""
    line = " ".join(name.split())
    return line if len(line) <= most else f"{line[: most - 1]}…"

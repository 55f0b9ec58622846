"""Building blocks of all figures: marks, axes and panels of `plotly.graph_objects.Figure`.

    study | benchmark | sweep | reproduction ─► Figure ─┬► pages: dashboard, report, notebooks
                                                        └► files (`files.py`)

Levels and gains are dB. Text that comes from outside (names of tracks, studies, methods) is shown as text: plotly would
read HTML tags and, where MathJax is loaded, formulas in it.
"""

from __future__ import annotations

import html
import math
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import plotly.graph_objects as go

from schedopt.errors import shown

Trace: TypeAlias = Any
"""A `plotly.graph_objects` trace (plotly has no type hints)."""

Pairs: TypeAlias = Iterable[tuple[float, float]]
"""(x, y) of points, or (low, high) of intervals."""

Figures = Mapping[str, go.Figure]
"""Figures by a short name, which serves as a file's name and as an id in a page."""

GRID, AXIS = "rgba(128, 128, 128, 0.25)", "#808080"
"""Visible on white and on black."""

ROW = 24
"""Height of a row with a name, pixels."""

SHOWN_LINES = 300
SHOWN_POINTS = 1_000


@dataclass(frozen=True)
class Style:
    """How a mark looks: `colour` is #rrggbb, `dash` and `symbol` are plotly's words, `width` is in pixels."""

    colour: str
    dash: str = "solid"
    symbol: str = ""
    width: float = 2.0


@dataclass(frozen=True)
class Panel:
    """One pair of axes: `x` and `y` as `axis` makes them; `rows` is the number of named rows (0: y is a number)."""

    traces: Sequence[Trace]
    x: Mapping[str, Any]
    y: Mapping[str, Any]
    title: str = ""
    rows: int = field(default=0, kw_only=True)


def panels(title: str, caption: str, made: Sequence[Panel]) -> go.Figure:
    """A figure of panels, two beside each other where there are several. Traces of one name share a legend entry.

    `layout.meta` holds `caption` (a sentence: what is drawn and how it was computed) and what a page needs to arrange
    the panels anew for its width (`page.js`): their number and the height of a row in pixels.
    """
    figure = go.Figure()
    unseen = {trace.name for panel in made for trace in panel.traces if trace.name}
    for index, panel in enumerate(made):
        number = str(index + 1) if index else ""
        for trace in panel.traces:
            if trace.showlegend is not False:
                trace.showlegend = trace.name in unseen
                unseen.discard(trace.name)
            figure.add_trace(trace.update(xaxis=f"x{number}", yaxis=f"y{number}", legendgroup=trace.name))
        figure.update_layout({f"xaxis{number}": {**panel.x}, f"yaxis{number}": {**panel.y}})
        if panel.title:
            figure.add_annotation(
                text=f"<b>{escaped(panel.title)}</b>",
                x=0.5,
                xref=f"x{number} domain",
                xanchor="center",
                y=1.0,
                yref=f"y{number} domain",
                yanchor="bottom",
                showarrow=False,
            )
    columns = 1 if len(made) == 1 else 2
    row = max(ROW * panel.rows + 130 if panel.rows else 400 for panel in made)
    wide = max((_width(panel.y) for panel in made), default=0)
    figure.update_layout(
        template="none",
        title={"text": f"<b>{escaped(title)}</b>", "x": 0.02, "xanchor": "left", "font": {"size": 16}},
        grid={
            "rows": math.ceil(len(made) / columns),
            "columns": columns,
            "pattern": "independent",
            "xgap": min(0.5, 0.2 + 0.012 * wide),
            "ygap": 90 / row,
        },
        height=row * math.ceil(len(made) / columns) + 60,
        margin={"l": 60, "r": 20, "t": 60, "b": 60},
        legend={"orientation": "h", "yref": "container", "yanchor": "bottom", "y": 0, "x": 0.5, "xanchor": "center"},
        showlegend=len({trace.name for trace in figure.data if trace.showlegend}) > 1,
        font={"size": 13, "color": "#333333"},
        hoverlabel={"namelength": -1},
        meta={"caption": escaped(caption), "panels": len(made), "row": row},
    )
    return figure


def caption(figure: go.Figure) -> str:
    """The sentence that belongs below `figure`; empty for a figure that was not made here."""
    return html.unescape((figure.layout.meta or {}).get("caption", ""))


def heading(figure: go.Figure) -> str:
    """The title of `figure` without markup."""
    return html.unescape((figure.layout.title.text or "").removeprefix("<b>").removesuffix("</b>"))


def axis(
    label: str, *, ticks: Sequence[tuple[float, str]] = (), whole: float = 0, zero: bool = False, **more: Any
) -> dict[str, Any]:
    """A plotly axis.

    Args:
        label: what is measured, with its unit.
        ticks: positions and their names.
        whole: the highest value, where only whole numbers have a tick.
        zero: whether a line marks 0.
        more: further properties, in plotly's words.
    """
    look: dict[str, Any] = {
        "title": {"text": escaped(label), "font": {"size": 13}},
        "automargin": True,
        "gridcolor": GRID,
        "zeroline": zero,
        "zerolinecolor": AXIS,
        "linecolor": AXIS,
    }
    if ticks:
        names = [escaped(name, wrap=33) for _, name in ticks]
        look |= {"tickvals": [position for position, _ in ticks], "ticktext": names, "tickfont": {"size": 12}}
    elif whole:
        look |= {"tickformat": "d", "tick0": 0, "dtick": max(1, round(whole / 10))}
    return look | more


def rows_axis(names: Sequence[str], label: str = "") -> dict[str, Any]:
    """A y axis whose rows 0, 1 … have names."""
    return axis(label, ticks=list(enumerate(names)), range=[-0.7, max(len(names), 2) - 0.3], showgrid=False)


def line(name: str, at: Pairs, style: Style, *, band: Pairs = (), steps: bool = False) -> list[Trace]:
    """A line through `at`, with a `band` at each x; `steps`: y keeps its value until the next x."""
    x, y = _columns(at)
    low, high = _columns(band)
    red, green, blue = (int(style.colour[i : i + 2], 16) for i in (1, 3, 5))
    area = go.Scatter(
        name=escaped(name),
        x=numbers([*x, *reversed(x)]),
        y=numbers([*high, *reversed(low)]),
        fill="toself",
        fillcolor=f"rgba({red},{green},{blue},0.18)",
        mode="lines",
        line={"width": 0},
        hoverinfo="skip",
        showlegend=False,
    )
    drawn = go.Scatter(
        name=escaped(name),
        x=numbers(x),
        y=numbers(y),
        mode="lines+markers" if style.symbol else "lines",
        line={
            "color": style.colour,
            "width": style.width,
            "dash": style.dash,
            "shape": "hv" if steps else "linear",
        },
        marker={"symbol": style.symbol or "circle", "size": 6 + style.width},
    )
    return [area, drawn] if low else [drawn]


def points(
    name: str,
    at: Pairs,
    style: Style,
    *,
    labels: Sequence[str] = (),
    error_x: Pairs = (),
    error_y: Pairs = (),
    opacity: float = 1.0,
) -> Trace:
    """Markers; errors as the ends of their bars, `labels` what hovering shows."""
    x, y = _columns(at)
    return go.Scatter(
        name=escaped(name),
        x=numbers(x),
        y=numbers(y),
        mode="markers",
        marker={"color": style.colour, "symbol": style.symbol or "circle", "size": 6 + style.width},
        opacity=opacity,
        text=[escaped(label) for label in labels] or None,
        cliponaxis=False,
        error_x=_errors(x, error_x),
        error_y=_errors(y, error_y),
    )


def bars(name: str, values: Sequence[float], style: Style) -> Trace:
    """Horizontal bars in the rows 0, 1 …"""
    heights = list(range(len(values)))
    return go.Bar(
        name=escaped(name), x=numbers(values), y=heights, orientation="h", marker={"color": style.colour}, width=0.72
    )


def numbers(values: Iterable[float | None]) -> list[float | None]:
    """As plain numbers of seven digits: more are not seen, and would be most of a page's bytes."""
    return [None if value is None else float(f"{float(value):.7g}") for value in values]


def escaped(text: str, *, wrap: int = 0) -> str:
    """`text` as plotly text that is shown as it stands, in lines of at most `wrap` characters."""
    lines = textwrap.wrap(shown(text), wrap) if wrap else [shown(text)]
    # Where MathJax is loaded, plotly looks for formulas between dollar signs before it resolves entities.
    return "<br>".join(html.escape(part, quote=False).replace("$", "&#36;") for part in lines)


def metric_name(metric: str) -> str:
    """What people call a metric: `si_sdr` is SI-SDR."""
    return metric.replace("_", "-").upper()


def thinned(count: int, most: int) -> list[int]:
    """At most `most` of the indices 0 … count − 1, evenly spread, the first and the last among them."""
    if count <= most:
        return list(range(count))
    return [round(n * (count - 1) / (most - 1)) for n in range(most)]


def short(name: str, most: int = 28) -> str:
    """`name` on one line, cut so that it fits beside an axis."""
    words = " ".join(name.split())
    return words if len(words) <= most else f"{words[: most - 1]}…"


def _columns(pairs: Pairs) -> tuple[list[float], list[float]]:
    both = list(pairs)
    return [first for first, _ in both], [second for _, second in both]


def _errors(middle: Sequence[float], ends: Pairs) -> dict[str, Any] | None:
    low, high = _columns(ends)
    if not low:
        return None
    above = [end - value for end, value in zip(high, middle, strict=True)]
    below = [value - end for end, value in zip(low, middle, strict=True)]
    return {"type": "data", "symmetric": False, "array": numbers(above), "arrayminus": numbers(below)}


def _width(y: Mapping[str, Any]) -> int:
    """Characters of the longest tick name."""
    return max((len(part) for name in y.get("ticktext", ()) for part in name.split("<br>")), default=0)

"""Charts drawn with plotly, for pages: the same marks and colours as in files, with values under the pointer."""

from __future__ import annotations

import html
from collections.abc import Iterator
from typing import Any

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from schedopt.data._text import shown
from schedopt.view.figures._matplotlib import scale_map
from schedopt.view.figures.chart import (
    Axis,
    Bars,
    Boxes,
    Bundle,
    Chart,
    Line,
    Mark,
    Panel,
    Points,
    Scale,
    lies_on_zero,
)

SHADES = 24
"""Lines of a bundle are drawn in so many colours, one trace each: hundreds of traces would make a page slow."""

_DASHES = {"solid": "solid", "dashed": "dash", "dotted": "dot"}
_SYMBOLS = {"none": "circle", "circle": "circle", "square": "square", "diamond": "diamond", "cross": "x"}


def plotly_figure(chart: Chart) -> go.Figure:
    """The chart as a plotly figure. Text from outside is shown as it stands, never as markup."""
    titles = [_text(panel.title) for panel in chart.panels]
    figure = make_subplots(
        rows=chart.rows,
        cols=chart.columns,
        subplot_titles=titles if any(titles) else None,
        horizontal_spacing=_spacing(chart),
    )
    unseen = {name for name, _ in chart.named()}
    for index, panel in enumerate(chart.panels):
        row, column = divmod(index, chart.columns)
        place = {"row": row + 1, "col": column + 1}
        for mark in panel.marks:
            for trace in _traces(mark, chart.scale):
                _name(trace, unseen)
                figure.add_trace(trace, **place)
        _set_axes(figure, panel, place)
    tallest = max(len(panel.y.ticks) for panel in chart.panels)
    figure.update_layout(
        template="plotly_white",
        title={"text": f"<b>{_text(chart.title)}</b>", "x": 0.5},
        height=chart.rows * max(380, 110 + 20 * tallest) + 60,
        legend={"orientation": "h", "yanchor": "top", "y": -0.16 / chart.rows, "x": 0.5, "xanchor": "center"},
        margin={"l": 60, "r": 30, "t": 60, "b": 60},
        boxmode="overlay",
        showlegend=len(list(chart.named())) > 1 or chart.scale is not None,
        font={"size": 13},
    )
    return figure


def _spacing(chart: Chart) -> float:
    """Share of the width between two panels: room for the names beside the right one."""
    longest = max((len(name) for panel in chart.panels for _, name in panel.y.ticks), default=0)
    return min(0.4, 0.1 + 0.006 * longest) if chart.columns > 1 else 0.0


def _name(trace: Any, unseen: set[str]) -> None:
    """Group the traces of one name; the first that may stand in the legend does."""
    name = trace.name
    if trace.showlegend is not False:
        trace.update(showlegend=name in unseen)
        unseen.discard(name)
    if name:
        trace.update(name=_text(name), legendgroup=_text(name))


def _text(text: str) -> str:
    """plotly reads some HTML in its texts."""
    return html.escape(shown(text), quote=False)


def _set_axes(figure: go.Figure, panel: Panel, place: dict[str, int]) -> None:
    boxes = any(isinstance(mark, Boxes) for mark in panel.marks)
    figure.update_xaxes(**_axis(panel.x, max(_along(panel, 0), default=0)), **_zero(lies_on_zero(panel)), **place)
    figure.update_yaxes(**_axis(panel.y, max(_along(panel, 1), default=0)), **_zero(boxes), **place)
    highs = _along(panel, 1)
    if panel.y.low is not None and highs:
        top = max(highs)
        figure.update_yaxes(range=[panel.y.low - 0.05 * (top - panel.y.low), top + 0.05 * (top - panel.y.low)], **place)


def _along(panel: Panel, axis: int) -> list[float]:
    """The x (0) or y (1) of the panel's lines, points and bars."""
    found: list[float] = []
    for mark in panel.marks:
        if isinstance(mark, (Line, Points)):
            found += mark.x if axis == 0 else (*mark.y, *mark.high)
        elif isinstance(mark, Bars):
            found += mark.values if axis == 0 else [float(len(mark.values))]
    return found


def _zero(shown: bool) -> dict[str, Any]:
    """Gains stand on a line at 0."""
    return {"zeroline": shown, "zerolinecolor": "#808080", "zerolinewidth": 1}


def _axis(axis: Axis, longest: float) -> dict[str, Any]:
    """`longest`: the highest value along it."""
    look: dict[str, Any] = {"title": {"text": _text(axis.label)}, "automargin": True}
    if axis.log:
        look["type"] = "log"
    if axis.ticks:
        look |= {"tickvals": [place for place, _ in axis.ticks], "ticktext": [_text(name) for _, name in axis.ticks]}
    elif axis.whole:
        look |= {"tickformat": "d", "tick0": 0, "dtick": max(1, round(longest / 10))}
    return look


def _traces(mark: Mark, scale: Scale | None) -> Iterator[go.Scatter | go.Bar | go.Box]:
    if isinstance(mark, Bundle):
        assert scale is not None
        yield from _bundle(mark, scale)
    elif isinstance(mark, Line):
        yield from _line(mark)
    elif isinstance(mark, Points):
        yield _points(mark)
    elif isinstance(mark, Bars):
        heights = list(range(len(mark.values)))
        yield go.Bar(
            name=mark.name, x=list(mark.values), y=heights, orientation="h", marker={"color": mark.style.colour}
        )
    else:
        yield _boxes(mark)


def _line(mark: Line) -> Iterator[go.Scatter]:
    look = mark.style
    if mark.low:
        red, green, blue = (int(look.colour[i : i + 2], 16) for i in (1, 3, 5))
        yield go.Scatter(
            x=[*mark.x, *reversed(mark.x)],
            y=[*mark.high, *reversed(mark.low)],
            fill="toself",
            fillcolor=f"rgba({red},{green},{blue},0.15)",
            line={"width": 0},
            hoverinfo="skip",
            showlegend=False,
            name=mark.name,
            mode="lines",
        )
    yield go.Scatter(
        name=mark.name,
        x=list(mark.x),
        y=list(mark.y),
        mode="lines" if look.marker == "none" else "lines+markers",
        line={
            "color": look.colour,
            "width": look.width,
            "dash": _DASHES[look.dash],
            "shape": "hv" if mark.steps else "linear",
        },
        marker={"symbol": _SYMBOLS[look.marker], "size": 6 + look.width},
    )


def _points(mark: Points) -> go.Scatter:
    bars = {}
    if mark.low:
        middle = mark.x if mark.sideways else mark.y
        bars["error_x" if mark.sideways else "error_y"] = {
            "type": "data",
            "symmetric": False,
            "array": [high - value for high, value in zip(mark.high, middle, strict=True)],
            "arrayminus": [value - low for low, value in zip(mark.low, middle, strict=True)],
        }
    return go.Scatter(
        name=mark.name,
        x=list(mark.x),
        y=list(mark.y),
        mode="markers",
        marker={
            "color": mark.style.colour,
            "symbol": _SYMBOLS[mark.style.marker],
            "size": 6 + mark.style.width,
        },
        text=[_text(label) for label in mark.labels] or None,
        **bars,
    )


def _boxes(mark: Boxes) -> go.Box:
    pairs = [(x, value) for x, values in zip(mark.x, mark.values, strict=True) for value in values]
    return go.Box(
        name=mark.name,
        x=[x for x, _ in pairs],
        y=[value for _, value in pairs],
        marker={"color": mark.style.colour},
        line={"width": 1},
        width=mark.width * 0.85,
    )


def _bundle(mark: Bundle, scale: Scale) -> Iterator[go.Scatter]:
    """One trace a shade, its lines parted by gaps, and an unseen one that carries the colour bar."""
    span = scale.high - scale.low or 1e-9
    shade = np.clip((np.asarray(mark.values) - scale.low) / span * (SHADES - 1), 0, SHADES - 1).round().astype(int)
    colours = [_rgb(scale_map()(n / (SHADES - 1))) for n in range(SHADES)]
    for n in sorted(set(shade.tolist())):
        chosen = [line for line, its in zip(mark.lines, shade, strict=True) if its == n]
        yield go.Scatter(
            x=[value for x, _ in chosen for value in (*x, None)],
            y=[value for _, y in chosen for value in (*y, None)],
            mode="lines+markers" if any(len(x) == 1 for x, _ in chosen) else "lines",
            line={"color": colours[n], "width": 1.2},
            marker={"size": 4},
            hoverinfo="skip",
            showlegend=False,
        )
    yield go.Scatter(
        x=[None],
        y=[None],
        mode="markers",
        hoverinfo="skip",
        showlegend=False,
        marker={
            "colorscale": [[n / (SHADES - 1), colour] for n, colour in enumerate(colours)],
            "cmin": scale.low,
            "cmax": scale.low + span,
            "color": [scale.low],
            "colorbar": {"title": {"text": _text(scale.label)}},
        },
    )


def _rgb(colour: tuple[float, ...]) -> str:
    return "rgb({},{},{})".format(*(round(255 * part) for part in colour[:3]))

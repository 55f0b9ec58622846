"""What a figure shows, read back from its traces: by panel (its title, empty where there is one) and name."""

from __future__ import annotations

import html
from collections.abc import Callable
from typing import Any

import plotly.graph_objects as go


def titles(figure: go.Figure) -> dict[str, str]:
    """Title of each panel → its x axis, as traces name it."""
    return {
        html.unescape(note.text.removeprefix("<b>").removesuffix("</b>")): note.xref.removesuffix(" domain")
        for note in figure.layout.annotations
    } or {"": "x"}


def _named(figure: go.Figure, panel: str, wanted: Callable[[Any], bool]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for trace in figure.data:
        if trace.xaxis == titles(figure)[panel] and trace.name and wanted(trace):
            found.setdefault(html.unescape(trace.name), trace)
    return found


def lines(figure: go.Figure, panel: str = "") -> dict[str, Any]:
    return _named(figure, panel, lambda t: t.type == "scatter" and "lines" in t.mode and t.fill is None)


def markers(figure: go.Figure, panel: str = "") -> dict[str, Any]:
    return _named(figure, panel, lambda t: t.type == "scatter" and t.mode == "markers")


def bars(figure: go.Figure, panel: str = "") -> dict[str, Any]:
    return _named(figure, panel, lambda t: t.type == "bar")


def bands(figure: go.Figure, panel: str = "") -> dict[str, tuple[list[float], list[float]]]:
    """Lower and upper ends at each x."""
    found = _named(figure, panel, lambda t: t.type == "scatter" and t.fill == "toself")
    halves = {name: (list(trace.y), len(trace.y) // 2) for name, trace in found.items()}
    return {name: (y[half:][::-1], y[:half]) for name, (y, half) in halves.items()}


def row_names(figure: go.Figure, panel: str = "") -> list[str]:
    """Names of the rows, from the lowest up."""
    axis = figure.layout["y" + titles(figure)[panel][1:].join(("axis", ""))]
    return [html.unescape(name.replace("<br>", " ")) for name in axis.ticktext or ()]

"""Charts drawn with matplotlib, for files. Needs no display; equal charts give equal files."""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection
from matplotlib.colors import Colormap, LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from schedopt.data._text import shown
from schedopt.files.writing import write_bytes
from schedopt.view.figures.chart import (
    Axis,
    Bars,
    Boxes,
    Bundle,
    Chart,
    Charts,
    Line,
    Mark,
    Panel,
    Points,
    Scale,
    lies_on_zero,
    rows,
)

FORMATS = ("png", "svg", "pdf")
DPI = 150

_RC: Any = {
    "font.size": 10.0,
    "axes.titlesize": 11.0,
    "axes.titleweight": "bold",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#808080",
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#E4E4E4",
    "grid.linewidth": 0.8,
    "legend.frameon": False,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    # Names of tracks and studies come from outside: a dollar sign is a dollar sign.
    "text.parse_math": False,
    "svg.hashsalt": "schedopt",
    "svg.fonttype": "path",
}

_DASHES = {"solid": "-", "dashed": (0, (5, 2)), "dotted": (0, (1, 1.5))}
_MARKERS = {"none": "", "circle": "o", "square": "s", "diamond": "D", "cross": "x"}

_NO_DATES: Mapping[str, Mapping[str, None]] = {"svg": {"Date": None}, "pdf": {"CreationDate": None}, "png": {}}


def scale_map() -> Colormap:
    """Light to dark, without the palest end, which is not seen on white; even to colour-blind eyes (viridis)."""
    colours = matplotlib.colormaps["viridis_r"](np.linspace(0.08, 1.0, 256))
    return LinearSegmentedColormap.from_list("schedopt", colours)


def save_charts(charts: Charts, folder: Path, style: str = "png") -> list[Path]:
    """Write every chart as `folder`/NAME.`style` (png, svg or pdf); the files in the order of the charts.

    Raises:
        StudyError: a file cannot be written.
    """
    written = []
    for name, chart in charts.items():
        path = folder / f"{name}.{style}"
        write_bytes(path, image(chart, style))
        written.append(path)
    return written


def image(chart: Chart, style: str = "png") -> bytes:
    """The chart as the content of a file: png, svg or pdf."""
    target = io.BytesIO()
    with matplotlib.rc_context(_RC), warnings.catch_warnings():
        # A name in a script that the font lacks is drawn as boxes; that is no news to the user.
        warnings.simplefilter("ignore", UserWarning)
        draw(chart).savefig(target, format=style, dpi=DPI, metadata=dict(_NO_DATES[style]))
    return target.getvalue()


def draw(chart: Chart) -> Figure:
    """The chart as a matplotlib figure."""
    width = 7.0 if chart.columns == 1 else 11.0
    figure = Figure(figsize=(width, sum(_row_heights(chart)) + 0.8), layout="constrained")
    grid = figure.subplots(chart.rows, chart.columns, squeeze=False, height_ratios=_row_heights(chart)).flat
    for axes, panel in zip(grid, chart.panels, strict=False):
        _draw_panel(axes, panel, chart.scale)
    for axes in list(grid)[len(chart.panels) :]:
        axes.remove()
    figure.suptitle(shown(chart.title), fontsize=12.5, fontweight="bold")
    if chart.scale is not None:
        scale = ScalarMappable(_normalize(chart.scale), scale_map())
        figure.colorbar(scale, ax=figure.axes, label=shown(chart.scale.label), extend="min", shrink=0.9)
    handles = {shown(name): _handle(mark) for name, mark in chart.named()}
    if len(handles) > 1 or chart.scale is not None:
        figure.legend(list(handles.values()), list(handles), loc="outside lower center", ncols=min(len(handles), 4))
    return figure


def _row_heights(chart: Chart) -> list[float]:
    """Inches a row of panels: named bars need a line each."""
    lines = [chart.panels[first : first + chart.columns] for first in range(0, len(chart.panels), chart.columns)]
    return [max(_height(panel) for panel in line) for line in lines]


def _height(panel: Panel) -> float:
    named = len(panel.y.ticks)
    return 0.9 + 0.24 * max(named, 3) if named else 3.4


def _draw_panel(axes: Axes, panel: Panel, scale: Scale | None) -> None:
    for mark in panel.marks:
        _draw_mark(axes, mark, scale)
    if panel.title:
        axes.set_title(shown(panel.title))
    axes.set_xlabel(shown(panel.x.label))
    axes.set_ylabel(shown(panel.y.label))
    _set_axis(axes, "x", panel.x)
    _set_axis(axes, "y", panel.y)
    if lies_on_zero(panel):
        axes.axvline(0, color="#808080", linewidth=1, zorder=0.5)
        axes.grid(axis="y", visible=False)
        axes.set_ylim(-0.7, max(rows(panel), 3) - 0.3)
    if any(isinstance(mark, Boxes) for mark in panel.marks):
        axes.axhline(0, color="#808080", linewidth=1, zorder=0.5)


def _set_axis(axes: Axes, which: str, axis: Axis) -> None:
    handle = axes.xaxis if which == "x" else axes.yaxis
    if axis.log:
        (axes.set_xscale if which == "x" else axes.set_yscale)("log")
        handle.set_minor_locator(matplotlib.ticker.NullLocator())
    elif axis.whole:
        handle.set_major_locator(MaxNLocator(integer=True))
    if axis.ticks:
        places, names = zip(*axis.ticks, strict=True)
        handle.set_ticks(list(places), [shown(name) for name in names])
    if axis.low is not None:
        span = axes.get_xlim() if which == "x" else axes.get_ylim()
        low = axis.low if axis.low == 0 else axis.low - 0.05 * (span[1] - axis.low)
        (axes.set_xlim if which == "x" else axes.set_ylim)(low, span[1])


def _draw_mark(axes: Axes, mark: Mark, scale: Scale | None) -> None:
    if isinstance(mark, Bundle):
        assert scale is not None
        _draw_bundle(axes, mark, scale)
    elif isinstance(mark, Line):
        if mark.low:
            axes.fill_between(mark.x, mark.low, mark.high, color=mark.style.colour, alpha=0.15, linewidth=0)
        axes.plot(mark.x, mark.y, drawstyle="steps-post" if mark.steps else "default", **_line_look(mark))
    elif isinstance(mark, Points):
        axes.plot(mark.x, mark.y, **{**_line_look(mark), "linestyle": "none"})
        if mark.low:
            if mark.sideways:
                axes.hlines(mark.y, mark.low, mark.high, color=mark.style.colour, linewidth=1.5)
            else:
                axes.vlines(mark.x, mark.low, mark.high, color=mark.style.colour, linewidth=1.5)
    elif isinstance(mark, Bars):
        axes.barh(range(len(mark.values)), mark.values, height=0.72, color=mark.style.colour)
    else:
        boxes = axes.boxplot(
            [list(values) for values in mark.values],
            positions=list(mark.x),
            widths=mark.width * 0.85,
            manage_ticks=False,
            patch_artist=True,
            medianprops={"color": "black", "linewidth": 1.5},
            flierprops={
                "marker": ".",
                "markersize": 5,
                "markerfacecolor": mark.style.colour,
                "markeredgecolor": "none",
            },
        )
        for box in boxes["boxes"]:
            box.set(facecolor=mark.style.colour, alpha=0.85, linewidth=0.8)


def _draw_bundle(axes: Axes, mark: Bundle, scale: Scale) -> None:
    colours = scale_map()(_normalize(scale)(np.asarray(mark.values)))
    paths = [np.column_stack(line) for line in mark.lines]
    axes.add_collection(LineCollection(paths, colors=list(colours), linewidths=1.2, alpha=0.8))
    for path, colour in zip(paths, colours, strict=True):
        if len(path) == 1:
            axes.plot(*path[0], marker="o", markersize=4, color=tuple(colour))
    axes.autoscale_view()


def _normalize(scale: Scale) -> Normalize:
    return Normalize(scale.low, scale.high if scale.high > scale.low else scale.low + 1e-9, clip=True)


def _line_look(mark: Line | Points) -> dict[str, Any]:
    look = mark.style
    return {
        "color": look.colour,
        "linestyle": _DASHES[look.dash],
        "linewidth": look.width,
        "marker": _MARKERS[look.marker] or ("o" if isinstance(mark, Points) else ""),
        "markersize": 3.0 + look.width,
        "alpha": look.opacity,
    }


def _handle(mark: Mark) -> Line2D | Patch:
    """What stands for a mark in the legend."""
    assert not isinstance(mark, Bundle)
    if isinstance(mark, (Bars, Boxes)):
        return Patch(color=mark.style.colour)
    look = _line_look(mark)
    return Line2D([], [], **(look | ({"linestyle": "none"} if isinstance(mark, Points) else {})))

"""Panels, axes and marks: what is asked for is what is drawn, and text from outside is text."""

from __future__ import annotations

import html

import plotly.graph_objects as go
import pytest

from schedopt.view.figures import caption, heading
from schedopt.view.figures.drawing import (
    Panel,
    Style,
    axis,
    bars,
    escaped,
    line,
    metric_name,
    numbers,
    panels,
    points,
    rows_axis,
)
from tests.view.figures.reading import bands, lines, markers, row_names, titles

STYLE = Style("#0072B2", symbol="circle")
NASTY = "<script>alert(1)</script> $\\frac{$ 日本語 \x07"


def everything() -> go.Figure:
    """One of each mark, with a name that is HTML, TeX and a control character."""
    x = axis("gain", ticks=[(0.5, "½"), (2.0, NASTY)], type="log")
    curve = line(NASTY, [(0.5, 1), (1, 2), (2, 3)], STYLE, band=[(0.5, 1.5), (1.5, 2.5), (2.5, 3.5)])
    point = points("points", [(1, 2)], STYLE, labels=[NASTY], error_y=[(1, 3.5)])
    made = [
        Panel([*curve, point], x, axis(NASTY), NASTY),
        Panel(line(NASTY, [(1, 0.5)], STYLE), axis("x", whole=4), axis("β"), "second"),
        Panel([bars(NASTY, [-1.0], STYLE)], axis("x", zero=True), rows_axis([NASTY]), "third", rows=1),
    ]
    return panels(NASTY, f"{NASTY}.", made)


def test_text_from_outside_is_text() -> None:
    figure = everything()
    page = figure.to_html(include_plotlyjs=False, full_html=False)
    assert "<script>alert" not in page
    assert "\\u003cscript\\u003ealert" not in page, "plotly reads markup"
    texts = [figure.layout.title.text, figure.layout.yaxis.title.text, *(t.name for t in figure.data if t.name)]
    assert not any("$" in text or "\x07" in text for text in texts)
    assert row_names(figure, "third") == ["<script>alert(1)</script> $\\frac{$ 日本語 \\x07"]
    assert heading(figure) == "<script>alert(1)</script> $\\frac{$ 日本語 \\x07"
    assert caption(figure) == heading(figure) + "."
    assert html.unescape(escaped("a $x$ <b>")) == "a $x$ <b>"


def test_marks_hold_their_numbers() -> None:
    figure = everything()
    first, second, _ = titles(figure)
    name = heading(figure)
    assert lines(figure, first)[name].y == (1, 2, 3)
    assert bands(figure, first)[name] == ([0.5, 1.5, 2.5], [1.5, 2.5, 3.5])
    error = markers(figure, first)["points"].error_y
    assert (error.array, error.arrayminus) == ((1.5,), (1.0,))
    assert lines(figure, second)[name].x == (1,)
    assert figure.layout.xaxis3.zeroline
    assert (figure.layout.xaxis.type, figure.layout.xaxis2.dtick) == ("log", 1)
    assert numbers([1 / 3, None, 123456.789]) == [0.3333333, None, 123456.8]


def test_traces_of_one_name_share_one_entry_of_the_legend() -> None:
    figure = everything()
    entries = [trace.name for trace in figure.data if trace.showlegend]
    assert len(entries) == len(set(entries)) == 2
    assert figure.layout.showlegend
    alone = panels("one", "", [Panel(line("a", [(0, 0)], STYLE), axis("x"), axis("y"))])
    assert not alone.layout.showlegend


def test_panels_stand_in_two_columns() -> None:
    figure = everything()
    assert (figure.layout.grid.rows, figure.layout.grid.columns) == (2, 2)
    assert figure.layout.meta["panels"] == 3
    assert {trace.xaxis for trace in figure.data} == {"x", "x2", "x3"}


@pytest.mark.parametrize(("metric", "shown"), [("sdr", "SDR"), ("si_sdr", "SI-SDR"), ("my_metric", "MY-METRIC")])
def test_metrics_have_names(metric: str, shown: str) -> None:
    assert metric_name(metric) == shown

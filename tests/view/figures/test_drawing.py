"""Charts as files and as pages: they open, show the same numbers, and take text from outside as text."""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from schedopt.errors import StudyError
from schedopt.view.figures import image, plotly_figure, save_charts, study_charts
from schedopt.view.figures.chart import Axis, Bars, Boxes, Bundle, Chart, Line, Panel, Points, Scale, Style
from tests.view.figures.studies import made_study

STYLE = Style("#0072B2", marker="circle")
NASTY = "<script>alert(1)</script> $\\frac{$ 日本語 \x07"
EVERYTHING = Chart(
    title=NASTY,
    panels=(
        Panel(
            Axis("gain", log=True, ticks=((0.5, "½"), (2.0, NASTY))),
            Axis(NASTY, low=0.5),
            (
                Line(NASTY, (0.5, 1.0, 2.0), (1.0, 2.0, 3.0), STYLE, (0.5, 1.5, 2.5), (1.5, 2.5, 3.5)),
                Points("points", (1.0,), (2.0,), STYLE, (1.0,), (3.5,), (NASTY,)),
            ),
            NASTY,
        ),
        Panel(Axis("x"), Axis("β"), (Bundle((((1.0, 2.0), (0.1, 0.2)), ((1.0,), (0.5,))), (1.0, 2.0)),)),
        Panel(Axis("x"), Axis("", ((0.0, NASTY),)), (Bars(NASTY, (-1.0,), STYLE),)),
        Panel(Axis("", ((0.0, "bass"),)), Axis("y"), (Boxes("boxes", (0.0,), ((1.0, 2.0, 9.0),), STYLE),)),
    ),
    scale=Scale("SDR, dB", 1.0, 2.0),
)


def test_files_open_and_hold_text_as_text(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        png, svg, pdf = (image(EVERYTHING, style) for style in ("png", "svg", "pdf"))
    picture = Image.open(io.BytesIO(png))
    picture.verify()
    assert picture.size[0] >= 1000
    root = ElementTree.fromstring(svg)
    assert root.tag.endswith("svg")
    assert not [e for e in root.iter() if e.tag.endswith("script")]
    assert pdf.startswith(b"%PDF")


def test_equal_charts_are_equal_files() -> None:
    chart = Chart("plain", (Panel(Axis("x"), Axis("y"), (Points("a", (1.0,), (2.0,), STYLE),)),))
    assert image(chart, "svg") == image(chart, "svg")


def test_a_chart_a_file(tmp_path: Path) -> None:
    charts = {name: chart for name, chart in study_charts(made_study(5)).items() if name in ("tracks", "schedules")}
    written = save_charts(charts, tmp_path / "Ordner mit Ä")
    assert [path.name for path in written] == ["schedules.png", "tracks.png"]
    assert np.asarray(Image.open(written[0])).std() > 0
    (tmp_path / "file").touch()
    with pytest.raises(StudyError, match="file"):
        save_charts(charts, tmp_path / "file")


def test_pages_show_the_numbers_of_the_chart_and_no_markup() -> None:
    figure = plotly_figure(EVERYTHING)
    named = {trace.name: trace for trace in figure.data if trace.name and trace.showlegend is not False}
    line = named["&lt;script&gt;alert(1)&lt;/script&gt; $\\frac{$ 日本語 \\x07"]
    assert list(line.y) == [1.0, 2.0, 3.0]
    assert list(named["points"].error_y.array) == [1.5]
    assert list(named["boxes"].y) == [1.0, 2.0, 9.0]
    page = figure.to_html(include_plotlyjs=False, full_html=False)
    assert "<script>alert" not in page
    assert "\\u003cscript\\u003ealert" not in page, "plotly would read it as markup"
    coloured = [t for t in figure.select_traces({"type": "scatter"}) if t.line.color == "rgb(68,1,84)"]
    assert [list(t.y) for t in coloured] == [[0.5, None]], "the highest value is darkest"


def test_hundreds_of_schedules_are_few_traces() -> None:
    charts = study_charts(made_study(400, steps=2))
    assert len(plotly_figure(charts["schedules"]).data) < 40
    bundle = charts["schedules"].panels[0].marks[0]
    assert isinstance(bundle, Bundle)
    assert len(bundle.lines) == 300

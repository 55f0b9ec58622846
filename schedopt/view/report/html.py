"""A page as one HTML file: nothing is fetched, and all text that came from outside is text."""

from __future__ import annotations

import re
from importlib.resources import files

import jinja2
import plotly.graph_objects as go
from markupsafe import Markup, escape

from schedopt.errors import shown
from schedopt.view.figures import caption, heading
from schedopt.view.report.page import Page

LIBRARY = "plotly-basic.min.js"
"""plotly.js's basic bundle (MIT licence): it draws lines, points and bars at a quarter of the full library's size."""

CONFIG = {
    "displaylogo": False,
    "showSendToCloud": False,
    "responsive": True,
    "modeBarButtonsToRemove": ["zoom2d", "pan2d", "select2d", "lasso2d", "zoomIn2d", "zoomOut2d", "autoScale2d"],
}


def plotly_js() -> str:
    """The drawing library (JavaScript, 1.2 MB)."""
    return _read("plotly-basic.min.js")


def render(page: Page, *, library: str = "") -> str:
    """The HTML of `page`: 1.2 MB for the drawing library where there are figures, and the audio.

    Args:
        library: a file beside the page that holds `plotly_js()`, instead of the library itself.
    """
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    environment.filters.update(printable=shown, prose=_prose, heading=heading, caption=caption)
    has_figures = any(section.figures for section in page.sections)
    return environment.from_string(_read("page.html")).render(
        page=page,
        # The library's own text; the figures' text is escaped by plotly's encoder and by `drawing.escaped`.
        plotly=Markup(plotly_js()) if has_figures and not library else "",
        library=library if has_figures else "",
        script=Markup(_read("page.js")),
        figure=_figure,
    )


def _figure(figure: go.Figure, name: str) -> Markup:
    """`figure` under a heading of the page's own, so without its title; its toolbar has the room above the panels."""
    bare = go.Figure(figure).update_layout(title=None, margin={"t": 56})
    return Markup(bare.to_html(full_html=False, include_plotlyjs=False, div_id=name, config=CONFIG))


def _prose(text: str) -> Markup:
    """A sentence in which `backticks` mark code."""
    return Markup(re.sub("`([^`]+)`", r"<code>\1</code>", str(escape(shown(text)))))


def _read(name: str) -> str:
    return files("schedopt.view").joinpath("assets").joinpath(name).read_text(encoding="utf-8")

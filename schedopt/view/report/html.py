"""A page as one HTML file: nothing is fetched, and all text that came from outside is text."""

from __future__ import annotations

import base64
from importlib.resources import files

import jinja2
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from schedopt.data._text import shown
from schedopt.view.figures import Chart, plotly_figure
from schedopt.view.report.page import Page

_CONFIG = {"displaylogo": False, "responsive": True}


def render(page: Page) -> str:
    """The HTML of `page`. 5 MB for the drawing library, and half a MB for a second of a clip's four sounds."""
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    environment.filters["printable"] = shown
    environment.filters["base64"] = lambda content: base64.b64encode(content).decode("ascii")
    template = environment.from_string(files(__package__).joinpath("page.html").read_text(encoding="utf-8"))
    has_charts = any(section.charts for section in page.sections)
    # The library's own text; the charts' text is escaped by plotly's encoder and by `plotly_figure`.
    library = Markup(get_plotlyjs()) if has_charts else Markup("")
    return template.render(page=page, library=library, figure=_figure)


def _figure(chart: Chart, name: str) -> Markup:
    figure = plotly_figure(chart)
    return Markup(figure.to_html(full_html=False, include_plotlyjs=False, div_id=name, config=_CONFIG))

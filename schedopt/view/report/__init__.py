"""Reports: one HTML file for a study or a benchmark, readable without a network.

study + its storage ─┐
benchmark document  ─┴► page: tables, figures, clips, provenance ─► HTML
"""

import schedopt.view.figures  # noqa: F401 - names what is missing, if something is
from schedopt.view.report.html import render
from schedopt.view.report.sources import benchmark_page, study_page

__all__ = ["benchmark_page", "render", "study_page"]

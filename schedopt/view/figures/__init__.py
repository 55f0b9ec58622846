"""Figures of studies, benchmarks, sweeps and reproductions: plain `plotly.graph_objects.Figure`, by name."""

# ruff: noqa: E402

from schedopt.errors import require

require("plotly", "figures, reports and the dashboard need", "report")

from schedopt.view.figures.benchmark import benchmark_figures
from schedopt.view.figures.drawing import Figures, caption, heading
from schedopt.view.figures.proof import reproduction_figures, sweep_figures
from schedopt.view.figures.study import study_figures

__all__ = [
    "Figures",
    "benchmark_figures",
    "caption",
    "heading",
    "reproduction_figures",
    "study_figures",
    "sweep_figures",
]

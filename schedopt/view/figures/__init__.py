"""Figures of studies, benchmarks, sweeps and reproductions; `schedopt.view.figures.chart` says how they are made."""

from schedopt.view.figures._matplotlib import FORMATS, draw, image, save_charts
from schedopt.view.figures._plotly import plotly_figure
from schedopt.view.figures.benchmark import benchmark_charts
from schedopt.view.figures.chart import Chart, Charts
from schedopt.view.figures.proof import reproduction_charts, sweep_charts
from schedopt.view.figures.study import study_charts

__all__ = [
    "FORMATS",
    "Chart",
    "Charts",
    "benchmark_charts",
    "draw",
    "image",
    "plotly_figure",
    "reproduction_charts",
    "save_charts",
    "study_charts",
    "sweep_charts",
]

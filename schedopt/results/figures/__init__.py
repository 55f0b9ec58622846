"""Figures of studies, benchmarks, sweeps and reproductions; `schedopt.results.figures.chart` says how they are made."""

from schedopt.results.figures._matplotlib import FORMATS, draw, image, save_charts
from schedopt.results.figures._plotly import plotly_figure
from schedopt.results.figures.chart import Chart, Charts
from schedopt.results.figures.study import study_charts

__all__ = ["FORMATS", "Chart", "Charts", "draw", "image", "plotly_figure", "save_charts", "study_charts"]

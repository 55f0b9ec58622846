"""The figure of a study of two metrics: what each schedule gains in the one and loses in the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import optuna
import plotly.graph_objects as go
from optuna.trial import FrozenTrial

from schedopt.search.dial import dial_front, search_of
from schedopt.search_options import dial
from schedopt.view.figures.drawing import SHOWN_POINTS, Panel, Style, axis, line, metric_name, panels, points, thinned
from schedopt.view.figures.palette import BLUE, FAINT, GREEN, VERMILLION

LOOKS = (
    Style(BLUE, symbol="circle", width=3),
    Style(GREEN, symbol="diamond", width=3),
    Style(VERMILLION, symbol="square", width=3),
)


def dial_figure(
    study: optuna.Study, complete: Sequence[FrozenTrial], named: Mapping[str, FrozenTrial]
) -> go.Figure | None:
    """Gain in the first metric against gain in the second: trials, front and named points; None of other studies."""
    metrics = dial(search_of(study))
    if metrics is None:
        return None
    drawn = [complete[i] for i in thinned(len(complete), SHOWN_POINTS)]
    traces = [points("trial", [_gains(t) for t in drawn], FAINT, labels=[f"trial {t.number}" for t in drawn])]
    traces += line("front", [_gains(one.trial) for one in dial_front(study, complete)], Style(BLUE, "dot"))
    traces += [points(name, [_gains(t)], look) for (name, t), look in zip(named.items(), LOOKS, strict=False)]
    first, second = (f"gain in {metric_name(metric)} over one pass, dB" for metric in metrics)
    return panels(
        f"{metric_name(metrics[0])} against {metric_name(metrics[1])}",
        "Means over the search tracks; the front is drawn by lower bounds over tracks, so trials may lie above it.",
        [Panel(traces, axis(second), axis(first))],
    )


def _gains(trial: FrozenTrial) -> tuple[float, float]:
    """Of the second metric (x) and of the first (y), dB."""
    return float(trial.user_attrs["other"]["gain"]), float(trial.user_attrs["gain"])

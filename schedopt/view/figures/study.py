"""Charts of a study, from its storage alone: no model, no data, no pass."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import optuna
from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances
from optuna.trial import FrozenTrial, TrialState

from schedopt.proof.statistics import TIE_DB
from schedopt.search.study import Best, summarize
from schedopt.view.figures.chart import (
    SHOWN_LINES,
    SHOWN_POINTS,
    Axis,
    Bars,
    Bundle,
    Chart,
    Line,
    Mark,
    Panel,
    Points,
    Scale,
    Style,
    short,
    thinned,
)
from schedopt.view.figures.palette import BLUE, LIGHT_GREY, method_style

GAIN = "gain over one pass, dB"
STEP = Axis("step n", whole=True)
METRICS = {"sdr": "SDR", "si_sdr": "SI-SDR", "snr": "SNR"}

NAMED_TRACKS = 30
"""With more tracks than this their names no longer fit beside the bars."""

MIN_TRIALS = 4
"""Importance wants a better and a worse half."""


def study_charts(study: optuna.Study) -> dict[str, Chart]:
    """Every chart that the study's trials allow, by name; none before a trial is complete.

    Names: `schedules`, `steps`, `progress`, `tracks`, `passes`, `importance`.
    """
    trials = study.get_trials(deepcopy=False)
    complete = [t for t in trials if t.state == TrialState.COMPLETE and "by_step" in t.user_attrs]
    best = summarize(study, "").best
    if best is None or not complete or "baseline" not in study.user_attrs:
        return {}
    winner = next(trial for trial in trials if trial.number == best.number)
    charts = {
        "schedules": _schedules(study, complete, best),
        "steps": _steps(study, winner),
        "progress": _progress(study, trials),
        "tracks": _tracks(study, winner),
        "passes": _passes(complete),
        "importance": _importance(study, complete),
    }
    return {name: chart for name, chart in charts.items() if chart is not None}


def _schedules(study: optuna.Study, complete: Sequence[FrozenTrial], best: Best) -> Chart:
    """β against step of the complete trials, coloured by score; the worst are drawn first."""
    ranked = sorted(complete, key=lambda t: (t.values[0], -t.number))
    shown = [ranked[i] for i in thinned(len(ranked), SHOWN_LINES)]
    values = [trial.values[0] for trial in ranked]
    high = float(max(values))
    left_out = "" if len(shown) == len(ranked) else f"; {len(shown)} of {len(ranked)}, evenly by rank"
    return Chart(
        title="Schedules by score",
        panels=(
            Panel(
                STEP,
                Axis("β"),
                (
                    Bundle(tuple(_schedule(t.user_attrs["betas"]) for t in shown), tuple(t.values[0] for t in shown)),
                    Line("best", *_schedule(best.betas), Style(BLUE, marker="circle", width=3)),
                ),
            ),
        ),
        caption=f"The schedules of the complete trials, cut to the steps that count{left_out}.",
        scale=Scale(f"{_metric(study)}, dB", min(_floor(values), high), high),
    )


def _steps(study: optuna.Study, winner: FrozenTrial) -> Chart:
    """The authors' figure 3: score against step, with its spread, for one pass, the line and the best schedule."""
    attrs = study.user_attrs
    start = attrs["baseline"]["value"]
    by_step = winner.user_attrs["by_step"]
    count = max(len(by_step), len(attrs["line"]["by_step"]))
    steps = winner.user_attrs["steps"]
    zeros = attrs.get("zeros", {"by_step": ()})
    # Where options alone do something, what they do is not the schedule's merit.
    has_options = any(abs(value - start) > TIE_DB for value in zeros["by_step"])
    marks: list[Mark] = [
        Line("one pass", (0.0, count - 1.0), (start, start), method_style("baseline")),
        *([_by_step("β = 0, same options", zeros, start, method_style("constant"))] if has_options else []),
        _by_step("line n/N", attrs["line"], start, method_style("line")),
        _by_step("best", winner.user_attrs, start, method_style("schedule")),
        Points("chosen step", (float(steps),), (by_step[steps],), Style(BLUE, marker="circle", width=3)),
    ]
    return Chart(
        title=f"{_metric(study)} after each step",
        panels=(Panel(STEP, Axis(f"{_metric(study)}, dB"), tuple(marks)),),
        caption="Mean over the search tracks; the band holds the middle half of the tracks' changes since one pass.",
    )


def _by_step(name: str, attrs: Mapping[str, Any], start: float, style: Style) -> Line:
    y = tuple(float(v) for v in attrs["by_step"])
    # Studies of earlier versions hold no spread.
    low, high = (tuple(start + v for v in bound) for bound in attrs.get("spread", ((), ())))
    return Line(name, tuple(float(n) for n in range(len(y))), y, style, low, high)


def _progress(study: optuna.Study, trials: Sequence[FrozenTrial]) -> Chart:
    """Best gain so far against the passes that it took, those of the references among them."""
    ended = sorted((t for t in trials if t.datetime_complete is not None), key=lambda t: t.datetime_complete or 0)
    first = study.user_attrs.get("references", {}).get("passes_run", 0)
    spent = first + np.cumsum([t.user_attrs.get("passes_run", 0) for t in ended])
    points = [
        (float(passes), float(t.user_attrs["gain"]), f"trial {t.number}")
        for passes, t in zip(spent, ended, strict=True)
        if t.state == TrialState.COMPLETE and "gain" in t.user_attrs
    ]
    shown = [points[i] for i in thinned(len(points), SHOWN_POINTS)]
    best: list[tuple[float, float]] = []
    for passes, gain, _ in points:
        if not best or gain > best[-1][1]:
            best.append((passes, gain))
    best.append((float(spent[-1]), best[-1][1]))
    return Chart(
        title="Best gain so far",
        panels=(
            Panel(
                Axis("passes run"),
                Axis(GAIN, low=_floor([gain for _, gain, _ in points])),
                (
                    Points("trial", *_columns(shown), labels=tuple(label for *_, label in shown), style=FAINT),
                    Line("best so far", *_columns(best), style=method_style("schedule"), steps=True),
                ),
            ),
        ),
        caption="Trials in the order in which they ended; passes that were shared with earlier trials cost nothing.",
    )


def _tracks(study: optuna.Study, winner: FrozenTrial) -> Chart | None:
    gains, names = winner.user_attrs.get("gain_by_track"), study.user_attrs.get("tracks")
    if not gains or not names or len(gains) != len(names):
        return None
    line = dict(zip(names, study.user_attrs["line"].get("gain_by_track", ()), strict=False))
    others = [("line n/N", line, method_style("line"))] if line else []
    panel = tracks_panel("best", dict(zip(names, gains, strict=True)), method_style("schedule"), others)
    return Chart("Gain of each search track", (panel,), "The best schedule over one pass, track by track.")


def tracks_panel(
    name: str,
    gains: Mapping[str, float],
    style: Style,
    others: Sequence[tuple[str, Mapping[str, float], Style]] = (),
    title: str = "",
) -> Panel:
    """Gain by track, sorted, the highest on top; `others` as points beside the bars."""
    order = sorted(gains, key=lambda track: (gains[track], track))
    named = len(order) <= NAMED_TRACKS
    marks: list[Mark] = [Bars(name, tuple(gains[track] for track in order), style)]
    for other, values, look in others:
        there = [(values[track], float(n)) for n, track in enumerate(order) if track in values]
        marks.append(Points(other, *_columns(there), Style(look.colour, marker="diamond")))
    ticks = tuple((float(n), short(track)) for n, track in enumerate(order)) if named else ()
    return Panel(Axis(GAIN), Axis("" if named else "tracks, sorted", ticks, whole=True), tuple(marks), title)


def _passes(complete: Sequence[FrozenTrial]) -> Chart:
    """Gain against passes: every trial, and the front of what so many passes can buy."""
    top: dict[int, tuple[float, str]] = {}
    for trial in complete:
        by_step = trial.user_attrs["by_step"]
        for n, value in enumerate(by_step):
            gain = float(value - by_step[0])
            if n + 1 not in top or gain > top[n + 1][0]:
                top[n + 1] = gain, f"trial {trial.number}"
    front: list[tuple[float, float, str]] = []
    for passes in sorted(top):
        gain, label = top[passes]
        if not front or gain > front[-1][1]:
            front.append((float(passes), gain, label))
    shown = [complete[i] for i in thinned(len(complete), SHOWN_POINTS)]
    points = [(t.user_attrs["steps"] + 1.0, float(t.user_attrs["gain"])) for t in shown]
    line = Style(BLUE, marker="circle")
    return Chart(
        title="What more passes buy",
        panels=(
            Panel(
                Axis("passes an excerpt", whole=True),
                Axis(GAIN, low=min(0.0, _floor([gain for _, gain in points]))),
                (
                    Points("trial", *_columns(points), style=FAINT, labels=tuple(f"trial {t.number}" for t in shown)),
                    Line("front", *_columns(front), style=line),
                ),
            ),
        ),
        caption="The front is the best gain after so many passes, of all steps of all complete trials.",
    )


def _importance(study: optuna.Study, complete: Sequence[FrozenTrial]) -> Chart | None:
    """Share of each parameter in being among the best trials (PED-ANOVA)."""
    if len(complete) < MIN_TRIALS or len(complete[0].params) < 2:
        return None
    # Optuna advises at least five trials among the best, and takes the lowest targets for the best.
    evaluator = PedAnovaImportanceEvaluator(target_quantile=min(0.5, max(0.1, 5 / len(complete))))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = get_param_importances(study, evaluator=evaluator, target=lambda trial: -float(trial.values[0]))
    if not found:
        return None
    names = sorted(found, key=lambda name: (found[name], name))
    ticks = tuple((float(n), short(name)) for n, name in enumerate(names))
    bars = Bars("importance", tuple(float(found[name]) for name in names), Style(BLUE))
    return Chart(
        "Importance of parameters",
        (Panel(Axis("share", low=0.0), Axis("", ticks), (bars,)),),
        "PED-ANOVA: how much each parameter tells the best trials from the others; shares add up to 1.",
    )


FAINT = Style(LIGHT_GREY, marker="circle", width=1.5)


def _schedule(betas: Sequence[float]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    return tuple(float(n) for n in range(1, len(betas) + 1)), tuple(float(beta) for beta in betas)


def _columns(points: Sequence[tuple[Any, ...]]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    return tuple(float(point[0]) for point in points), tuple(float(point[1]) for point in points)


def _floor(values: Sequence[float]) -> float:
    """Where an axis or scale begins so that hopeless trials do not flatten the rest: at the lowest tenth."""
    return float(np.quantile(values, 0.1))


def _metric(study: optuna.Study) -> str:
    return METRICS[study.user_attrs["config"]["search"]["metric"]]

"""Figures of a study, from its storage alone: no model, no data, no pass."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import optuna
import plotly.graph_objects as go
from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances
from optuna.trial import FrozenTrial, TrialState
from plotly.colors import sample_colorscale

from schedopt.proof.statistics import TIE_DB
from schedopt.search.dial import search_of
from schedopt.search_options import criteria
from schedopt.view.figures.dial import dial_figure
from schedopt.view.figures.drawing import (
    AXIS,
    SHOWN_LINES,
    SHOWN_POINTS,
    Panel,
    Style,
    Trace,
    axis,
    bars,
    escaped,
    line,
    metric_name,
    numbers,
    panels,
    points,
    rows_axis,
    short,
    thinned,
)
from schedopt.view.figures.palette import BLUE, FAINT, GREEN, SCALE, VERMILLION, method_style
from schedopt.view.trials import named_trials

NAMED_TRACKS = 30
"""With more tracks than this their names no longer fit beside the bars."""

SHADES = 24
"""Schedules are drawn in so many colours, one trace each: hundreds of traces would make a page slow."""

MIN_TRIALS = 4
"""Importance needs a better and a worse half."""


def study_figures(study: optuna.Study) -> dict[str, go.Figure]:
    """Every figure that the study's trials allow, by name; none before a trial of ours is complete. Costs no pass.

    Names: `schedules`, `steps`, `progress`, `tracks`, `passes`, `importance`, of a study of two metrics also `dial`.
    `schedopt.view.figures.caption` gives the sentence below each.

    >>> import optuna, schedopt
    >>> schedopt.figures(optuna.create_study())
    {}
    """
    trials = study.get_trials(deepcopy=False)
    complete = [t for t in trials if t.state == TrialState.COMPLETE and "by_step" in t.user_attrs]
    named = named_trials(study, trials)
    if not named or not complete or "baseline" not in study.user_attrs:
        return {}
    figures = {
        "schedules": _schedules(study, complete, named),
        "steps": _steps(study, named),
        "progress": _progress(study, trials),
        "tracks": _tracks(study, named),
        "passes": _passes(study, complete),
        "dial": dial_figure(study, complete, named),
        "importance": _importance(study, complete),
    }
    return {name: figure for name, figure in figures.items() if figure is not None}


figures = study_figures
"""Its public name, `schedopt.figures`."""


def _styled(named: Mapping[str, FrozenTrial]) -> list[tuple[str, FrozenTrial, Style]]:
    """With their looks, the selected trial last, on top."""
    looks = (("dash", "diamond"), ("dot", "square"))
    others = (Style(colour, *look, 2.5) for colour, look in zip((GREEN, VERMILLION), looks, strict=True))
    styles = (Style(BLUE, symbol="circle", width=3), *others)
    return [(name, trial, style) for (name, trial), style in zip(named.items(), styles, strict=False)][::-1]


def _schedules(study: optuna.Study, complete: Sequence[FrozenTrial], named: Mapping[str, FrozenTrial]) -> go.Figure:
    """β against step of the complete trials, coloured by score; the lowest are drawn first."""
    ranked = sorted(complete, key=lambda t: (t.values[0], -t.number))
    drawn = [ranked[i] for i in thinned(len(ranked), SHOWN_LINES)]
    values = [trial.values[0] for trial in ranked]
    left_out = "" if len(drawn) == len(ranked) else f"; {len(drawn)} of {len(ranked)}, evenly by rank"
    traces = _bundle(drawn, min(_floor(values), max(values)), max(values), f"{_metric(study)}, dB")
    for name, trial, style in _styled(named):
        traces += line(name, enumerate(trial.user_attrs["betas"], 1), style)
    longest = max(len(trial.user_attrs["betas"]) for trial in complete)
    return panels(
        "Schedules by score",
        f"The schedules of the complete trials, cut to the steps that are used{left_out}.",
        [Panel(traces, _step_axis(longest), axis("β", range=[-0.05, 1.05]))],
    )


def _bundle(trials: Sequence[FrozenTrial], low: float, high: float, label: str) -> list[Trace]:
    """A trace for each shade, its schedules separated by gaps, and an empty one that carries the colour bar."""
    span = high - low or 1e-9
    scores = np.array([trial.values[0] for trial in trials])
    shade = np.clip((scores - low) / span * (SHADES - 1), 0, SHADES - 1).round().astype(int)
    colours = sample_colorscale(list(SCALE), SHADES)
    traces: list[Trace] = []
    for n in sorted(set(shade.tolist())):
        lines = [trial.user_attrs["betas"] for trial, its in zip(trials, shade, strict=True) if its == n]
        traces.append(
            go.Scatter(
                x=numbers(value for betas in lines for value in (*range(1, len(betas) + 1), None)),
                y=numbers(value for betas in lines for value in (*betas, None)),
                mode="lines+markers" if any(len(betas) == 1 for betas in lines) else "lines",
                line={"color": colours[n], "width": 1.3},
                marker={"size": 5},
                opacity=0.45 + 0.5 * n / (SHADES - 1),
                hoverinfo="skip",
                showlegend=False,
            )
        )
    colour_bar = {
        "title": {"text": escaped(label), "side": "top", "font": {"size": 12}},
        "orientation": "h",
        "thickness": 10,
        "len": 0.6,
    }
    scale = {"colorscale": list(SCALE), "cmin": low, "cmax": low + span, "color": [low]}
    marker = {**scale, "colorbar": {**colour_bar, "y": 1, "yanchor": "bottom", "outlinewidth": 0}}
    traces.append(go.Scatter(x=[None], y=[None], mode="markers", hoverinfo="skip", showlegend=False, marker=marker))
    return traces


def _steps(study: optuna.Study, named: Mapping[str, FrozenTrial]) -> go.Figure:
    """The authors' figure 3: score against step, with its spread, for one pass, the line and the named trials."""
    attrs = study.user_attrs
    start = attrs["baseline"]["value"]
    count = max(len(one["by_step"]) for one in (attrs["line"], *(trial.user_attrs for trial in named.values())))
    zeros = attrs.get("zeros", {"by_step": ()})
    traces = line("one pass", [(0, start), (count - 1, start)], method_style("baseline"))
    # Where the options alone change the score, that change is not the schedule's.
    if any(abs(value - start) > TIE_DB for value in zeros["by_step"]):
        traces += _by_step("β = 0, same options", zeros, start, method_style("constant"))
    traces += _by_step("line n/N", attrs["line"], start, method_style("line"))
    for name, trial, style in _styled(named):
        traces += _by_step(name, trial.user_attrs, start, Style(style.colour, style.dash))
    selected = next(iter(named.values()))
    steps = selected.user_attrs["steps"]
    chosen = Style(BLUE, symbol="circle", width=3)
    traces.append(points("selected step", [(steps, selected.user_attrs["by_step"][steps])], chosen))
    return panels(
        f"{_metric(study)} after each step",
        "Mean over the search tracks; the band holds the middle half of the tracks' changes since one pass.",
        [Panel(traces, _step_axis(count - 1), axis(f"{_metric(study)}, dB"))],
    )


def _by_step(name: str, attrs: Mapping[str, Any], start: float, style: Style) -> list[Trace]:
    # Studies of earlier versions hold no spread.
    low, high = attrs.get("spread", ((), ()))
    band = [(start + below, start + above) for below, above in zip(low, high, strict=True)]
    return line(name, enumerate(attrs["by_step"]), style, band=band)


def _progress(study: optuna.Study, trials: Sequence[FrozenTrial]) -> go.Figure:
    """Highest gain so far against the passes that it took, those of the references among them."""
    ended = sorted((t for t in trials if t.datetime_complete is not None), key=lambda t: t.datetime_complete or 0)
    first = study.user_attrs.get("references", {}).get("passes_run", 0)
    spent = first + np.cumsum([t.user_attrs.get("passes_run", 0) for t in ended])
    found = [
        (float(passes), float(t.user_attrs["gain"]), t.number)
        for passes, t in zip(spent, ended, strict=True)
        if t.state == TrialState.COMPLETE and "gain" in t.user_attrs
    ]
    drawn = [found[i] for i in thinned(len(found), SHOWN_POINTS)]
    rising: list[tuple[float, float]] = []
    for passes, gain, _ in found:
        if not rising or gain > rising[-1][1]:
            rising.append((passes, gain))
    rising.append((float(spent[-1]), rising[-1][1]))
    return panels(
        "Highest gain so far",
        "Trials in the order in which they ended; passes that were shared with earlier trials are not counted again.",
        [
            Panel(
                [
                    points(
                        "trial",
                        [(x, y) for x, y, _ in drawn],
                        FAINT,
                        labels=[f"trial {number}" for *_, number in drawn],
                    ),
                    *line("highest so far", rising, method_style("schedule"), steps=True),
                ],
                axis("passes run"),
                axis(
                    gain_label(_metric_key(study)), autorangeoptions={"clipmin": _floor([gain for _, gain, _ in found])}
                ),
            )
        ],
    )


def _tracks(study: optuna.Study, named: Mapping[str, FrozenTrial]) -> go.Figure | None:
    names = study.user_attrs.get("tracks", ())
    line_style = method_style("line")
    kept = [(name, trial.user_attrs, style) for name, trial, style in reversed(_styled(named))]
    kept.append(("line n/N", study.user_attrs["line"], line_style))
    gains = [
        (name, dict(zip(names, attrs["gain_by_track"], strict=True)), style)
        for name, attrs, style in kept
        if len(attrs.get("gain_by_track", ())) == len(names) > 0
    ]
    # Studies of earlier versions hold none.
    if not gains or gains[0][2] is line_style:
        return None
    return panels(
        "Gain of each search track",
        "The selected trial's gain over one pass, track by track.",
        [tracks_panel(_metric_key(study), *gains[0], gains[1:])],
    )


def tracks_panel(
    metric: str,
    name: str,
    gains: Mapping[str, float],
    style: Style,
    others: Sequence[tuple[str, Mapping[str, float], Style]] = (),
    title: str = "",
) -> Panel:
    """Gain by track, sorted, the highest on top; `others` as points beside the bars."""
    order = sorted(gains, key=lambda track: (gains[track], track))
    traces = [bars(name, [gains[track] for track in order], style)]
    for other, values, look in others:
        there = [(values[track], n) for n, track in enumerate(order) if track in values]
        if there:
            traces.append(points(other, there, Style(look.colour, symbol="diamond")))
    if len(order) > NAMED_TRACKS:
        y, rows = axis("tracks, sorted", whole=len(order), showgrid=False), 0
    else:
        y, rows = rows_axis([short(track) for track in order]), len(order)
    return Panel(traces, axis(gain_label(metric), zero=True), y, title, rows=max(rows, 3) if rows else 0)


def _passes(study: optuna.Study, complete: Sequence[FrozenTrial]) -> go.Figure:
    """Gain against passes: every trial, and the front, the highest gain that so many passes have reached."""
    top: dict[int, float] = {}
    for trial in complete:
        by_step = trial.user_attrs["by_step"]
        for n, value in enumerate(by_step):
            top[n + 1] = max(top.get(n + 1, -np.inf), float(value - by_step[0]))
    front: list[tuple[int, float]] = []
    for passes in sorted(top):
        if not front or top[passes] > front[-1][1]:
            front.append((passes, top[passes]))
    drawn = [complete[i] for i in thinned(len(complete), SHOWN_POINTS)]
    at = [(len(t.user_attrs["betas"]) + 1, float(t.user_attrs["gain"])) for t in drawn]
    traces = [points("trial", at, FAINT, labels=[f"trial {t.number}" for t in drawn])]
    traces += line("front", front, Style(BLUE, symbol="circle"))
    return panels(
        "What one more pass buys",
        "The front is the highest gain after so many passes, of all steps of all complete trials.",
        [
            Panel(
                traces,
                axis("passes per excerpt", whole=max(top)),
                axis(
                    gain_label(_metric_key(study)),
                    autorangeoptions={"clipmin": min(0.0, _floor([gain for _, gain in at]))},
                ),
            )
        ],
    )


def _importance(study: optuna.Study, complete: Sequence[FrozenTrial]) -> go.Figure | None:
    """Importance of each parameter, as optuna-dashboard computes it: equal settings, so equal numbers."""
    if len(complete) < MIN_TRIALS or len(complete[0].params) < 2:
        return None
    with warnings.catch_warnings():
        # The evaluator takes low targets for good ones, whatever the study's direction; it warns of that.
        warnings.simplefilter("ignore")
        found = get_param_importances(
            study, evaluator=PedAnovaImportanceEvaluator(), target=lambda trial: -float(trial.values[0])
        )
    if not found:
        return None
    names = sorted(found, key=lambda name: (found[name], name))
    return panels(
        "Importance of parameters",
        "PED-ANOVA: how well each parameter separates the highest tenth of the trials from the others; sums to 1.",
        [
            Panel(
                [bars("importance", [found[name] for name in names], Style(BLUE))],
                axis("share", range=[0, 1.02 * max(found.values())], zerolinecolor=AXIS),
                rows_axis([short(name) for name in names]),
                rows=max(len(names), 3),
            )
        ],
    )


def _step_axis(longest: int) -> dict[str, Any]:
    return axis("step n", whole=longest)


def _floor(values: Sequence[float]) -> float:
    """Where an axis or scale begins so that very low trials do not flatten the rest: at the lowest tenth."""
    return float(np.quantile(values, 0.1))


def gain_label(metric: str) -> str:
    return f"{metric_name(metric)} gain over one pass, dB"


def _metric_key(study: optuna.Study) -> str:
    return criteria(search_of(study))[0]


def _metric(study: optuna.Study) -> str:
    return metric_name(_metric_key(study))

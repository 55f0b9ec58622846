"""Charts of a study: their numbers against a plain recomputation from the trials."""

from __future__ import annotations

import numpy as np
import optuna
import pytest
from numpy.testing import assert_allclose
from optuna.trial import TrialState

from schedopt.view.figures import Chart, plotly_figure, study_charts
from schedopt.view.figures.chart import SHOWN_LINES, Bars, Bundle, Line, Mark, Points, short, thinned
from tests.view.figures.studies import START, TRACKS, made_study

STUDY = made_study()
CHARTS = study_charts(STUDY)
COMPLETE = [t for t in STUDY.trials if t.state == TrialState.COMPLETE]
BEST = max(COMPLETE, key=lambda t: t.value or 0)


def marks(chart: Chart) -> dict[str, Mark]:
    return dict(chart.named())


def test_every_chart_is_there() -> None:
    assert list(CHARTS) == ["schedules", "steps", "progress", "tracks", "passes", "importance"]
    assert list(study_charts(made_study(pareto=True))) == list(CHARTS)


def test_schedules_are_coloured_by_their_score() -> None:
    (panel,) = CHARTS["schedules"].panels
    bundle = panel.marks[0]
    assert isinstance(bundle, Bundle)
    assert sorted(bundle.values) == sorted(t.values[0] for t in COMPLETE)
    assert list(bundle.values) == sorted(bundle.values), "the best are drawn last, on top"
    drawn = {(y, value) for (_, y), value in zip(bundle.lines, bundle.values, strict=True)}
    assert drawn == {(tuple(t.user_attrs["betas"]), t.values[0]) for t in COMPLETE}
    best = marks(CHARTS["schedules"])["best"]
    assert isinstance(best, Line)
    assert best.y == tuple(BEST.user_attrs["betas"])
    scale = CHARTS["schedules"].scale
    assert scale is not None
    assert scale.high == BEST.value


def test_score_by_step_and_its_spread() -> None:
    found = marks(CHARTS["steps"])
    best, line, plain = found["best"], found["line n/N"], found["one pass"]
    assert isinstance(best, Line)
    assert isinstance(line, Line)
    assert isinstance(plain, Line)
    assert set(plain.y) == {START + 1}
    betas = [BEST.params[f"beta_{n}"] for n in (1, 2, 3)]
    for mark, schedule in ((best, betas), (line, [1 / 3, 2 / 3, 1])):
        change = np.array([[(k + 1) * sum(schedule[:n]) / 10 for n in range(4)] for k in range(3)])
        change -= np.array([sum(beta**2 for beta in schedule[:n]) / 2 for n in range(4)])
        assert_allclose(mark.y, START + 1 + change.mean(axis=0), atol=1e-6)
        assert_allclose(mark.low, START + 1 + np.quantile(change, 0.25, axis=0), atol=1e-4)
        assert_allclose(mark.high, START + 1 + np.quantile(change, 0.75, axis=0), atol=1e-4)


def test_what_the_options_do_alone_is_shown() -> None:
    study = made_study(3)
    study.set_user_attr("zeros", {"value": START + 1, "by_step": [START + 1] * 4})
    assert "β = 0, same options" not in marks(study_charts(study)["steps"])
    study.set_user_attr("zeros", {"value": START + 2, "by_step": [START + 1, START + 1.5, START + 2]})
    zeros = marks(study_charts(study)["steps"])["β = 0, same options"]
    assert isinstance(zeros, Line)
    assert zeros.y == (START + 1, START + 1.5, START + 2)


def test_best_gain_so_far_over_passes() -> None:
    found = marks(CHARTS["progress"])
    points, best = found["trial"], found["best so far"]
    assert isinstance(points, Points)
    assert isinstance(best, Line)
    spent = 40 + np.cumsum([t.user_attrs["passes_run"] for t in STUDY.trials])
    assert list(points.x) == [float(spent[t.number]) for t in COMPLETE], "passes of pruned trials count too"
    assert list(points.y) == [t.user_attrs["gain"] for t in COMPLETE]
    assert best.x[-1] == spent[-1]
    assert best.y[-1] == max(points.y)
    assert list(best.y) == sorted(best.y)


def test_gains_of_tracks_are_sorted_under_their_names() -> None:
    (panel,) = CHARTS["tracks"].panels
    bars = panel.marks[0]
    assert isinstance(bars, Bars)
    assert list(bars.values) == sorted(bars.values)
    betas = BEST.user_attrs["betas"]
    gains = {t: (k + 1) * sum(betas) / 10 - sum(b * b for b in betas) / 2 for k, t in enumerate(TRACKS)}
    assert_allclose(bars.values, sorted(gains.values()), atol=1e-4)
    assert [name for _, name in panel.y.ticks] == [short(t) for t in sorted(gains, key=gains.__getitem__)]


def test_the_front_is_what_passes_can_buy() -> None:
    front = marks(CHARTS["passes"])["front"]
    assert isinstance(front, Line)
    for passes, gain in zip(front.x, front.y, strict=True):
        assert gain == max(
            t.user_attrs["by_step"][n] - t.user_attrs["by_step"][0] for t in COMPLETE for n in range(int(passes))
        )
    assert list(front.y) == sorted(set(front.y))


def test_importance_knows_what_matters() -> None:
    """Of two parameters the score follows one alone; higher scores are better."""
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.RandomSampler(1))
    for key, value in made_study(2).user_attrs.items():
        study.set_user_attr(key, value)

    def objective(trial: optuna.Trial) -> float:
        high, _ = trial.suggest_float("high", 0, 1), trial.suggest_float("idle", 0, 1)
        value = min(high, 0.9)
        attrs = {"betas": [high], "steps": 1, "gain": value, "by_step": [0.0, value]}
        for key, kept in attrs.items():
            trial.set_user_attr(key, kept)
        return value

    study.optimize(objective, n_trials=60)
    charts = study_charts(study)
    (panel,) = charts["importance"].panels
    (bars,) = panel.marks
    assert isinstance(bars, Bars)
    assert [name for _, name in panel.y.ticks] == ["idle", "high"]
    assert bars.values[1] > 0.8
    assert sum(bars.values) == pytest.approx(1)
    assert "tracks" not in charts, "what an earlier version did not keep is not drawn"


def test_before_a_trial_is_complete_there_is_no_chart() -> None:
    assert study_charts(optuna.create_study()) == {}
    empty = optuna.create_study(direction="maximize")
    for key, value in STUDY.user_attrs.items():
        empty.set_user_attr(key, value)
    assert study_charts(empty) == {}


def test_one_trial_of_one_step_is_enough() -> None:
    charts = study_charts(made_study(1, steps=1))
    assert set(charts) == {"schedules", "steps", "progress", "tracks", "passes"}
    for chart in charts.values():
        assert plotly_figure(chart).data


def test_big_studies_are_thinned_but_keep_their_ends() -> None:
    assert thinned(5, 9) == [0, 1, 2, 3, 4]
    kept = thinned(10_000, SHOWN_LINES)
    assert (kept[0], kept[-1], len(set(kept))) == (0, 9_999, SHOWN_LINES)

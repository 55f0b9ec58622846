"""Figures of a study: their numbers against a plain recomputation from the trials."""

from __future__ import annotations

import numpy as np
import optuna
import pytest
from numpy.testing import assert_allclose
from optuna.trial import TrialState

from schedopt.search.summary import selected_trial
from schedopt.view.figures import caption, heading, study_figures
from schedopt.view.figures.drawing import SHOWN_LINES, short, thinned
from tests.view.figures.reading import bands, bars, lines, markers, row_names
from tests.view.figures.studies import START, TRACKS, made_study

STUDY = made_study()
FIGURES = study_figures(STUDY)
COMPLETE = [t for t in STUDY.trials if t.state == TrialState.COMPLETE]
HIGHEST = max(COMPLETE, key=lambda t: t.value or 0)
NAME = f"selected and highest trial ({HIGHEST.number})"


def test_every_figure_is_there() -> None:
    assert list(FIGURES) == ["schedules", "steps", "progress", "tracks", "passes", "importance"]
    assert list(study_figures(made_study(pareto=True))) == list(FIGURES)
    for figure in FIGURES.values():
        assert heading(figure)
        assert caption(figure).endswith(".")


def test_schedules_are_coloured_by_their_score() -> None:
    """In few traces, the lowest first: the schedules of one shade have scores next to each other."""
    figure = FIGURES["schedules"]
    scores = {tuple(round(b, 5) for b in t.user_attrs["betas"]): t.values[0] for t in COMPLETE}
    drawn: list[list[float]] = []
    for trace in figure.data:
        if trace.name is None and trace.mode.startswith("lines"):
            parts = np.split(np.array(trace.y, dtype=float), np.flatnonzero(np.isnan(np.array(trace.y, dtype=float))))
            schedules = [part[~np.isnan(part)] for part in parts]
            drawn.append([scores[tuple(part.round(5))] for part in schedules if len(part)])
    assert sorted(score for shade in drawn for score in shade) == sorted(scores.values())
    for lower, higher in zip(drawn, drawn[1:], strict=False):
        assert max(lower) <= min(higher)
    assert list(lines(figure)[NAME].y) == pytest.approx(HIGHEST.user_attrs["betas"], abs=1e-6)
    (bar,) = (trace.marker for trace in figure.data if trace.marker.colorbar.title.text)
    assert bar.cmax == HIGHEST.value
    assert bar.colorbar.title.text == "SDR, dB"


def test_selected_and_highest_trial_are_told_apart() -> None:
    """By track the highest trial is unsure, so another is selected; figures name both."""
    study = made_study()
    study.set_user_attr("config", {"search": {"metric": "si_sdr", "choose": "lower-bound", "pareto": False}})
    study.set_user_attr("zeros", {"value": START, "by_step": [START], "gain_by_track": [0.0] * len(TRACKS)})
    # The stored trial itself, changed such that its gain is due to one track.
    trial = next(t for t in study.get_trials(deepcopy=False) if t.number == study.best_trial.number)
    trial.user_attrs["gain_by_track"] = [9.0, -4.0, -4.0]
    selected = selected_trial(study, study.get_trials(deepcopy=False))
    assert selected is not None
    assert selected.number != trial.number
    figures = study_figures(study)
    names = {f"selected trial ({selected.number})": selected, f"highest trial ({trial.number})": trial}
    assert set(lines(figures["schedules"])) == set(names)
    for name, one in names.items():
        assert_allclose(lines(figures["steps"])[name].y, one.user_attrs["by_step"], atol=1e-6)
    assert list(bars(figures["tracks"])) == [f"selected trial ({selected.number})"]
    assert f"highest trial ({trial.number})" in markers(figures["tracks"])
    assert figures["steps"].layout.title.text == "<b>SI-SDR after each step</b>"


def test_score_by_step_and_its_spread() -> None:
    found, spread = lines(FIGURES["steps"]), bands(FIGURES["steps"])
    assert set(found["one pass"].y) == {START + 1}
    betas = [HIGHEST.params[f"beta_{n}"] for n in (1, 2, 3)]
    for name, schedule in ((NAME, betas), ("line n/N", [1 / 3, 2 / 3, 1])):
        change = np.array([[(k + 1) * sum(schedule[:n]) / 10 for n in range(4)] for k in range(3)])
        change -= np.array([sum(beta**2 for beta in schedule[:n]) / 2 for n in range(4)])
        assert_allclose(found[name].y, START + 1 + change.mean(axis=0), atol=1e-5)
        assert_allclose(spread[name][0], START + 1 + np.quantile(change, 0.25, axis=0), atol=1e-4)
        assert_allclose(spread[name][1], START + 1 + np.quantile(change, 0.75, axis=0), atol=1e-4)


def test_what_the_options_do_alone_is_shown() -> None:
    study = made_study(3)
    study.set_user_attr("zeros", {"value": START + 1, "by_step": [START + 1] * 4})
    assert "β = 0, same options" not in lines(study_figures(study)["steps"])
    study.set_user_attr("zeros", {"value": START + 2, "by_step": [START + 1, START + 1.5, START + 2]})
    assert lines(study_figures(study)["steps"])["β = 0, same options"].y == (START + 1, START + 1.5, START + 2)


def test_highest_gain_so_far_over_passes() -> None:
    points, rising = markers(FIGURES["progress"])["trial"], lines(FIGURES["progress"])["highest so far"]
    spent = 40 + np.cumsum([t.user_attrs["passes_run"] for t in STUDY.trials])
    assert list(points.x) == [float(spent[t.number]) for t in COMPLETE], "passes of pruned trials count too"
    assert_allclose(points.y, [t.user_attrs["gain"] for t in COMPLETE], atol=1e-6)
    assert points.text == tuple(f"trial {t.number}" for t in COMPLETE)
    assert rising.x[-1] == spent[-1]
    assert rising.y[-1] == max(points.y)
    assert list(rising.y) == sorted(rising.y)


def test_gains_of_tracks_are_sorted_under_their_names() -> None:
    values = list(bars(FIGURES["tracks"])[NAME].x)
    assert values == sorted(values)
    betas = HIGHEST.user_attrs["betas"]
    gains = {t: (k + 1) * sum(betas) / 10 - sum(b * b for b in betas) / 2 for k, t in enumerate(TRACKS)}
    assert_allclose(values, sorted(gains.values()), atol=1e-4)
    assert row_names(FIGURES["tracks"]) == [short(t) for t in sorted(gains, key=gains.__getitem__)]


def test_the_front_is_what_passes_can_buy() -> None:
    front = lines(FIGURES["passes"])["front"]
    for passes, gain in zip(front.x, front.y, strict=True):
        reached = [
            t.user_attrs["by_step"][n] - t.user_attrs["by_step"][0] for t in COMPLETE for n in range(int(passes))
        ]
        assert gain == pytest.approx(max(reached), abs=1e-6)
    assert list(front.y) == sorted(set(front.y))
    assert heading(FIGURES["passes"]) == "What one more pass buys"


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
    figures = study_figures(study)
    shares = bars(figures["importance"])["importance"].x
    assert row_names(figures["importance"]) == ["idle", "high"]
    assert shares[1] > 0.8
    assert sum(shares) == pytest.approx(1)
    assert "tracks" not in figures, "what an earlier version did not keep is not drawn"


def test_before_a_trial_is_complete_there_is_no_figure() -> None:
    assert study_figures(optuna.create_study()) == {}
    empty = optuna.create_study(direction="maximize")
    for key, value in STUDY.user_attrs.items():
        empty.set_user_attr(key, value)
    assert study_figures(empty) == {}


def test_one_trial_of_one_step_is_enough() -> None:
    figures = study_figures(made_study(1, steps=1))
    assert set(figures) == {"schedules", "steps", "progress", "tracks", "passes"}
    for figure in figures.values():
        assert figure.data


def test_big_studies_are_thinned_but_keep_their_ends() -> None:
    assert thinned(5, 9) == [0, 1, 2, 3, 4]
    kept = thinned(10_000, SHOWN_LINES)
    assert (kept[0], kept[-1], len(set(kept))) == (0, 9_999, SHOWN_LINES)


def test_hundreds_of_schedules_are_few_traces() -> None:
    figure = study_figures(made_study(400, steps=2))["schedules"]
    assert len(figure.data) < 40
    ends = sum(value is None for trace in figure.data if trace.name is None for value in trace.y)
    assert ends == SHOWN_LINES + 1, "each schedule ends with a gap; one empty trace carries the colour bar"
    assert "300 of 399, evenly by rank" in caption(figure)
    assert len(figure.to_json()) < 40_000

"""The stop rule ends studies in which nothing is to be found, and no others; what the model makes of prefixes."""

from __future__ import annotations

from typing import Any

import numpy as np
import optuna
import pytest

from benchmarks.stopping import Changed, play
from schedopt.config import make_config
from schedopt.search.prefix_gp import PrefixGP
from schedopt.search.samplers import StudySampler, make_sampler, model_of
from schedopt.search.space import suggest


@pytest.mark.parametrize("sampler", ["prefix-gp", "tpe"])
def test_studies_in_which_nothing_is_to_be_found_end_early(sampler: str) -> None:
    cases = [(stem, seed) for stem in ("vocals", "drums") for seed in range(1)]
    played = [play(stem, 0.0, sampler, "predictive", "highest", 0.02, 40, seed) for stem, seed in cases]
    assert all(early and not false for early, false, _ in played)


def test_studies_end_when_the_gain_is_found_and_not_before() -> None:
    played = [play("vocals", 0.05, "prefix-gp", "none", "highest", 0.02, 30, seed) for seed in range(2)]
    assert not any(false for _, false, _ in played)


def flat_study() -> tuple[StudySampler, optuna.Study]:
    """Ten trials that all score the same, with a rule that stops at 0.02 dB."""
    settings = make_config(
        {"study": {"name": "s"}, "refinement": {"steps": 2}, "search": {"stop": 0.02, "choose": "highest"}}
    )
    sampler = make_sampler(settings)
    study = optuna.create_study(direction="maximize", sampler=sampler)

    def value(trial: optuna.Trial) -> float:
        suggest(trial, settings.family(), 0.1)
        trial.set_user_attr("by_step", [5.0] * 3)
        trial.set_user_attr("steps", 2)
        return 5.0

    study.optimize(value, n_trials=10)
    return sampler, study


def test_trials_that_others_run_do_not_hold_up_the_end_and_queued_ones_do() -> None:
    sampler, study = flat_study()
    told = sampler.ending(study)
    assert told is not None
    assert "gains more than 0.02 dB over the selected one" in told
    study.ask()
    assert sampler.ending(study) == told
    study.enqueue_trial({"start": 1.0, "end": 1.0})
    assert sampler.ending(study) is None


def test_what_is_better_than_the_selected_trial_keeps_a_study_going() -> None:
    sampler, study = flat_study()
    better = next(t for t in study.trials if t.number == 9)
    better = optuna.trial.create_trial(
        params={"start": 0.9, "end": 0.1},
        distributions=better.distributions,
        value=5.1,
        user_attrs={"by_step": [5.0, 5.05, 5.1], "gain_by_track": [0.1]},  # without steps: it cannot be selected
    )
    study.add_trial(better)
    assert sampler.ending(study) is None


def test_changed_scores_gain_as_much_as_is_said() -> None:
    every = np.array([[a, b, 0.5, 0.2, 0.0] for a in (0.0, 0.5, 1.0) for b in (0.0, 0.5, 1.0)])
    assert np.abs(Changed("drums", [1, 3, 4, 8], 0.0).mean_gains(every)).max() < 1e-12
    assert Changed("drums", [1, 3, 4, 8], 0.05).mean_gains(every).max() <= 0.05


def model(**refinement: Any) -> PrefixGP:
    return model_of(
        make_config({"study": {"name": "s"}, "refinement": {"steps": 3, **refinement}, "schedule": {"family": "free"}})
    )


def test_under_remix_only_what_follows_the_last_zero_counts() -> None:
    nodes = model().nodes(np.array([[0.2, 0.0, 0.7], [0.2, 0.4, 0.7]]))
    assert nodes[0].tolist() == [[0, 0, 0.2], [0, 0, 0], [0, 0, 0.7]]
    assert nodes[1].tolist() == [[0, 0, 0.2], [0, 0.2, 0.4], [0.2, 0.4, 0.7]]


def test_with_shifts_every_step_counts() -> None:
    nodes = model(shift=True).nodes(np.array([[0.2, 0.0, 0.7]]))
    assert nodes[0].tolist() == [[0.2, -1, -1], [0.2, 0.0, -1], [0.2, 0.0, 0.7]]


@pytest.mark.parametrize("refinement", [{}, {"shift": True, "output": "mean"}], ids=["remix", "shifted"])
def test_prefixes_tell_what_whole_schedules_would_not(refinement: dict[str, Any]) -> None:
    """Steps add up, each a parabola: from three schedules with all their prefixes the optimum of each β is known."""
    made = model(**refinement)
    settings = make_config({"study": {"name": "s"}, "refinement": {"steps": 3}, "schedule": {"family": "free"}})
    best = np.array([0.3, 0.6, 0.4])
    study = optuna.create_study(direction="maximize")

    def value(trial: optuna.Trial) -> float:
        betas = settings.family().make(suggest(trial, settings.family(), 0.1), 0.1)
        by_step = [0.0, *np.cumsum(best**2 - (np.array(betas) - best) ** 2).tolist()]
        trial.set_user_attr("by_step", by_step)
        trial.set_user_attr("steps", 3)
        return float(by_step[-1])

    for betas in ((0.1, 0.2, 0.9), (0.5, 0.5, 0.5), (0.9, 0.9, 0.1)):
        study.enqueue_trial(dict(zip(settings.family().space, betas, strict=True)))
    study.optimize(value, n_trials=3)
    surface = made.known(study.trials, study).surface
    assert surface is not None
    asked = np.array([[0.3, 0.6, 0.4], [0.8, 0.6, 0.4], [0.3, 0.1, 0.4], [0.3, 0.6, 0.9]])
    mean, _ = surface.predict(asked)
    if refinement:
        assert mean == pytest.approx((best**2 - (asked - best) ** 2).sum(axis=1), abs=0.15)
    assert mean.argmax() == 0

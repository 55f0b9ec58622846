"""The sampler prefix-gp: no schedule twice, small families to their end, the optimum of a smooth surface early."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import optuna
import pytest
from numpy.typing import NDArray

from benchmarks.samplers import study_of
from benchmarks.stand_ins import EXCERPTS, Mixed
from schedopt.config import StudyConfig, make_config
from schedopt.evaluation import Evaluator, Scores
from schedopt.refinement import Refinement
from schedopt.search.samplers import make_sampler, model_of
from schedopt.search.space import suggest
from tests.models import noise_excerpt, tiny_separator


def config(family: str = "linear", steps: int = 3, resolution: float = 0.1, *, shift: bool = False) -> StudyConfig:
    return make_config(
        {
            "study": {"name": "s"},
            "search": {"sampler": "prefix-gp", "pruner": "none"},
            "refinement": {"steps": steps, "choose_steps": False, "shift": shift},
            "schedule": {"family": family, "resolution": resolution},
        }
    )


@pytest.mark.parametrize("rule", ["remix", "unmix", "resum"])
@pytest.mark.parametrize(
    "options", [{}, {"residual": 0.3}, {"peak_guard": True}, {"shift": True}, {"output": "mean"}], ids=str
)
def test_a_step_with_beta_0_is_the_plain_pass_where_the_model_takes_it_for_one(
    rule: str, options: dict[str, Any]
) -> None:
    """The engine's own scores say so; the mixture's peak exceeds 1, and SNR sees gains."""
    model = model_of(make_config({"study": {"name": "s"}, "refinement": {"rule": rule, **options}}))
    excerpt = noise_excerpt(1)
    loud = replace(excerpt, references=4 * excerpt.references)
    how = Refinement("bass", rule=rule, **options)
    scores = Evaluator(tiny_separator(), [loud], how, metric="snr").scores((0.5, 0.0))
    is_plain = np.abs(scores[:, -1] - scores[:, 0]).max() < 1e-6
    assert model.chained == is_plain == (rule != "resum" and not options)


def search(settings: StudyConfig, trials: int, best: Any) -> optuna.Study:
    """Trials with the attributes that the objective leaves; the score is a parabola around `best`."""
    sampler = make_sampler(settings)
    study = optuna.create_study(direction="maximize", sampler=sampler)
    family = settings.family()

    def value(trial: optuna.Trial) -> float:
        betas = family.make(suggest(trial, family, settings.schedule.resolution), settings.schedule.resolution)
        by_step = [-float(np.sum((np.array(betas[:n]) - best[:n]) ** 2)) - 0.1 * (3 - n) for n in range(len(betas) + 1)]
        trial.set_user_attr("betas", list(betas))
        trial.set_user_attr("steps", len(betas))
        trial.set_user_attr("by_step", by_step)
        return by_step[-1]

    for _ in range(trials):
        if sampler.is_exhausted(study):
            break
        study.optimize(value, n_trials=1)
    return study


def test_no_schedule_is_proposed_twice_and_a_small_family_ends() -> None:
    study = search(config(resolution=0.25), 60, np.array([0.2, 0.5, 0.8]))
    schedules = [tuple(trial.user_attrs["betas"]) for trial in study.trials]
    assert len(schedules) == len(set(schedules)) == 25


@pytest.mark.parametrize(("family", "trials"), [("linear", 20), ("free", 40)])
def test_the_optimum_of_a_smooth_surface_is_found_early(family: str, trials: int) -> None:
    best = np.array([0.2, 0.5, 0.8])
    study = search(config(family), trials, best)
    assert study.best_value > -0.02
    schedules = [tuple(trial.user_attrs["betas"]) for trial in study.trials]
    assert len(schedules) == len(set(schedules)) == trials


@pytest.mark.parametrize("shift", [False, True])
def test_the_search_begins_with_the_middle_where_steps_count_by_themselves(shift: bool) -> None:
    """Where β = 0 is the plain pass again, the prefixes of the line tell enough, and it costs passes."""
    study = search(config("free", shift=shift), 2, np.array([0.2, 0.5, 0.8]))
    assert (study.trials[1].user_attrs["betas"] == [0.5, 0.5, 0.5]) == shift


def test_trials_that_promise_nothing_cost_one_pass() -> None:
    """Of a whole study with its references; the free family of four steps."""
    scores = Mixed(seed=0)
    settings = make_config({"study": {"name": "s"}, "schedule": {"family": "free"}, "search": {"pruner": "none"}})
    study, objective = study_of(scores, settings)
    passes = []
    for _ in range(40):
        study.optimize(objective, n_trials=1)
        passes.append(scores.passes.run / len(scores.tracks))
    assert passes[39] - passes[24] <= 15 + 3
    assert passes[39] < 75
    assert study.best_value > study.user_attrs["baseline"]["value"] + 0.2


class Narrow(Mixed):
    """Each step gains most at β = 0.24, 0.05 dB; all but the first lose 0.1 dB beside."""

    def table(self, schedules: NDArray[np.float64]) -> Scores:
        gain = 0.05 - 2 * (schedules - 0.24) ** 2
        lost = 0.1 * (np.cumsum(schedules > 0, axis=1) > 1)
        after = np.where(schedules == 0, 0, gain - lost)
        return np.asarray(8 + np.repeat(np.pad(after, ((0, 0), (1, 0)))[None], EXCERPTS, axis=0))


def test_a_trial_need_not_exceed_a_reference_that_the_family_does_not_hold() -> None:
    """The line's first step is 0.25 and scores higher than any β of the grid, of which 0.2 is the best."""
    settings = make_config(
        {
            "study": {"name": "s"},
            "refinement": {"steps": 4},
            "schedule": {"family": "free"},
            "search": {"pruner": "none"},
        }
    )
    study, objective = study_of(Narrow(seed=0), settings)
    study.optimize(objective, n_trials=12)
    assert study.best_trial.user_attrs["betas"] == [0.2]
    known = model_of(settings).known(study.get_trials(deepcopy=False), study)
    assert known.best == study.best_value < known.highest == max(study.user_attrs["line"]["by_step"])

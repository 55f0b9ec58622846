"""The schedules of a family: each once, those left, and the nearest one that is left."""

from __future__ import annotations

import numpy as np
import optuna
import pytest
from optuna.trial import FrozenTrial, TrialState, create_trial

from schedopt.schedules import family
from schedopt.search.candidates import Candidates


def trial(candidates: Candidates, state: TrialState, **params: float) -> FrozenTrial:
    return create_trial(
        state=state,
        params=params,
        distributions={name: candidates.space[name] for name in params},
        value=0.0 if state == TrialState.COMPLETE else None,
    )


@pytest.mark.parametrize(
    ("name", "resolution", "count"), [("linear", 0.1, 121), ("linear", 0.25, 25), ("free", 0.5, 27)]
)
def test_a_small_family_is_enumerated_without_repeats(name: str, resolution: float, count: int) -> None:
    candidates = Candidates(family(name, 3), resolution)
    assert candidates.all is not None
    schedules = {tuple(betas) for betas in candidates.all.betas.tolist()}
    assert len(schedules) == len(candidates.all) == count


@pytest.mark.parametrize(("name", "resolution"), [("free", 0.05), ("linear", 0.0), ("cosine", 0.1)])
def test_a_family_of_very_many_schedules_is_not(name: str, resolution: float) -> None:
    assert Candidates(family(name, 5), resolution).all is None


def test_what_failed_is_free_again_and_what_runs_or_waits_is_taken() -> None:
    candidates = Candidates(family("linear", 3), 0.5)
    study = optuna.create_study()
    study.enqueue_trial({"start": 1.0, "end": 1.0})
    trials = [
        trial(candidates, TrialState.COMPLETE, start=0.0, end=0.0),
        trial(candidates, TrialState.PRUNED, start=0.0, end=0.5),
        trial(candidates, TrialState.RUNNING, start=0.0, end=1.0),
        trial(candidates, TrialState.FAIL, start=0.5, end=0.0),
        trial(candidates, TrialState.RUNNING),
        *study.trials,
    ]
    taken = {tuple(betas) for betas in candidates.taken(trials).tolist()}
    assert taken == {(0.0, 0.0, 0.0), (0.0, 0.5, 0.5), (0.0, 0.5, 1.0), (1.0, 1.0, 1.0)}


def test_the_nearest_schedule_that_is_left_takes_the_place_of_one_that_was_scored() -> None:
    candidates = Candidates(family("linear", 2), 0.1)
    wanted = {"start": 0.3, "end": 0.7}
    assert candidates.nearest_fresh(wanted, []) == wanted
    scored = [trial(candidates, TrialState.COMPLETE, **wanted)]
    found = candidates.nearest_fresh(wanted, scored)
    assert abs(found["start"] - 0.3) + abs(found["end"] - 0.7) == pytest.approx(0.1)


def test_of_a_large_family_a_neighbour_takes_its_place() -> None:
    candidates = Candidates(family("free", 6), 0.05)
    assert candidates.all is None
    wanted = dict.fromkeys(candidates.space, 0.5)
    found = candidates.nearest_fresh(wanted, [trial(candidates, TrialState.COMPLETE, **wanted)])
    assert 0 < sum(abs(found[name] - 0.5) for name in found) <= 0.1 + 1e-9


def test_draws_lie_within_the_ranges_and_on_the_grid() -> None:
    candidates = Candidates(family("geometric", 4), 0.1)
    drawn = candidates.draw(np.random.default_rng(0), 200)
    start, ratio = drawn.T
    assert np.all((start >= 0) & (start <= 1) & (np.abs(start * 10 - np.rint(start * 10)) < 1e-9))
    assert np.all((ratio >= 0.25) & (ratio <= 4))
    # Log: as many below 1 as above.
    assert 60 < np.sum(ratio < 1) < 140

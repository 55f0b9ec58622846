"""Which trial is handed over, on made gains whose best trial is known, and in a real study."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import optuna
import pytest
import scipy.stats
from optuna.trial import FrozenTrial, TrialState

from schedopt import run
from schedopt.search.export import load_study
from schedopt.search.selection import SURE, chosen, highest, lower_bound, reason
from schedopt.storage.opening import open_storage
from tests.studies import make_study

TRACKS = 12


def trial(number: int, gains: Sequence[float], state: TrialState = TrialState.COMPLETE) -> FrozenTrial:
    found = optuna.trial.create_trial(
        state=state, value=float(np.mean(gains)), user_attrs={"steps": 1, "gain_by_track": list(gains)}
    )
    found.number = number
    return found


def test_lower_bound_is_the_one_sided_interval_of_student() -> None:
    x = np.random.default_rng(0).normal(0.1, 0.2, TRACKS)
    low = scipy.stats.ttest_1samp(x, 0, alternative="greater").confidence_interval(SURE).low
    assert lower_bound(x) == pytest.approx(low, abs=1e-12)
    assert lower_bound([0.0] * 5) == 0
    assert lower_bound([0.3, 0.3]) == pytest.approx(0.3)
    assert lower_bound([[0.3], [0.0]]).tolist() == [-np.inf, 0.0]
    assert lower_bound(np.stack([x, -x])).tolist() == [lower_bound(x), lower_bound(-x)]


def test_a_sure_gain_goes_before_a_lucky_one() -> None:
    zeros = [0.5] * TRACKS
    lucky = [0.5] * (TRACKS - 1) + [3.0]  # all of it from one track
    sure = [0.6, 0.65] * (TRACKS // 2)
    trials = [trial(0, zeros), trial(1, lucky), trial(2, sure), trial(3, [9.0] * TRACKS, TrialState.PRUNED)]
    assert [t.number for t in (chosen(trials, None), chosen(trials, zeros)) if t] == [1, 2]
    by_bound = chosen(trials[:2], zeros)
    assert by_bound is not None
    assert by_bound.number == 0
    again = [trial(0, zeros), trial(1, [0.5 + 1e-13] * TRACKS)]  # the same schedule, rounded otherwise
    assert [t.number for t in (chosen(again, None), chosen(again, zeros)) if t] == [0, 0]
    assert chosen([], zeros) is None


def test_less_is_lost_to_luck() -> None:
    """50 schedules that are worth as much as zeros or less, by luck the best of them looks better: the bound harms
    less often and less, and where one is truly better both choices find it."""
    rng = np.random.default_rng(1)
    truth = np.r_[0.0, rng.uniform(-0.1, 0.0, 49)]
    harms = {"best": 0.0, "bound": 0.0}
    found = {"best": 0, "bound": 0}
    for _ in range(100):
        # Tracks differ in how much they take to a schedule, and more so the further it is from zeros.
        spread = 0.3 * np.r_[0.0, rng.uniform(0.2, 1.0, 49)]
        gains = truth[:, None] + spread[:, None] * rng.standard_normal((50, TRACKS))
        zeros = list(gains[0])
        for better in (False, True):
            if better:
                gains[7] = 0.4 + 0.3 * rng.standard_normal(TRACKS)
            trials = [trial(i, list(g)) for i, g in enumerate(gains)]
            for how, reference in (("best", None), ("bound", zeros)):
                choice = chosen(trials, reference)
                assert choice is not None
                if better:
                    found[how] += choice.number == 7
                else:
                    harms[how] -= truth[choice.number] / 100
    assert harms["bound"] < harms["best"]
    assert harms["best"] > 0.02
    assert min(found.values()) >= 95


def test_the_reason_names_what_keeps_the_highest_trial_from_being_selected() -> None:
    def trial(number: int, value: float, gains: list[float]) -> optuna.trial.FrozenTrial:
        found = optuna.trial.create_trial(value=value, user_attrs={"steps": 1, "gain_by_track": gains})
        found.number = number
        return found

    none, lucky, sure = trial(0, 5.0, [0.0, 0.0]), trial(13, 5.4, [0.75, 0.05]), trial(7, 5.2, [0.21, 0.19])
    assert reason([none, lucky], [0.0, 0.0]) == "not surely above β = 0 on 2 tracks"
    assert reason([none, lucky], None) is None  # the highest is the selected one
    assert reason([none, sure], [0.0, 0.0]) is None
    assert reason([], [0.0, 0.0]) is None
    zeros = [0.0] * 4
    steady, wide = trial(7, 5.2, [0.21, 0.19, 0.2, 0.2]), trial(9, 5.3, [0.5, 0.1, 0.4, 0.2])
    low, high = (float(lower_bound(t.user_attrs["gain_by_track"])) for t in (wide, steady))
    assert 0 < low < high
    assert (
        reason([steady, wide], zeros) == f"its gain over β = 0 is less sure: at least {low:+.3f} dB, not {high:+.3f} dB"
    )
    assert highest([none, lucky, sure]) is lucky
    assert chosen([none, lucky], [0.0, 0.0]) is none


@pytest.mark.slow
def test_a_study_hands_over_what_it_was_told_to(tmp_path: Path) -> None:
    results = {}
    for choose in ("highest", "lower-bound"):
        config = make_study(
            tmp_path,
            study={"name": choose, "storage": f"sqlite:///{tmp_path}/studies.db", "trials": 6},
            refinement={"steps": 2, "shift": True, "output": "mean", "choose_steps": False},
            search={"choose": choose, "sampler": "random", "pruner": "none"},
        )
        (summary,) = run(config)
        study = load_study(open_storage(config.study.storage), choose, "")
        zeros = study.user_attrs["zeros"]
        baseline = study.trials[0]
        assert baseline.user_attrs["betas"] == [0.0, 0.0]
        assert zeros["gain_by_track"] == baseline.user_attrs["gain_by_track"]
        assert zeros["value"] == pytest.approx(baseline.value, abs=1e-9)
        bounds = [lower_bound(np.subtract(t.user_attrs["gain_by_track"], zeros["gain_by_track"])) for t in study.trials]
        expected = study.best_trial.number if choose == "highest" else int(np.argmax(bounds))
        assert summary.selected is not None
        assert summary.selected.number == expected
        results[choose] = summary.selected.value
    assert results["highest"] >= results["lower-bound"]

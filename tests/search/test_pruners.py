"""Every pruner in a whole study, and the predictions of ours against a second way to compute them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_args

import numpy as np
import optuna
import pytest
import scipy.stats
from numpy.typing import NDArray

from schedopt.config import Pruner
from schedopt.search.pruners import LEARN_FROM, make_pruner, predicted_mean

PRUNERS = get_args(Pruner)


def valley(trial: optuna.Trial) -> float:
    """Best at start 0.3, end 0.7; eight excerpts, all alike."""
    start, end = trial.suggest_float("start", 0, 1), trial.suggest_float("end", 0, 1)
    value = -((start - 0.3) ** 2) - (end - 0.7) ** 2
    for step in range(8):
        trial.report(value, step)
        if step < 7 and trial.should_prune():
            raise optuna.TrialPruned
    return value


@pytest.mark.parametrize("pruner", PRUNERS)
def test_every_pruner_keeps_the_best_and_prunes_only_worse_trials(pruner: str) -> None:
    study = optuna.create_study(
        direction="maximize", sampler=optuna.samplers.RandomSampler(seed=0), pruner=make_pruner(pruner, 8)
    )
    study.optimize(valley, n_trials=30)
    states = [t.state for t in study.trials]
    pruned = states.count(optuna.trial.TrialState.PRUNED)
    assert len(states) == 30
    assert (pruned > 0) == (pruner != "none")
    complete = [t for t in study.trials if t.state == optuna.trial.TrialState.COMPLETE]
    assert study.best_trial in complete


def test_the_wilcoxon_test_asks_only_excerpts_on_which_the_trials_differ() -> None:
    study = optuna.create_study(direction="maximize", pruner=make_pruner("wilcoxon", 12))
    best = {excerpt: 0.1 * excerpt for excerpt in range(12)}

    def follow(values: dict[int, float]) -> bool:
        trial = study.ask()
        verdicts = []
        for excerpt, value in values.items():
            trial.report(value, excerpt)
            verdicts.append(trial.should_prune())
        study.tell(trial, sum(values.values()) / 12)
        return any(verdicts)

    assert not follow(best)
    # Twelve equal values: Optuna's own pruner would enumerate 2¹² signs here, seconds a call.
    assert not follow(best)
    worse = {excerpt: value - (0.01 * (excerpt + 1) if excerpt >= 8 else 0) for excerpt, value in best.items()}
    assert follow(worse)
    better = {excerpt: value + (0.01 * (excerpt + 1) if excerpt >= 8 else 0) for excerpt, value in best.items()}
    assert not follow(better)


def alike(rng: np.random.Generator, trials: int, excerpts: int) -> NDArray[np.float64]:
    """Values of trials (trials, excerpts): two things make a schedule good or bad, each excerpt hears both its way."""
    return np.asarray(rng.normal(size=(trials, 2)) @ rng.normal(size=(2, excerpts)) + rng.normal(size=excerpts))


def test_a_predicted_mean_is_that_of_the_excerpts_predicted_one_by_one() -> None:
    rng = np.random.default_rng(0)
    known, seen = rng.normal(size=(20, 6)), np.array([np.nan, 0.3, np.nan, -1.0, np.nan, np.nan])
    mean, scale, freedom = predicted_mean(known, seen)
    # The textbook's conditional distribution of what is missing, then its sum.
    covariance = np.cov(known.T)
    plain = np.full((6, 6), max(0.0, (covariance.sum() - np.trace(covariance)) / 30))
    np.fill_diagonal(plain, np.trace(covariance) / 6)
    covariance = 20 / 26 * covariance + 6 / 26 * plain
    there, missing, center = [1, 3], [0, 2, 4, 5], known.mean(axis=0)
    inverse = np.linalg.inv(covariance[np.ix_(there, there)])
    slope = covariance[np.ix_(missing, there)] @ inverse
    off = seen[there] - center[there]
    expected = (seen[there].sum() + (center[missing] + slope @ off).sum()) / 6
    left = covariance[np.ix_(missing, missing)] - slope @ covariance[np.ix_(there, missing)]
    wider = (19 + off @ inverse @ off) / (19 + 2)
    assert mean == pytest.approx(expected)
    assert scale == pytest.approx(np.sqrt(left.sum() * wider) / 6)
    assert freedom == 21


def test_a_predicted_mean_is_as_sure_as_it_says() -> None:
    rng = np.random.default_rng(1)
    ranks = []
    for _ in range(400):
        values = alike(rng, 21, 12)
        seen = np.where(rng.permutation(12) < 3, values[-1], np.nan)
        mean, scale, freedom = predicted_mean(values[:-1], seen)
        ranks.append(scipy.stats.t.cdf((values[-1].mean() - mean) / scale, freedom))
    # Shrinking makes it humble rather than bold: the truth is seldom where it says that it is seldom.
    assert np.mean(np.array(ranks) > 0.8) < 0.2
    assert np.mean(np.array(ranks) < 0.2) < 0.2
    assert 0.4 < np.mean(ranks) < 0.6


def test_all_excerpts_seen_leave_nothing_to_predict() -> None:
    values = alike(np.random.default_rng(2), 15, 5)
    mean, scale, _ = predicted_mean(values[:-1], values[-1])
    assert mean == pytest.approx(values[-1].mean(), abs=1e-6)
    assert scale == pytest.approx(0, abs=1e-3)


@pytest.mark.parametrize("spread", [0.0, 1.0], ids=["all equal", "all excerpts equal"])
def test_known_trials_without_a_spread_of_their_own_are_no_obstacle(spread: float) -> None:
    known = np.repeat(spread * np.arange(15.0)[:, None], 4, axis=1)
    mean, scale, _ = predicted_mean(known, np.array([3.0, np.nan, np.nan, np.nan]))
    assert np.isfinite(mean)
    assert np.isfinite(scale)
    if spread:
        assert mean == pytest.approx(3, abs=0.2)


def test_what_the_excerpts_to_come_promise_ends_a_trial_or_lets_it_go_on() -> None:
    """Schedules have one strength: what it costs on the first four excerpts, the others give back and more."""
    shape = np.array([-1.0, -1, -1, -1, 1, 1, 1, 2])
    noise = np.random.default_rng(0)

    def followed(strength: float, complete: int, order: Sequence[int] = range(8)) -> int:
        """For how many excerpts a trial is followed after so many complete ones with strengths from 1 to 2."""
        study = optuna.create_study(direction="maximize", pruner=make_pruner("predictive", 8))
        for known in np.linspace(1.0, 2.0, complete):
            values = known * shape + noise.normal(0, 0.01, 8)
            study.add_trial(
                optuna.trial.create_trial(
                    params={"strength": known},
                    distributions={"strength": optuna.distributions.FloatDistribution(0, 9)},
                    value=values.mean(),
                    intermediate_values=dict(enumerate(values)),
                )
            )
        trial = study.ask()
        for count, excerpt in enumerate(order, 1):
            trial.report(strength * shape[excerpt], excerpt)
            if trial.should_prune():
                return count
        return 8

    # On the first four excerpts it beats the best one; the more is known, the sooner it is seen what is to come.
    assert followed(0.5, 200) < followed(0.5, LEARN_FROM) < followed(0.5, LEARN_FROM - 1) == 8
    assert followed(2.5, 200, order=[4, 5, 6, 7, 0, 1, 2, 3]) == 8

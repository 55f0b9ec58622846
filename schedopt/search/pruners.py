"""Pruners end a trial before it has seen all excerpts: Optuna's, and two that compare excerpt by excerpt."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.pruners import BasePruner
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

WARM_UP_TRIALS = 5
"""Finished trials that running-mean pruners wait for before they compare."""

P_THRESHOLD = 0.2
"""A trial is given up once it is worse than the best at this level, which three excerpts can reach (p = 1/8)."""

CHANCE = 0.2
LEARN_FROM = 12
"""For `PredictivePruner`; chosen by `python -m benchmarks.pruners`."""


class PairedPruner(BasePruner):
    """Gives a trial up once Wilcoxon's signed-rank test says that it is worse than the best one on the same excerpts.

    As Optuna's `WilcoxonPruner`, with two differences that schedules need. Excerpts with equal values are left out:
    schedules that begin alike have them, they say nothing about which is better, and the exact test over ties takes
    seconds. And the mean that guards the verdict is that of the differences: Optuna compares the trial's mean so far
    with the best one's mean over all excerpts, which says more about which excerpts came first.
    """

    def prune(self, study: Study, trial: FrozenTrial) -> bool:
        try:
            best = study.best_trial.intermediate_values
        except ValueError:  # no completed trial yet
            return False
        pairs = ((value, best[step]) for step, value in trial.intermediate_values.items() if step in best)
        differences = [value - other for value, other in pairs if value != other]
        if len(differences) < 2 or not np.all(np.isfinite(differences)) or np.mean(differences) >= 0:
            return False
        # Here, since it takes a second of every command's start.
        import scipy.stats

        return bool(scipy.stats.wilcoxon(differences, alternative="less").pvalue < P_THRESHOLD)


class PredictivePruner(BasePruner):
    """Gives a trial up once its mean over all excerpts will hardly exceed the best one's, as `PairedPruner` before.

    Good schedules differ by hundredths of a dB in the mean and by tenths on an excerpt, so that a test of the
    differences seen so far asks for nearly all excerpts. But schedules that are alike on some excerpts are alike on the
    others too: what the complete trials scored says how excerpts go together, hence what is to be expected of the
    excerpts to come (`predicted_mean`). Costs no pass.

    Args:
        excerpts: how many of them a complete trial has reported.
        chance: a trial ends where the probability that it will be the best is smaller.
        learn_from: complete trials from which on excerpts are predicted.
    """

    def __init__(self, excerpts: int, chance: float = CHANCE, learn_from: int = LEARN_FROM) -> None:
        self._excerpts = excerpts
        self._chance = chance
        self._learn_from = learn_from
        self._paired = PairedPruner()

    def prune(self, study: Study, trial: FrozenTrial) -> bool:
        if self._paired.prune(study, trial):
            return True
        complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        # One of each kind: a sampler proposes the best again and again, which makes it no surer.
        distinct = {tuple(sorted(one.params.items())): one.intermediate_values for one in complete}
        whole = [values for values in distinct.values() if len(values) == self._excerpts]
        if len(whole) < self._learn_from or len(trial.intermediate_values) < 2:
            return False
        known = np.array([[values[excerpt] for excerpt in sorted(values)] for values in whole])
        seen = np.array([trial.intermediate_values.get(excerpt, math.nan) for excerpt in sorted(whole[0])])
        if not np.all(np.isfinite(known)) or np.any(np.isinf(seen)):
            return False
        # Here, since it takes a second of every command's start.
        import scipy.stats

        mean, scale, freedom = predicted_mean(known, seen)
        best = known.mean(axis=1).max()
        return scale > 0 and bool(scipy.stats.t.sf((best - mean) / scale, freedom) < self._chance)


def predicted_mean(known: NDArray[np.float64], seen: NDArray[np.float64]) -> tuple[float, float, int]:
    """What a trial's mean over all excerpts will be, from those seen.

    Trials are taken as draws from a multivariate t distribution over excerpts. Its covariance is that of the known
    trials, shrunk towards equal variances and equal covariances by E / (E + trials), as there are few trials for
    so many excerpts.

    Args:
        known: (trials, E), values of complete trials; at least two.
        seen: (E,), values of the trial in question; NaN where it has none.

    Returns:
        Location, scale and degrees of freedom of the t distribution of its mean; of scale 0 if the known trials are
        all equal.
    """
    trials, count = known.shape
    center = known.mean(axis=0)
    covariance = np.cov(known, rowvar=False).reshape(count, count)
    variance = np.trace(covariance) / count
    common = max(0.0, (covariance.sum() - np.trace(covariance)) / max(1, count * (count - 1)))
    plain = np.full((count, count), common)
    # A little more, since excerpts that are all alike make it singular.
    np.fill_diagonal(plain, variance * (1 + 1e-9))
    covariance += count / (count + trials) * (plain - covariance)
    there = np.isfinite(seen)
    freedom = trials - 1 + int(there.sum())
    if variance == 0:
        return float(center.mean()), 0.0, freedom
    off = seen[there] - center[there]
    # The mean's covariance with each value seen, and what is left of its variance once those are known.
    with_mean = covariance[:, there].mean(axis=0)
    weights, surprise = np.linalg.solve(covariance[np.ix_(there, there)], np.stack([with_mean, off], axis=1)).T
    left = max(0.0, float(covariance.mean() - weights @ with_mean))
    # Values far off what is known are evidence that the spread is larger.
    left *= (trials - 1 + float(off @ surprise)) / freedom
    return float(center.mean() + weights @ off), math.sqrt(left), freedom


def make_pruner(name: str, excerpts: int) -> BasePruner:
    """The pruner that `[search] pruner` names, for trials that report after each of `excerpts` excerpts."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        if name == "predictive":
            return PredictivePruner(excerpts)
        if name == "wilcoxon":
            return PairedPruner()
        if name == "median":
            return optuna.pruners.MedianPruner(n_startup_trials=WARM_UP_TRIALS, n_warmup_steps=1)
        if name == "percentile":
            return optuna.pruners.PercentilePruner(25.0, n_startup_trials=WARM_UP_TRIALS, n_warmup_steps=1)
        if name == "successive-halving":
            return optuna.pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=2)
        if name == "hyperband":
            return optuna.pruners.HyperbandPruner(min_resource=1, max_resource=max(1, excerpts), reduction_factor=2)
        return optuna.pruners.NopPruner()


def pairs_excerpts(pruner: str) -> bool:
    """Whether the pruner wants one value an excerpt (paired by its id) rather than the running mean."""
    return pruner in ("predictive", "wilcoxon")


def paired_value(study: Study, values: Mapping[int, float]) -> float:
    """What a trial with these `values` by excerpt would score on all of them, if it fell behind the best one everywhere
    as it does on these. (The mean of `values` would say which excerpts came first.)"""
    try:
        best = study.best_trial
    except ValueError:  # no completed trial yet
        return float(np.mean(list(values.values())))
    apart = [
        value - best.intermediate_values[step] for step, value in values.items() if step in best.intermediate_values
    ]
    return study.best_value + float(np.mean(apart or [0.0]))

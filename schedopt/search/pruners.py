"""Pruners end a trial before it has seen all excerpts: Optuna's, and two that compare excerpt by excerpt.

Those two look at what `schedopt.search.selection` looks at: the lower bound of the gain over β = 0 by track, or the
mean score where the study selects by that.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy  # its parts are loaded at their first use
from numpy.typing import NDArray
from optuna.pruners import BasePruner
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from schedopt.errors import ConfigError
from schedopt.optuna_classes import build
from schedopt.search.selection import chosen, lower_bound
from schedopt.search.summary import zeros_by_track
from schedopt.search_options import SearchOptions

Array = NDArray[np.float64]

WARM_UP_TRIALS = 5
"""Finished trials that running-mean pruners wait for before they compare."""

P_THRESHOLD = 0.1
"""A trial is pruned once it is worse than the selected one at this level, which four excerpts can reach (p = 1/16)."""

CHANCE = 0.05
LEARN_FROM = 12
"""For `PredictivePruner`; chosen by `python -m benchmarks.pruners`."""

DRAWS = 400
"""Completions of a trial from which its chance is read: a standard error of 0.02 at a chance of 0.2."""


@dataclass(frozen=True)
class Prediction:
    """The values of a trial over all excerpts, from those seen: (E,) in dB, their covariance (E, E) in dB² (zero where
    seen), and the degrees of freedom of the t distribution that they follow."""

    values: Array
    covariance: Array
    freedom: int

    @property
    def mean(self) -> float:
        return float(self.values.mean())

    @property
    def error(self) -> float:
        """Scale of the mean's t distribution, dB."""
        return math.sqrt(max(0.0, float(self.covariance.mean())))

    def draws(self) -> Array:
        """(DRAWS, E); the same ones every time."""
        rng = np.random.default_rng(0)
        spread = np.sqrt(self.freedom / rng.chisquare(self.freedom, DRAWS))
        open_ = np.flatnonzero(np.diag(self.covariance) > 0)
        inner = self.covariance[np.ix_(open_, open_)]
        root = np.linalg.cholesky(inner + 1e-9 * np.diag(np.diag(inner)))
        drawn = np.repeat(self.values[None], DRAWS, axis=0)
        drawn[:, open_] += spread[:, None] * (rng.standard_normal((DRAWS, len(open_))) @ root.T)
        return drawn


class Predictor:
    """How a trial's values on some excerpts tell those on the others.

    Trials are taken as draws from a multivariate t distribution over excerpts. Its covariance is that of the known
    trials, shrunk towards equal variances and equal covariances by E / (E + trials), as there are few trials for
    so many excerpts.

    Args:
        known: (trials, E), values of complete trials in dB; at least two.
    """

    def __init__(self, known: Array) -> None:
        self._trials, count = known.shape
        self._center = known.mean(axis=0)
        covariance = np.cov(known, rowvar=False).reshape(count, count)
        variance = float(np.trace(covariance)) / count
        common = max(0.0, (covariance.sum() - np.trace(covariance)) / max(1, count * (count - 1)))
        plain = np.full((count, count), common)
        # A little more, since excerpts that are all alike make it singular.
        np.fill_diagonal(plain, variance * (1 + 1e-9))
        self._covariance = np.asarray(covariance + count / (count + self._trials) * (plain - covariance))
        self._equal = variance == 0

    def __call__(self, seen: Array) -> Prediction:
        """`seen` (E,): values of the trial in question; NaN where it has none."""
        there = np.isfinite(seen)
        freedom = self._trials - 1 + int(there.sum())
        values = np.where(there, seen, self._center)
        left = np.zeros_like(self._covariance)
        if self._equal:
            return Prediction(self._center, left, freedom)
        inner = self._covariance[np.ix_(there, there)]
        cross = self._covariance[np.ix_(~there, there)]
        off = seen[there] - self._center[there]
        solved = scipy.linalg.solve(inner, np.column_stack([cross.T, off]), assume_a="pos")
        weights, surprise = solved[:, :-1].T, solved[:, -1]
        values[~there] += weights @ off
        # Values far off what is known are evidence that the spread is larger.
        wider = (self._trials - 1 + float(off @ surprise)) / freedom
        rest = self._covariance[np.ix_(~there, ~there)] - weights @ cross.T
        left[np.ix_(~there, ~there)] = wider * (rest + rest.T) / 2
        return Prediction(values, left, freedom)


@dataclass(frozen=True)
class Rival:
    """What a trial has to be better than: values of the selected trial by excerpt, and β = 0 by track; dB.

    `tracks` (E, tracks) averages excerpts of a track; `zeros` is None where the mean score is what counts.
    """

    values: Mapping[int, float]
    tracks: Array
    zeros: Array | None

    def worth(self, values: Array) -> Array:
        """What selection looks at, of values (…, excerpts seen by `tracks`): lower bound or mean, (…), dB."""
        by_track = values @ self.tracks
        return np.asarray(by_track.mean(axis=-1)) if self.zeros is None else lower_bound(by_track - self.zeros)

    def among(self, excerpts: Sequence[int]) -> Rival:
        """The same for trials that have seen these excerpts only."""
        part = self.tracks[list(excerpts)]
        audible = part.sum(axis=0) > 0
        part = part[:, audible] / part[:, audible].sum(axis=0)
        return Rival(self.values, part, None if self.zeros is None else self.zeros[audible])


class PairedPruner(BasePruner):
    """Prunes a trial once Wilcoxon's signed-rank test says that it is worse than the selected one on the same excerpts,
    and what selection looks at is lower on them.

    As Optuna's `WilcoxonPruner`, with three differences that schedules need. Excerpts with equal values are left out:
    schedules that begin alike have them, they say nothing about which is better, and the exact test over ties takes
    seconds. The mean that guards the verdict is that of the differences: Optuna compares the trial's mean so far
    with the best one's mean over all excerpts, which says more about which excerpts came first. And the rival is the
    selected trial, to which a surer trial with a lower mean may be preferred.

    The study is read once a trial: what others finish in the meantime counts from the next one on.

    Args:
        tracks: the track of each excerpt, in the order of their steps.
    """

    def __init__(self, tracks: Sequence[str]) -> None:
        names = sorted(set(tracks))
        shares = np.array([[track == name for name in names] for track in tracks], dtype=np.float64)
        self._tracks = shares / shares.sum(axis=0)
        self._read_at: tuple[int, int] | None = None
        self._rival: Rival | None = None

    def prune(self, study: Study, trial: FrozenTrial) -> bool:
        self._read_once(study, trial)
        return self._rival is not None and _is_worse(self._rival, trial.intermediate_values)

    def _read_once(self, study: Study, trial: FrozenTrial) -> None:
        at = (study._study_id, trial.number)
        if at != self._read_at:
            self._read(study)
            self._read_at = at

    def _read(self, study: Study) -> list[FrozenTrial]:
        """Find the rival; the complete trials."""
        complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        zeros = zeros_by_track(study)
        if zeros is None or len(zeros) != self._tracks.shape[1]:
            rival, reference = max(complete, key=lambda t: (t.values[0], -t.number), default=None), None
        else:
            start = study.user_attrs.get("baseline", {}).get("value", 0.0)
            rival, reference = chosen(complete, zeros), start + np.array(zeros)
        self._rival = None if rival is None else Rival(rival.intermediate_values, self._tracks, reference)
        return complete


class PredictivePruner(PairedPruner):
    """Prunes a trial that is unlikely to be selected once it has seen all excerpts, or that `PairedPruner` prunes.

    Good schedules differ by hundredths of a dB in the mean and by tenths on an excerpt, so that a test of the
    differences seen so far asks for nearly all excerpts. But schedules that are alike on some excerpts are alike on the
    others too: what the complete trials scored says how excerpts go together, hence what is to be expected of the
    excerpts to come (`Predictor`). Costs no pass.

    Args:
        tracks: the track of each excerpt, in the order of their steps.
        chance: a trial ends where the probability that it will be selected is smaller.
        learn_from: complete trials from which on excerpts are predicted.
    """

    def __init__(self, tracks: Sequence[str], chance: float = CHANCE, learn_from: int = LEARN_FROM) -> None:
        super().__init__(tracks)
        self._chance = chance
        self._learn_from = learn_from
        self._predictor: Predictor | None = None
        self._bar = -math.inf

    def prune(self, study: Study, trial: FrozenTrial) -> bool:
        if super().prune(study, trial):
            return True
        seen = _by_excerpt(trial.intermediate_values, len(self._tracks))
        if self._predictor is None or self._rival is None or len(trial.intermediate_values) < 2:
            return False
        prediction = self._predictor(seen)
        if np.any(np.isinf(seen)) or prediction.error == 0:
            return False
        return bool(np.mean(self._rival.worth(prediction.draws()) > self._bar) < self._chance)

    def _read(self, study: Study) -> list[FrozenTrial]:
        complete = super()._read(study)
        known = _whole(complete, len(self._tracks))
        ready = self._rival is not None and len(self._rival.values) == len(self._tracks)
        self._predictor = Predictor(known) if ready and len(known) >= self._learn_from else None
        if self._rival is not None and self._predictor is not None:
            self._bar = float(self._rival.worth(_by_excerpt(self._rival.values, len(self._tracks))))
        return complete


def _is_worse(rival: Rival, values: Mapping[int, float]) -> bool:
    """Whether `values` by excerpt are lower than those of the rival, and so is their worth."""
    shared = [excerpt for excerpt in sorted(values) if excerpt in rival.values]
    mine, others = (np.array([one[excerpt] for excerpt in shared]) for one in (values, rival.values))
    differences = (mine - others)[mine != others]
    if len(differences) < 2 or not np.all(np.isfinite(differences)) or differences.mean() >= 0:
        return False
    if scipy.stats.wilcoxon(differences, alternative="less").pvalue >= P_THRESHOLD:
        return False
    seen = rival.among(shared)
    if not seen.worth(mine) < seen.worth(others):
        return False
    # The rival may owe its lead on these excerpts to luck that the others took back.
    whole = _by_excerpt(rival.values, len(rival.tracks))
    return not np.isfinite(whole).all() or bool(seen.worth(mine) < rival.worth(whole))


def _by_excerpt(values: Mapping[int, float], excerpts: int) -> Array:
    return np.array([values.get(excerpt, math.nan) for excerpt in range(excerpts)], dtype=np.float64)


def _whole(complete: Sequence[FrozenTrial], excerpts: int) -> Array:
    """(trials, excerpts): values of those that have all of them, finite; equal ones once."""
    found = np.array([_by_excerpt(one.intermediate_values, excerpts) for one in complete]).reshape(-1, excerpts)
    # Schedules with equal scores (of which the same prefix counts, say) make it no surer.
    return np.unique(np.round(found[np.isfinite(found).all(axis=1)], 9), axis=0)


def expected(study: Study, values: Mapping[int, float], excerpts: int) -> tuple[float, float | None]:
    """Score in dB that a trial with these `values` by excerpt would have on all `excerpts`, and its standard error.

    Until two trials have been scored on all of them, it is taken to fall behind the best one everywhere as it does on
    these (the mean of `values` would say which excerpts came first); the error is not known then.
    """
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    known = _whole(complete, excerpts)
    if len(known) >= 2:
        prediction = Predictor(known)(_by_excerpt(values, excerpts))
        return prediction.mean, prediction.error
    best = max(complete, key=lambda t: (t.values[0], -t.number), default=None)
    if best is None:
        return float(np.mean(list(values.values()))), None
    apart = [
        value - best.intermediate_values[step] for step, value in values.items() if step in best.intermediate_values
    ]
    return float(best.values[0] + np.mean(apart or [0.0])), None


def make_pruner(search: SearchOptions, tracks: Sequence[str]) -> BasePruner:
    """The pruner that `[search] pruner` names, for trials that report after each excerpt; `tracks` are theirs.

    Raises:
        ConfigError: the pruner refuses its options.
    """
    name = search.pruner
    if name in ("predictive", "wilcoxon"):
        return PredictivePruner(tracks) if name == "predictive" else PairedPruner(tracks)
    defaults: dict[str, Any] = {}
    if name in ("median", "percentile"):
        defaults = {"percentile": 25.0, "n_startup_trials": WARM_UP_TRIALS, "n_warmup_steps": 1}
    if name in ("successive-halving", "hyperband"):
        defaults = {"min_resource": 1, "max_resource": max(1, len(tracks)), "reduction_factor": 2}
    try:
        made: BasePruner = build("pruner", name, search.pruner_options, defaults)
    except ValueError as error:
        raise ConfigError(f"search.pruner_options: {error}") from None
    return made


def pairs_excerpts(pruner: str) -> bool:
    """Whether the pruner wants one value an excerpt (paired by its id) rather than the running mean."""
    return pruner in ("predictive", "wilcoxon", "WilcoxonPruner")

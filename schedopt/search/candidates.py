"""The schedules that a study may score: all of a small family, drawn ones of a large one, and those not scored yet."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import FloatDistribution
from optuna.trial import FrozenTrial, TrialState

from schedopt.errors import ScheduleError
from schedopt.schedules import Family, Schedule
from schedopt.search.space import distributions

Array = NDArray[np.float64]

MOST_ENUMERATED = 4000
"""Points of a grid up to which a family is small: all its schedules are looked at."""

NEAR = np.array([-0.03, -0.01, 0.01, 0.03])


@dataclass(frozen=True)
class Pool:
    """Schedules, each once: their parameters (P, d) in the order of the space, and their β (P, N)."""

    params: Array
    betas: Array

    def __len__(self) -> int:
        return len(self.params)

    def of(self, index: NDArray[Any]) -> Pool:
        return Pool(self.params[index], self.betas[index])


class Candidates:
    """The schedules of `family` at `resolution`."""

    def __init__(self, family: Family, resolution: float) -> None:
        self.family = family
        self.resolution = resolution
        self.space: dict[str, FloatDistribution] = distributions(family, resolution)
        # Every trial's is asked for several times in each later trial.
        self._made: dict[tuple[float, ...], Schedule] = {}

    @cached_property
    def all(self) -> Pool | None:
        """Every schedule of a small family; None of a large one."""
        levels = [_levels(one) for one in self.space.values()]
        if any(found is None for found in levels) or math.prod(len(found or ()) for found in levels) > MOST_ENUMERATED:
            return None
        return self.pool(np.array(list(itertools.product(*(found or () for found in levels)))))

    def pool(self, params: Array) -> Pool:
        """The schedules that parameters (P, d) give; of equal ones the first."""
        betas = self.family.make_all(params, self.resolution)
        _, first = np.unique(keys(betas), return_index=True)
        return Pool(params, betas).of(np.sort(first))

    def named(self, params: Array) -> dict[str, float]:
        return dict(zip(self.space, params.tolist(), strict=True))

    def schedule_of(self, trial: FrozenTrial) -> Schedule | None:
        """The whole schedule that a trial has, or, queued, will have; None where that is not known."""
        fixed = trial.system_attrs.get("fixed_params", {}) if trial.state == TrialState.WAITING else {}
        given = {**fixed, **trial.params}
        try:
            params = {name: given[name] for name in self.space}
            key = tuple(params.values())
            if key not in self._made:
                self._made[key] = self.family.make(params, self.resolution)
            return self._made[key]
        except (ScheduleError, KeyError, TypeError):
            return None

    def taken(self, trials: Iterable[FrozenTrial]) -> Array:
        """Schedules (M, N) of trials that are finished, running or queued."""
        found = [self.schedule_of(trial) for trial in trials if trial.state != TrialState.FAIL]
        return np.array([one for one in found if one is not None], dtype=np.float64).reshape(-1, self.family.steps)

    def draw(self, rng: np.random.Generator, count: int) -> Array:
        return np.stack([at(one, rng.random(count)) for one in self.space.values()], axis=1)

    def around(self, params: Array) -> Array:
        """`params` (d,) with one of them changed: to values all over its range, or a little."""
        moved = []
        for index, one in enumerate(self.space.values()):
            shares = np.concatenate([np.linspace(0, 1, 11), _share(one, params[index]) + NEAR])
            copies = np.repeat(params[None], len(shares), axis=0)
            copies[:, index] = at(one, shares)
            moved.append(copies)
        return np.concatenate(moved)

    def nearest_fresh(self, params: dict[str, Any], trials: Iterable[FrozenTrial]) -> dict[str, float]:
        """`params`, or where their schedule is taken, those of the nearest one that is not (as far as is looked)."""
        wanted, taken = self.pool(np.array([[float(params[name]) for name in self.space]])), self.taken(trials)
        if len(fresh(wanted, taken)):
            return self.named(wanted.params[0])
        left = fresh(self.pool(self.around(wanted.params[0])) if self.all is None else self.all, taken)
        if not len(left):
            return self.named(wanted.params[0])
        apart = np.abs(left.betas - wanted.betas).sum(axis=1)
        return self.named(left.params[int(apart.argmin())])


def fresh(pool: Pool, taken: Array) -> Pool:
    """What is left of `pool` without the schedules `taken` (M, N)."""
    return pool.of(np.flatnonzero(~np.isin(keys(pool.betas), keys(taken))))


def keys(schedules: Array) -> NDArray[np.int64]:
    """(P, N) → (P,): a number for each row, equal where the rows are."""
    odd = np.random.default_rng(0).integers(2**62, size=schedules.shape[-1]) * 2 + 1
    return np.asarray(np.rint(schedules * 1e6).astype(np.int64) @ odd)


def at(one: FloatDistribution, share: Array) -> Array:
    """Values at a `share` of the parameter's range, 0 … 1, on its grid."""
    share = np.clip(share, 0, 1)
    if one.log:
        return np.clip(one.low * (one.high / one.low) ** share, one.low, one.high)
    values = one.low + share * (one.high - one.low)
    if one.step is not None:
        values = np.round(one.low + np.rint((values - one.low) / one.step) * one.step, 10)
    return np.clip(values, one.low, one.high)


def _share(one: FloatDistribution, value: float) -> float:
    if one.low == one.high:
        return 0.0
    if one.log:
        return math.log(value / one.low) / math.log(one.high / one.low)
    return (value - one.low) / (one.high - one.low)


def _levels(one: FloatDistribution) -> Sequence[float] | None:
    """The values of a parameter that has finitely many."""
    if one.low == one.high:
        return [one.low]
    if one.step is None:
        return None
    return [round(one.low + k * one.step, 10) for k in range(round((one.high - one.low) / one.step) + 1)]

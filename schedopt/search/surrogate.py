"""The sampler `surrogate`, experimental: proposes the schedule with the highest expected improvement per pass.

Each scored schedule gives the scores of its prefixes as well. Under rules that mix the last estimate into the mixture
(`chained`) a step with β = 0 is the plain pass again, so that β_1 … β_n and 0 … 0 β_1 … β_n are the same node: one
model (`Surface`) learns from all prefixes of all trials, and passes that were run are not paid twice. Pruned trials
count with their predicted mean and its standard error, running ones with what the model expects of them. Small families
are enumerated; no schedule is proposed that was scored before.

Source: expected improvement per unit cost, Snoek, Larochelle & Adams, NIPS 2012, section 3.2.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import scipy.special
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution, FloatDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from schedopt.errors import ScheduleError
from schedopt.schedules import Family, line, zeros
from schedopt.search.space import distributions
from schedopt.search.surface import Array, Surface

MOST_ENUMERATED = 4000
"""Points of a grid up to which all are looked at; else as many as `DRAWN` and what lies around the best of them."""

DRAWN = 1500
ROUNDS = 4
STARTS = 8

OVERHEAD = 0.3
"""Cost of a trial beside its passes, in passes: of two schedules that cost nothing the better one goes first."""

START_WITH_MIDDLE = 3
"""The third schedule is the middle of the family: with β = 0 and the line n/N, the points of a first parabola."""

MOST_NODES = 500
"""Scores that the model learns from: the cost of a proposal grows with their cube."""

UNKNOWN_ERROR = 0.05
"""Standard error in dB of a pruned trial that reported no error of its prediction."""


@dataclass(frozen=True)
class Candidates:
    """Parameters (P, d) and what their schedules cost: `nodes` are (P, N, N), the prefixes of each."""

    params: Array
    nodes: Array

    def of(self, index: NDArray[Any]) -> Candidates:
        return Candidates(self.params[index], self.nodes[index])


@dataclass(frozen=True)
class Known:
    """What a study's trials tell: nodes with their scores and errors in dB, keys of what was scored or is running."""

    surface: Surface | None
    best: float
    start: float
    nodes: NDArray[np.int64]
    schedules: NDArray[np.int64]
    chained: bool
    count: int


class Surrogate:
    """Schedules of `family` and what is known of their scores in a study.

    Args:
        chained: β = 0 gives the plain pass again, so that only what follows the last 0 counts.
        choose_steps: a trial's value is that of its best prefix.
    """

    def __init__(self, family: Family, resolution: float, *, chained: bool, choose_steps: bool) -> None:
        self.family = family
        self.resolution = resolution
        self.chained = chained
        self.choose_steps = choose_steps
        self.space: dict[str, FloatDistribution] = distributions(family, resolution)

    def propose(self, study: Study, number: int, rng: np.random.Generator) -> dict[str, float] | None:
        """Parameters of the trial `number`; None where every schedule has been scored."""
        known = self.known(study, number)
        best, best_worth = None, -math.inf
        if known.surface is not None and len(known.schedules) < START_WITH_MIDDLE:
            middle = self._fresh(self._candidates([[float(_at(one, HALF)[0]) for one in self.space.values()]]), known)
            if len(middle.params):
                return dict(zip(self.space, map(float, middle.params[0]), strict=True))
        for candidates in self._search(known, rng, self._worth):
            worth = self._worth(known, candidates)
            index = int(worth.argmax())
            if worth[index] > best_worth:
                best, best_worth = candidates.params[index], float(worth[index])
        return None if best is None else dict(zip(self.space, map(float, best), strict=True))

    def is_exhausted(self, study: Study) -> bool:
        """Whether the family is small and none of its schedules is left."""
        return self.all is not None and len(self._fresh(self.all, self.known(study, None, learn=False)).params) == 0

    @cached_property
    def all(self) -> Candidates | None:
        """Every schedule of the family once, where these are few."""
        levels = [_levels(one) for one in self.space.values()]
        if any(found is None for found in levels) or math.prod(len(found or ()) for found in levels) > MOST_ENUMERATED:
            return None
        return self._candidates(itertools.product(*(found for found in levels if found is not None)))

    def known(self, study: Study, number: int | None, *, learn: bool = True) -> Known:
        """What the trials of `study` other than `number` tell; without `learn`, only what was scored."""
        trials = [t for t in study.get_trials(deepcopy=False) if t.number != number]
        chained = self.chained and any("by_step" in t.user_attrs for t in trials)
        schedules = [(t, s) for t in trials if (s := self._schedule(t)) is not None]
        taken = [s for t, s in schedules if t.state != TrialState.FAIL]
        x = np.array(taken, dtype=np.float64).reshape(-1, self.family.steps)
        nodes = [prefixes(x, chained).reshape(-1, self.family.steps)]
        if chained:
            nodes.append(np.zeros((1, self.family.steps)))
        measured = self._measured(study, schedules, chained) if learn else {}
        surface = None
        start = best = math.nan
        if measured:
            at, (values, errors) = np.array(list(measured)), np.array(list(measured.values())).T
            start = measured.get(zeros(self.family.steps), (math.nan, 0.0))[0]
            best = float(values[errors == 0].max(initial=-math.inf))
            best = float(values.max()) if best == -math.inf else best
            surface = _learnt(at, values, errors, self._running(schedules, chained))
        return Known(surface, best, start, keys(np.concatenate(nodes)), keys(x), chained, len(measured))

    def _measured(
        self, study: Study, schedules: Sequence[tuple[FrozenTrial, Sequence[float]]], chained: bool
    ) -> dict[tuple[float, ...], tuple[float, float]]:
        """Node → score and standard error in dB, of finished trials and of the study's references."""
        found: dict[tuple[float, ...], tuple[float, float]] = {}

        def add(schedule: Sequence[float], by_step: Any, value: Any, error: float) -> None:
            values = by_step if chained and by_step is not None and len(by_step) == len(schedule) + 1 else None
            nodes = prefixes(np.array([schedule], dtype=np.float64), chained)[0]
            pairs = zip(nodes, values[1:], strict=True) if values else [(nodes[-1], value)]
            if values and error == 0:
                found.setdefault(zeros(len(schedule)), (float(values[0]), 0.0))
            for node, score in pairs:
                key = tuple(node.tolist())
                if score is not None and math.isfinite(score) and error <= found.get(key, (0.0, math.inf))[1]:
                    found[key] = float(score), error

        attrs = study.user_attrs
        for name, betas in (("zeros", zeros(self.family.steps)), ("line", line(self.family.steps))):
            if "value" in attrs.get(name, {}) and (chained or name == "zeros"):
                add(betas, attrs[name].get("by_step"), attrs[name]["value"], 0.0)
        for trial, schedule in schedules:
            if trial.state == TrialState.COMPLETE:
                add(schedule, trial.user_attrs.get("by_step"), trial.values[0], 0.0)
            elif trial.state == TrialState.PRUNED and trial.intermediate_values:
                predicted = trial.user_attrs.get("predicted", {})
                last = trial.intermediate_values[max(trial.intermediate_values)]
                error = predicted.get("error")
                add(schedule, predicted.get("by_step"), last, UNKNOWN_ERROR if error is None else float(error))
        return found

    def _running(self, schedules: Sequence[tuple[FrozenTrial, Sequence[float]]], chained: bool) -> Array:
        x = [s for t, s in schedules if t.state in (TrialState.RUNNING, TrialState.WAITING)]
        nodes = prefixes(np.array(x, dtype=np.float64).reshape(-1, self.family.steps), chained)
        return np.asarray((nodes if chained else nodes[:, -1:]).reshape(-1, self.family.steps))

    def _schedule(self, trial: FrozenTrial) -> Sequence[float] | None:
        fixed = trial.system_attrs.get("fixed_params", {}) if trial.state == TrialState.WAITING else {}
        params = {name: {**fixed, **trial.params}.get(name) for name in self.space}
        try:
            return self.family.make(params, self.resolution)  # type: ignore[arg-type]
        except (ScheduleError, TypeError):
            return None

    def _search(self, known: Known, rng: np.random.Generator, worth: Any) -> Iterable[Candidates]:
        """All schedules that are left, in random order; of large families drawn ones, then those around the best."""
        if self.all is not None:
            fresh = self._fresh(self.all, known)
            if len(fresh.params):
                yield fresh.of(rng.permutation(len(fresh.params)))
            return
        pool = self._fresh(self._candidates(self._draw(rng, DRAWN)), known)
        for _ in range(ROUNDS if known.surface is not None else 0):
            if not len(pool.params):
                return
            top = pool.of(np.argsort(-worth(known, pool))[:STARTS])
            around = (move for params in top.params for move in self._moves(params))
            near = self._candidates(itertools.chain(map(tuple, top.params.tolist()), around))
            pool = self._fresh(near, known)
        if len(pool.params):
            yield pool

    def _worth(self, known: Known, candidates: Candidates) -> Array:
        """Expected improvement over the best score in dB, per pass and excerpt."""
        if known.surface is None:
            return np.zeros(len(candidates.params))
        mean, deviation = self._predict(known, candidates)
        z = (mean - known.best) / deviation
        density = np.exp(-0.5 * z**2) / math.sqrt(2 * math.pi)
        improvement = (deviation * (z * scipy.special.ndtr(z) + density)).max(axis=1)
        return np.asarray(improvement / (self._cost(known, candidates) + OVERHEAD))

    def _predict(self, known: Known, candidates: Candidates) -> tuple[Array, Array]:
        """Mean and deviation of the nodes that a trial's value may be: (P, N) or (P, 1)."""
        assert known.surface is not None
        nodes = candidates.nodes if known.chained and self.choose_steps else candidates.nodes[:, -1:]
        mean, deviation = known.surface.predict(nodes.reshape(-1, nodes.shape[-1]))
        return mean.reshape(nodes.shape[:2]), deviation.reshape(nodes.shape[:2])

    def _cost(self, known: Known, candidates: Candidates) -> NDArray[np.int64]:
        """Passes an excerpt that were not run yet."""
        found = keys(candidates.nodes.reshape(-1, candidates.nodes.shape[-1])).reshape(candidates.nodes.shape[:2])
        return np.asarray((~np.isin(found, known.nodes)).sum(axis=1))

    def _fresh(self, candidates: Candidates, known: Known) -> Candidates:
        """Those not scored yet; a trial that chooses its best prefix must hold a node that is new."""
        if known.chained != self.chained:
            candidates = Candidates(candidates.params, self._nodes(candidates.params, known.chained))
        new = ~np.isin(keys(self._betas(candidates.params)), known.schedules)
        if known.chained and self.choose_steps:
            new &= self._cost(known, candidates) > 0
        return candidates.of(np.flatnonzero(new))

    def _candidates(self, params: Iterable[Sequence[float]]) -> Candidates:
        """Each schedule once."""
        points = np.array(list(params), dtype=np.float64).reshape(-1, len(self.space))
        _, first = np.unique(keys(self._betas(points)), return_index=True)
        points = points[np.sort(first)]
        return Candidates(points, self._nodes(points, self.chained))

    def _nodes(self, params: Array, chained: bool) -> Array:
        return prefixes(self._betas(params), chained)

    def _betas(self, params: Array) -> Array:
        made = [self.family.make(dict(zip(self.space, p, strict=True)), self.resolution) for p in params.tolist()]
        return np.array(made, dtype=np.float64).reshape(-1, self.family.steps)

    def _draw(self, rng: np.random.Generator, count: int) -> Iterable[Sequence[float]]:
        columns = [_at(one, rng.random(count)) for one in self.space.values()]
        return [tuple(row) for row in np.stack(columns, axis=1).tolist()]

    def _moves(self, params: Array) -> Iterable[Sequence[float]]:
        """`params` with one of them changed: to values all over its range, or a little."""
        for index, one in enumerate(self.space.values()):
            for value in _at(one, np.concatenate([np.linspace(0, 1, 11), _share(one, params[index]) + NEAR])):
                yield (*params[:index].tolist(), float(value), *params[index + 1 :].tolist())


NEAR = np.array([-0.03, -0.01, 0.01, 0.03])
HALF = np.array([0.5])


class SurrogateSampler(BaseSampler):
    """An Optuna sampler that proposes what `Surrogate` does; parameters of other objectives are drawn at random."""

    def __init__(self, surrogate: Surrogate, seed: int) -> None:
        self._surrogate = surrogate
        self._rng = np.random.default_rng(seed)
        self._random = RandomSampler(seed=seed)

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return dict(self._surrogate.space)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        return self._surrogate.propose(study, trial.number, self._rng) or {}

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        return self._random.sample_independent(study, trial, param_name, param_distribution)


def prefixes(schedules: Array, chained: bool) -> Array:
    """(P, N) → (P, N, N): the node after each step n. Chained: what follows its last β = 0, filled with zeros from the
    left; else β_1 … β_n, filled with −1 from the right."""
    count, steps = schedules.shape
    found = np.zeros((count, steps, steps)) if chained else np.full((count, steps, steps), -1.0)
    for n in range(1, steps + 1):
        if chained:
            found[:, n - 1, steps - n :] = schedules[:, :n]
        else:
            found[:, n - 1, :n] = schedules[:, :n]
    if chained:
        found *= np.cumprod(found[..., ::-1] != 0, axis=-1)[..., ::-1]
    return found


def keys(nodes: Array) -> NDArray[np.int64]:
    """(P, N) → (P,): a number for each node, equal where the nodes are."""
    odd = np.random.default_rng(0).integers(2**62, size=nodes.shape[-1]) * 2 + 1
    return np.asarray(np.rint(nodes * 1e6).astype(np.int64) @ odd)


def _learnt(at: Array, values: Array, errors: Array, running: Array) -> Surface:
    """The model of the scores; of very many, the better half of what it may hold and an even choice of the others."""
    if len(at) > MOST_NODES:
        order = np.argsort(-values)
        rest = order[MOST_NODES // 2 :]
        kept = np.concatenate([order[: MOST_NODES // 2], rest[:: math.ceil(2 * len(rest) / MOST_NODES)]])
        at, values, errors = at[kept], values[kept], errors[kept]
    surface = Surface(at, values, errors)
    if not len(running):
        return surface
    expected, _ = surface.predict(running)
    return Surface(
        np.concatenate([at, running]),
        np.concatenate([values, expected]),
        np.concatenate([errors, np.zeros(len(running))]),
    )


def _levels(one: FloatDistribution) -> Sequence[float] | None:
    """The values of a parameter that has finitely many."""
    if one.low == one.high:
        return [one.low]
    if one.step is None:
        return None
    return [round(one.low + k * one.step, 10) for k in range(round((one.high - one.low) / one.step) + 1)]


def _at(one: FloatDistribution, share: Array) -> Array:
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

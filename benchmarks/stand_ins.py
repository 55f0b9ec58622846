"""Evaluators whose scores cost nothing, for whole studies with schedopt's own objective, samplers and pruners.

`Made`: excerpt e scores base_e + Σ_n w_n·(1 − ((β_n − o_en)/s)²) after its steps; every step counts by itself.
`Mixed`: remix as arithmetic. An estimate holds bleed and artifacts of excerpt e; a step with β lets a share of the last
bleed through and keeps a share of the last artifacts, so that β = 0 is the plain pass and good schedules bend.
`Replayed`: the recorded scores of the demo model (`benchmarks.recorded`): the linear family exactly, of the free one a
cubic radial interpolation, whose error `left_out_error` measures.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import RBFInterpolator

from benchmarks.recorded import STEPS, linear_schedules, load
from schedopt.evaluation import Passes, Scores
from schedopt.refinement import Refinement
from schedopt.schedules import Schedule, after_last_zero

LEVELS = 11
"""Values of a β at the default resolution of 0.1."""

EXCERPTS = 16
WIDTH = 0.5
"""Distance from the optimum at which a step gains nothing: SDR is that flat in β (FACTS, section 4)."""


class StandIn:
    """The same interface as `Evaluator` as far as studies look; one excerpt a track.

    It counts the passes that the separator would have run: equal inputs are shared. With `chained` a step with β = 0
    is the plain pass again, whatever came before.

    Args:
        excerpts: how many there are.
        searched: the numbers of those that a study sees; by default all.
    """

    chained = True

    def __init__(self, excerpts: int, searched: Sequence[int] | None = None) -> None:
        self.passes = Passes()
        self.searched = list(range(excerpts)) if searched is None else list(searched)
        self.held_out = sorted({*range(excerpts)} - {*self.searched})
        self.tracks = [f"track {e}" for e in self.searched]
        self.tasks = [SimpleNamespace(excerpt=SimpleNamespace(fingerprint=n, name=n, track=n)) for n in self.tracks]
        self.left_out: list[Any] = []
        self.refinement = Refinement("vocals", shift=not self.chained)
        self.batch_size = 1
        self._seen: set[tuple[int, Schedule]] = set()

    def table(self, schedules: NDArray[np.float64]) -> Scores:
        """(schedules, N) → (all excerpts, schedules, N+1), dB."""
        raise NotImplementedError

    def by_step(self, betas: Schedule) -> Scores:
        """(excerpts searched, N+1)."""
        return np.asarray(self.table(np.array([betas]))[self.searched, 0])

    def scores(self, betas: Schedule, indices: Sequence[int] | None = None) -> Scores:
        chosen = list(range(len(self.tracks))) if indices is None else list(indices)
        inputs = {after_last_zero(betas[:n]) if self.chained else betas[:n] for n in range(len(betas) + 1)}
        for e in chosen:
            fresh = {(e, one) for one in inputs} - self._seen
            self._seen |= fresh
            self.passes.run += len(fresh)
        return self.by_step(betas)[chosen]


class Made(StandIn):
    """Gains that add up over the steps; β = 0 gains nothing."""

    chained = False

    def __init__(self, seed: int, excerpts: int = EXCERPTS, searched: Sequence[int] | None = None) -> None:
        super().__init__(excerpts, searched)
        rng = np.random.default_rng(seed)
        curve = np.linspace(rng.uniform(0.1, 0.7), rng.uniform(0.1, 0.7), STEPS) + rng.normal(0, 0.05, STEPS)
        self.base = rng.normal(8, 3, excerpts)
        self.optima = np.clip(curve + rng.normal(0, 0.15, (excerpts, STEPS)), 0, 1)
        self.weights = rng.gamma(4, 0.02, excerpts)[:, None] * np.linspace(1, 0.6, STEPS)

    def table(self, schedules: NDArray[np.float64]) -> Scores:
        steps = schedules.shape[1]
        optima = self.optima[:, None, :steps]
        gain = self.weights[:, None, :steps] * (optima**2 - (schedules - optima) ** 2) / WIDTH**2
        after = np.concatenate([np.zeros((*gain.shape[:2], 1)), np.cumsum(gain, axis=2)], axis=2)
        return np.asarray(self.base[:, None, None] + after)


class Mixed(StandIn):
    """Bleed and artifacts, energies relative to the target's."""

    def __init__(self, seed: int, excerpts: int = EXCERPTS, searched: Sequence[int] | None = None) -> None:
        super().__init__(excerpts, searched)
        rng = np.random.default_rng(seed)
        self.bleed = 10 ** (-rng.normal(9, 2, excerpts) / 10)[:, None]
        self.artifacts = self.bleed * rng.lognormal(-0.5, 0.3, excerpts)[:, None]
        self.kept = rng.uniform(0.5, 0.8, excerpts)[:, None]
        self.added = rng.uniform(0.7, 1.2, excerpts)[:, None]
        self.bent = rng.uniform(1.8, 2.5, excerpts)[:, None]

    def table(self, schedules: NDArray[np.float64]) -> Scores:
        bleed = np.repeat(self.bleed, len(schedules), axis=1)
        artifacts = np.repeat(self.artifacts, len(schedules), axis=1)
        found = [bleed + artifacts]
        for beta in schedules.T:
            bleed = self.bleed - beta * (self.bleed - bleed * self.kept)
            artifacts = self.artifacts + self.added * beta**self.bent * artifacts
            found.append(bleed + artifacts)
        return np.asarray(-10 * np.log10(np.stack(found, axis=2)))


class Replayed(StandIn):
    """The demo model on some `tracks`, by their numbers, of one stem."""

    def __init__(self, stem: str, tracks: Sequence[int]) -> None:
        self._rows, self._table = surface(stem)
        super().__init__(self._table.shape[1], tracks)

    def table(self, schedules: NDArray[np.float64]) -> Scores:
        count, steps = schedules.shape
        rows = np.zeros((count, steps + 1), dtype=np.int64)
        code = np.zeros(count, dtype=np.int64)
        for n, level in enumerate(np.rint(schedules.T * 10).astype(np.int64), 1):
            code = np.where(level == 0, 0, code * LEVELS + level)  # after β = 0 nothing before counts
            rows[:, n] = self._rows[code]
        return np.asarray(self._table[rows].transpose(2, 0, 1))


@functools.cache
def surface(stem: str) -> tuple[NDArray[np.int64], Scores]:
    """Row of every node at resolution 0.1, by its β in tenths as digits of a number; their scores (nodes, tracks)."""
    known = recorded_nodes(*load(stem))
    nodes = [found for n in range(STEPS + 1) for found in itertools.product(range(1, LEVELS), repeat=n)]
    rows = np.zeros(LEVELS**STEPS, dtype=np.int64)
    for row, found in enumerate(nodes):
        rows[functools.reduce(lambda code, level: code * LEVELS + level, found, 0)] = row
    points, between = padded([tuple(level / 10 for level in found) for found in nodes]), interpolation(known)
    table = np.concatenate([between(points[first : first + 4096]) for first in range(0, len(points), 4096)])
    for row, found in enumerate(nodes):
        exact = known.get(tuple(level / 10 for level in found))
        if exact is not None:
            table[row] = exact
    return rows, table


def recorded_nodes(schedules: NDArray[np.float64], scores: Scores) -> dict[Schedule, NDArray[np.float64]]:
    """Node → scores of the tracks, dB."""
    return {
        after_last_zero(tuple(betas[:n])): scores[:, row, n]
        for row, betas in enumerate(schedules.tolist())
        for n in range(STEPS + 1)
    }


def interpolation(known: dict[Schedule, NDArray[np.float64]]) -> RBFInterpolator:
    # A quadratic part would find its optimum outside of what was recorded.
    return RBFInterpolator(padded(list(known)), np.stack(list(known.values())), kernel="cubic", degree=1)


@functools.cache
def left_out_error(stem: str, every: int = 1) -> dict[str, float]:
    """Root mean square error, dB, of the interpolation at the nodes of one schedule of the free family left out at a
    time (or of every so-manieth): of a track's score, and of the mean over tracks; `spread` is the latter's deviation
    over all nodes."""
    schedules, scores = load(stem)
    everything, linear = recorded_nodes(schedules, scores), set(linear_schedules())
    free = [row for row, betas in enumerate(schedules.tolist()) if tuple(betas) not in linear]
    errors = []
    for row in free[::every]:
        rest = [other for other in range(len(schedules)) if other != row]
        known = recorded_nodes(schedules[rest], scores[:, rest])
        new = [found for n in range(1, STEPS + 1) if (found := after_last_zero(tuple(schedules[row, :n]))) not in known]
        if new:
            errors.append(interpolation(known)(padded(new)) - np.stack([everything[found] for found in new]))
    apart, means = np.concatenate(errors), np.stack(list(everything.values())).mean(axis=1)
    return {
        "track": float(np.sqrt((apart**2).mean())),
        "mean": float(np.sqrt((apart.mean(axis=1) ** 2).mean())),
        "spread": float(means.std()),
    }


def padded(nodes: Sequence[Schedule]) -> NDArray[np.float64]:
    """(nodes, 5): filled with zeros from the left."""
    return np.array([(0.0,) * (STEPS - len(found)) + found for found in nodes])

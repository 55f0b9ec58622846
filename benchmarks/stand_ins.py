"""Evaluators whose scores cost nothing, for whole studies with schedopt's own objective, samplers and pruners.

`Made`: excerpt e scores base_e + Σ_n w_n·(1 − ((β_n − o_en)/s)²) after its steps; every step counts by itself.
`Mixed`: remix as arithmetic. An estimate holds bleed and artifacts of excerpt e; a step with β lets a share of the last
bleed through and keeps a share of the last artifacts, so that β = 0 is the plain pass and good schedules bend.
`Replayed`: the recorded scores of the demo model (`benchmarks.recorded`), between them a cubic radial interpolation.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence
from types import SimpleNamespace

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import RBFInterpolator

from benchmarks.recorded import STEPS, load
from schedopt.evaluation import Passes, Scores
from schedopt.schedules import DEFAULT_RESOLUTION, Schedule

EXCERPTS = 16
WIDTH = 0.5
"""Distance from the optimum at which a step gains nothing: SDR is that flat in β (FACTS, section 4)."""


class StandIn:
    """The same interface as `Evaluator` as far as `Objective` looks; one excerpt a track.

    It counts the passes that the separator would have run: equal inputs are shared. With `chained` a step with β = 0
    is the plain pass again, whatever came before.
    """

    chained = True

    def __init__(self, excerpts: int) -> None:
        self.passes = Passes()
        self.tracks = [f"track {e}" for e in range(excerpts)]
        self.tasks = [SimpleNamespace(excerpt=SimpleNamespace(fingerprint=n, name=n, track=n)) for n in self.tracks]
        self._seen: set[tuple[int, Schedule]] = set()

    def by_step(self, betas: Schedule) -> Scores:
        """(excerpts, N+1)."""
        raise NotImplementedError

    def scores(self, betas: Schedule, indices: Sequence[int] | None = None) -> Scores:
        chosen = list(range(len(self.tracks))) if indices is None else list(indices)
        inputs = [node(betas[:n]) if self.chained else betas[:n] for n in range(len(betas) + 1)]
        for e in chosen:
            fresh = {(e, one) for one in inputs} - self._seen
            self._seen |= fresh
            self.passes.run += len(fresh)
        return self.by_step(betas)[chosen]


def node(betas: Schedule) -> Schedule:
    """What follows the last β = 0: schedules of equal nodes end with the same pass."""
    zeros = [n for n, beta in enumerate(betas) if beta == 0]
    return betas[zeros[-1] + 1 :] if zeros else betas


class Made(StandIn):
    """Gains that add up over the steps; β = 0 gains nothing."""

    chained = False

    def __init__(self, seed: int, excerpts: int = EXCERPTS) -> None:
        super().__init__(excerpts)
        rng = np.random.default_rng(seed)
        curve = np.linspace(rng.uniform(0.1, 0.7), rng.uniform(0.1, 0.7), STEPS) + rng.normal(0, 0.05, STEPS)
        self.base = rng.normal(8, 3, excerpts)
        self.optima = np.clip(curve + rng.normal(0, 0.15, (excerpts, STEPS)), 0, 1)
        self.weights = rng.gamma(4, 0.02, excerpts)[:, None] * np.linspace(1, 0.6, STEPS)

    def by_step(self, betas: Schedule) -> Scores:
        gain = self.weights * (self.optima**2 - (np.asarray(betas) - self.optima) ** 2) / WIDTH**2
        steps = np.concatenate([np.zeros((len(self.tracks), 1)), np.cumsum(gain, axis=1)], axis=1)
        return np.asarray(self.base[:, None] + steps)


class Mixed(StandIn):
    """Bleed and artifacts, energies relative to the target's."""

    def __init__(self, seed: int, excerpts: int = EXCERPTS) -> None:
        super().__init__(excerpts)
        rng = np.random.default_rng(seed)
        self.bleed = 10 ** (-rng.normal(9, 2, excerpts) / 10)
        self.artifacts = self.bleed * rng.lognormal(-0.5, 0.3, excerpts)
        self.kept = rng.uniform(0.5, 0.8, excerpts)
        self.added = rng.uniform(0.7, 1.2, excerpts)
        self.bent = rng.uniform(1.8, 2.5, excerpts)

    def by_step(self, betas: Schedule) -> Scores:
        bleed, artifacts = self.bleed, self.artifacts
        found = [bleed + artifacts]
        for beta in betas:
            left = 1 - beta * (1 - bleed / self.bleed * self.kept)
            bleed = self.bleed * left
            artifacts = self.artifacts * (1 + self.added * beta**self.bent * artifacts / self.artifacts)
            found.append(bleed + artifacts)
        return np.asarray(-10 * np.log10(np.stack(found, axis=1)))


class Replayed(StandIn):
    """The demo model on some `tracks`, by their numbers, of one stem."""

    def __init__(self, stem: str, tracks: Sequence[int]) -> None:
        super().__init__(len(tracks))
        self._rows, self._table = surface(stem)
        self._chosen = list(tracks)

    def by_step(self, betas: Schedule) -> Scores:
        rows = [self._rows[node(betas[:n])] for n in range(len(betas) + 1)]
        return np.asarray(self._table[rows][:, self._chosen].T)


@functools.cache
def surface(stem: str) -> tuple[dict[Schedule, int], Scores]:
    """Every node at resolution 0.1, and their scores (nodes, tracks) in dB."""
    schedules, scores = load(stem)
    known: dict[Schedule, NDArray[np.float64]] = {}
    for row, betas in enumerate(schedules.tolist()):
        for n in range(STEPS + 1):
            known[node(tuple(betas[:n]))] = scores[:, row, n]
    levels = [round(k * DEFAULT_RESOLUTION, 10) for k in range(1, round(1 / DEFAULT_RESOLUTION) + 1)]
    nodes = [found for n in range(STEPS + 1) for found in itertools.product(levels, repeat=n)]
    points = padded(nodes)
    between = RBFInterpolator(padded(list(known)), np.stack(list(known.values())), kernel="cubic", degree=2)
    table = np.concatenate([between(points[first : first + 4096]) for first in range(0, len(points), 4096)])
    rows = {found: row for row, found in enumerate(nodes)}
    for found, values in known.items():
        table[rows[found]] = values
    return rows, table


def padded(nodes: Sequence[Schedule]) -> NDArray[np.float64]:
    """(nodes, 5): filled with zeros from the left."""
    return np.array([(0.0,) * (STEPS - len(found)) + found for found in nodes])

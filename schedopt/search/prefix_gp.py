"""The sampler `prefix-gp`: proposes the schedule with the highest expected improvement per pass.

Each scored schedule gives the scores of its prefixes as well: one Gaussian process (`schedopt.search.surface`) learns
from all prefixes of all trials, and a prefix that was separated costs no pass again. Under rules that mix the last
estimate into the mixture (`chained`) a step with β = 0 is the plain pass again, so that β_1 … β_n and 0 … 0 β_1 … β_n
are the same node of this tree. Pruned trials count with their predicted mean and its standard error, running ones
with what the model expects of them. No schedule is proposed that was scored before.

Source: expected improvement per unit cost, Snoek, Larochelle & Adams, NIPS 2012, section 3.2.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy  # its parts are loaded at their first use
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from schedopt.schedules import Schedule, line, zeros
from schedopt.search.candidates import Candidates, Pool, at, fresh, keys
from schedopt.search.summary import selected_trial
from schedopt.search.surface import ABSENT, Array, Surface

DRAWN = 1000
"""Schedules of a large family that are looked at first; then `ROUNDS` times those around the `STARTS` best."""

ROUNDS = 4
STARTS = 6

OVERHEAD = 1.0
"""Cost of a trial beside its passes, in passes: of two schedules that cost nothing the better one goes first."""

NEGLIGIBLE_DB = 0.0005
"""Added to every expected improvement: where none is worth more, cheaper trials go first. It halves the passes of 40
trials and costs at most 0.001 dB of what they find (`python -m benchmarks.samplers`)."""

DARING = 0.7
"""Share of the model's standard deviation that expected improvement is computed with: scores are smooth, so that less
exploring finds good schedules in fewer passes (`python -m benchmarks.samplers`)."""

START_WITH_MIDDLE = 3
"""Where steps have processes of their own, the third schedule is the middle of the family: with β = 0 and the line n/N,
the points of a first parabola of each. Else the prefixes of the line are points enough."""

MOST_NODES = 500
"""Scores that the model learns from: the cost of a proposal grows with their cube."""

UNKNOWN_ERROR = 0.05
"""Standard error in dB of a pruned trial that reported no error of its prediction."""


@dataclass(frozen=True)
class Known:
    """What a study's trials tell: the model of their scores (None without one), the highest value of a trial and the
    highest score of any node in dB, and which nodes and schedules (M, N) were separated or are being so.

    A prefix of the line n/N may score higher than every trial; at the study's resolution it may not be in the family.
    """

    surface: Surface | None
    best: float
    highest: float
    nodes: NDArray[np.int64]
    schedules: Array


Worth = Callable[[Known, Pool], Array]
"""What is known, schedules → what is searched the highest of, (P,)."""


class PrefixGP:
    """What is known of the scores of a study's schedules, and which one to try next.

    Args:
        chained: β = 0 gives the plain pass again, so that only what follows the last 0 counts.
        choose_steps: a trial's value is that of its best prefix.
    """

    def __init__(self, candidates: Candidates, *, chained: bool, choose_steps: bool) -> None:
        self.candidates = candidates
        self.chained = chained
        self.choose_steps = choose_steps
        self.steps = candidates.family.steps

    def propose(self, study: Study, number: int, rng: np.random.Generator) -> dict[str, float] | None:
        """Parameters of the trial `number`; None where every schedule has been scored."""
        known = self.known([t for t in study.get_trials(deepcopy=False) if t.number != number], study)
        if not self.chained and known.surface is not None and len(known.schedules) < START_WITH_MIDDLE:
            middle = [[float(at(one, HALF)[0]) for one in self.candidates.space.values()]]
            third = self._fresh(self.candidates.pool(np.array(middle)), known)
            if len(third):
                return self.candidates.named(third.params[0])
        left = self._search(known, rng, self._worth)
        return self.candidates.named(left.params[int(self._worth(known, left).argmax())]) if len(left) else None

    def chance_of_more(self, study: Study, gain: float, rng: np.random.Generator) -> float:
        """Posterior probability, from above, that a schedule scores more than `gain` dB above the selected trial.

        It is the sum over the nodes that were not separated yet, which is not smaller (Boole's inequality); of a large
        family over those that the search for the likeliest looked at. 1 where a scored one does, or nothing is known.
        Costs no pass.
        """
        trials = [trial for trial in study.get_trials(deepcopy=False) if trial.state.is_finished()]
        known, selected = self.known(trials, study), selected_trial(study, trials)
        if known.surface is None or selected is None or known.highest > selected.values[0] + gain:
            return 1.0
        surface, limit = known.surface, selected.values[0] + gain

        def exceeding(known: Known, pool: Pool) -> Array:
            nodes = self.nodes(pool.betas)
            found = self._exceeding(surface, nodes.reshape(-1, self.steps), limit)
            return np.asarray(found.reshape(nodes.shape[:2]).max(axis=1))

        left = self._search(known, rng, exceeding)
        nodes = self.nodes(left.betas).reshape(-1, self.steps)
        nodes = nodes[~np.isin(keys(nodes), known.nodes)]
        _, first = np.unique(keys(nodes), return_index=True)
        return min(1.0, float(self._exceeding(surface, nodes[first], limit).sum()))

    @staticmethod
    def _exceeding(surface: Surface, nodes: Array, limit: float) -> Array:
        """Probability that each node (P, N) scores more than `limit` dB, (P,)."""
        mean, deviation = surface.predict(nodes)
        return np.asarray(scipy.special.stdtr(surface.freedom, (mean - limit) / deviation))

    def known(self, trials: Sequence[FrozenTrial], study: Study) -> Known:
        """What `trials` and the references of `study` tell."""
        taken = self.candidates.taken(trials)
        nodes = [self.nodes(taken).reshape(-1, self.steps), self._plain()]
        measured = self._measured(trials, study)
        if not measured:
            return Known(None, math.nan, math.nan, keys(np.concatenate(nodes)), taken)
        x, (values, errors) = np.array(list(measured)), np.array(list(measured.values())).T
        certain = values[errors == 0]
        highest = float((certain if len(certain) else values).max())
        complete = [t.values[0] for t in trials if t.state == TrialState.COMPLETE and math.isfinite(t.values[0])]
        best = max(complete, default=highest)
        running = [t for t in trials if t.state in (TrialState.RUNNING, TrialState.WAITING)]
        surface = self._learnt(x, values, errors, self.candidates.taken(running))
        return Known(surface, best, highest, keys(np.concatenate(nodes)), taken)

    def nodes(self, schedules: Array) -> Array:
        """(P, N) → (P, N, N): the node after each step n. Chained: what follows its last β = 0, filled with zeros from
        the left; else β_1 … β_n, filled with `ABSENT` from the right."""
        count = len(schedules)
        found = np.full((count, self.steps, self.steps), 0.0 if self.chained else ABSENT)
        for n in range(1, self.steps + 1):
            found[:, n - 1, slice(self.steps - n, None) if self.chained else slice(n)] = schedules[:, :n]
        if self.chained:
            found *= np.cumprod(found[..., ::-1] != 0, axis=-1)[..., ::-1]
        return found

    def _plain(self) -> Array:
        return np.full((1, self.steps), 0.0 if self.chained else ABSENT)

    def _measured(self, trials: Sequence[FrozenTrial], study: Study) -> dict[tuple[float, ...], tuple[float, float]]:
        """Node → score and standard error in dB, of finished trials and of the study's references."""
        found: dict[tuple[float, ...], tuple[float, float]] = {}

        def add(schedule: Schedule, by_step: Sequence[float] | None, value: float, error: float) -> None:
            nodes = self.nodes(np.array([schedule]))[0]
            pairs = [(nodes[-1], value)]
            if by_step is not None and len(by_step) == len(schedule) + 1:
                pairs = [*zip([*self._plain(), *nodes], by_step, strict=True)]
            for node, score in pairs:
                key = tuple(node.tolist())
                if score is not None and math.isfinite(score) and error <= found.get(key, (0.0, math.inf))[1]:
                    found[key] = float(score), error

        for name, betas in (("zeros", zeros(self.steps)), ("line", line(self.steps))):
            reference = study.user_attrs.get(name, {})
            if "value" in reference:
                add(betas, reference.get("by_step"), reference["value"], 0.0)
        for trial in trials:
            schedule = self.candidates.schedule_of(trial)
            if schedule is not None and trial.state == TrialState.COMPLETE:
                add(schedule, trial.user_attrs.get("by_step"), trial.values[0], 0.0)
            elif schedule is not None and trial.state == TrialState.PRUNED and trial.intermediate_values:
                predicted = trial.user_attrs.get("predicted", {})
                last = trial.intermediate_values[max(trial.intermediate_values)]
                error = predicted.get("error")
                add(schedule, predicted.get("by_step"), last, UNKNOWN_ERROR if error is None else float(error))
        return found

    def _learnt(self, x: Array, values: Array, errors: Array, running: Array) -> Surface:
        """The model of the scores; of very many, the better half of what it may hold and an even choice of the rest."""
        if len(x) > MOST_NODES:
            order = np.argsort(-values)
            rest = order[MOST_NODES // 2 :]
            kept = np.concatenate([order[: MOST_NODES // 2], rest[:: math.ceil(2 * len(rest) / MOST_NODES)]])
            x, values, errors = x[kept], values[kept], errors[kept]
        surface = Surface(x, values, errors, chained=self.chained)
        if not len(running):
            return surface
        nodes = self.nodes(running).reshape(-1, self.steps)
        expected, _ = surface.predict(nodes)
        return Surface(
            np.concatenate([x, nodes]),
            np.concatenate([values, expected]),
            np.concatenate([errors, np.zeros(len(nodes))]),
            chained=self.chained,
        )

    def _search(self, known: Known, rng: np.random.Generator, worth: Worth) -> Pool:
        """Schedules that are left: all of a small family in random order; of a large one those around the worthiest."""
        if self.candidates.all is not None:
            left = self._fresh(self.candidates.all, known)
            return left.of(rng.permutation(len(left)))
        pool = self._fresh(self.candidates.pool(self.candidates.draw(rng, DRAWN)), known)
        for _ in range(ROUNDS if known.surface is not None and len(pool) else 0):
            top = pool.params[np.argsort(-worth(known, pool))[:STARTS]]
            near = np.concatenate([top, *(self.candidates.around(one) for one in top)])
            pool = self._fresh(self.candidates.pool(near), known)
        return pool

    def _worth(self, known: Known, pool: Pool) -> Array:
        """Expected improvement over the best score in dB, `NEGLIGIBLE_DB` added, per pass and excerpt, (P,)."""
        if known.surface is None:
            return np.zeros(len(pool))
        nodes = self.nodes(pool.betas)
        means, deviations = self._predict(known.surface, nodes)
        z = (means - known.best) / deviations
        density = np.exp(-0.5 * z**2) / math.sqrt(2 * math.pi)
        improvement = (deviations * (z * scipy.special.ndtr(z) + density)).max(axis=1)
        return np.asarray((improvement + NEGLIGIBLE_DB) / (self._cost(known, nodes) + OVERHEAD))

    def _predict(self, surface: Surface, nodes: Array) -> tuple[Array, Array]:
        """Mean and `DARING` deviation of the nodes that a trial's value may be: (P, N) or (P, 1)."""
        valued = nodes if self.choose_steps else nodes[:, -1:]
        flat = valued.reshape(-1, self.steps)
        # Schedules that are alike share most of their nodes.
        _, first, back = np.unique(keys(flat), return_index=True, return_inverse=True)
        mean, deviation = surface.predict(flat[first])
        return mean[back].reshape(valued.shape[:2]), DARING * deviation[back].reshape(valued.shape[:2])

    def _cost(self, known: Known, nodes: Array) -> NDArray[np.int64]:
        """Passes per excerpt that were not run yet, (P,)."""
        found = keys(nodes.reshape(-1, self.steps)).reshape(nodes.shape[:2])
        return np.asarray((~np.isin(found, known.nodes)).sum(axis=1))

    def _fresh(self, pool: Pool, known: Known) -> Pool:
        """Those not scored yet; a trial that chooses its best prefix must hold a node that is new, where one does."""
        left = fresh(pool, known.schedules)
        if not self.choose_steps or not len(left):
            return left
        new = self._cost(known, self.nodes(left.betas)) > 0
        return left.of(np.flatnonzero(new)) if new.any() else left


HALF = np.array([0.5])


class PrefixGPSampler(BaseSampler):
    """An Optuna sampler that proposes what `PrefixGP` does."""

    def __init__(self, model: PrefixGP, seed: int) -> None:
        self._model = model
        self._rng = np.random.default_rng(seed)
        self._random = RandomSampler(seed=seed)

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return dict(self._model.candidates.space)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        return self._model.propose(study, trial.number, self._rng) or {}

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        return self._random.sample_independent(study, trial, param_name, param_distribution)

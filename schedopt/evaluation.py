"""Scores of schedules on excerpts, with every common prefix computed once.

A trajectory depends on separator, excerpt, gains, refinement and β_1 … β_n only. Two schedules that begin alike
share these steps; all schedules of all rules and targets share the plain pass (step 0).
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import astuple, dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from schedopt.data import mix
from schedopt.errors import DataError
from schedopt.metrics import scorer
from schedopt.rules import rule
from schedopt.schedules import Schedule
from schedopt.separators import Separator
from schedopt.store import Store
from schedopt.trajectory import Refinement, Scene, State, advance, begin, stems_needed
from schedopt.types import Excerpt

Scores = NDArray[np.float64]

LASTING_STEPS = 2
"""States after so many steps go to disk too (where there is a disk store)."""

KEPT_TRANSFORMS = 2**25
"""Most samples (all channels) whose references are kept transformed: 0.3 GiB, or 6 minutes in stereo.

A transform kept makes a score 1.7 times faster, but takes twice the memory of the reference and a study of many minutes
has better use for that; a score costs little beside a pass.
"""


@dataclass
class Passes:
    """Passes of the separator: those run, and those that one loop a trial would have run on top."""

    run: int = 0
    saved: int = 0

    def __sub__(self, earlier: Passes) -> Passes:
        return Passes(self.run - earlier.run, self.saved - earlier.saved)

    def copy(self) -> Passes:
        return Passes(self.run, self.saved)

    def attributes(self, seconds: float) -> dict[str, float]:
        """As studies and trials keep them, with the time that they took."""
        return {"passes_run": self.run, "passes_saved": self.saved, "seconds": round(seconds, 3)}


def refinement_of(key: Any) -> Hashable:
    """Which refinement (`astuple` of it) a score of `Store.scores` belongs to."""
    _, (_, refinement, _) = key
    found: Hashable = refinement
    return found


@dataclass(frozen=True)
class Task:
    """One excerpt with one target: its scene, its prepared score, and the key of its plain pass."""

    excerpt: Excerpt
    scene: Scene
    score: Callable[[Tensor], Tensor]
    key: Hashable


@dataclass
class Evaluator:
    """Scores one refinement's trajectories over excerpts.

    Args:
        separator: mixture → estimates.
        excerpts: those in which the target is silent are left out (`left_out` names them).
        refinement: target, rule and options.
        metric: `sdr`, `si_sdr` or `snr`; dB.
        gains: weight of each stem in the mixture, by name; 1 where not named.
        store: shared by evaluators that may share steps.
        first_stems: stems that the plain pass estimates; all of them where several targets share it.
        batch: excerpts that go through the separator together; by default as many as segments (1 on a CPU).

    Raises:
        DataError: the target is silent in every excerpt.
    """

    separator: Separator
    excerpts: Sequence[Excerpt]
    refinement: Refinement
    metric: str = "sdr"
    gains: Mapping[str, float] = field(default_factory=dict)
    store: Store = field(default_factory=Store)
    first_stems: tuple[str, ...] = ()
    batch: int = 0
    passes: Passes = field(default_factory=Passes)

    def __post_init__(self) -> None:
        target = self.refinement.target
        self.left_out = [e for e in self.excerpts if target not in e.audible]
        heard = [e for e in self.excerpts if target in e.audible]
        if not heard:
            raise DataError(f"{target} is silent in all {len(self.excerpts)} excerpts: nothing to score")
        needed = set(stems_needed(self.separator.stems, self.refinement)) | set(self.first_stems)
        self.first_stems = tuple(stem for stem in self.separator.stems if stem in needed)
        samples = sum(excerpt.references[0].numel() for excerpt in heard)
        self.tasks = [self._task(excerpt, samples <= KEPT_TRANSFORMS) for excerpt in heard]
        self.tracks = [task.excerpt.track for task in self.tasks]

    def scores(self, betas: Schedule, indices: Sequence[int] | None = None, *, every_step: bool = True) -> Scores:
        """Scores in dB of the estimates handed out: (tasks, N+1), or (tasks, 1) for the last step alone.

        `indices` chooses tasks (default: all). Costs at most N+1 passes a task; `passes` counts what was run and
        what was saved.
        """
        chosen = [self.tasks[i] for i in (range(len(self.tasks)) if indices is None else indices)]
        steps = range(len(betas) + 1) if every_step else [len(betas)]
        missing = [task for task in chosen if any(self._score(task, betas[:n]) is None for n in steps)]
        size = self.batch or self.separator.batch_segments
        batches = [missing[first : first + size] for first in range(0, len(missing), size)]
        run = sum(self._compute(batch, betas, steps) for batch in batches)
        self.passes.run += run
        self.passes.saved += len(chosen) * (len(betas) + 1) - run
        # `_compute` left every score in the store.
        return np.array([[self._score(task, betas[:n]) for n in steps] for task in chosen], dtype=np.float64)

    def trajectory(self, betas: Schedule, index: int, *, again: bool = False) -> list[Tensor]:
        """The estimates of the target handed out after step 0 … N, (channels, samples) each, for one task.

        Costs at most N+1 passes, counted in `passes`. `again`: these steps have been scored, so that passes which are
        run once more were not saved then.
        """
        states: dict[int, State] = {}
        run = self._walk(
            [self.tasks[index]],
            betas,
            set(range(len(betas) + 1)),
            lambda _, state: states.__setitem__(state.step, state),
        )
        self.passes.run += run
        self.passes.saved += (0 if again else len(betas) + 1) - run
        return [states[n].output for n in range(len(betas) + 1)]

    def _task(self, excerpt: Excerpt, keep_transform: bool) -> Task:
        weights = [float(self.gains.get(stem, 1.0)) for stem in excerpt.stems]
        device = self.separator.device
        k = excerpt.stems.index(self.refinement.target)
        # A view where nothing is weighted: a study of minutes would hold every reference twice.
        reference = excerpt.references[k]
        target = (reference if weights[k] == 1 else weights[k] * reference).to(device)
        key = (self.separator.fingerprint, excerpt.fingerprint, tuple(weights))
        mixture = self.store.mixtures.get(key)
        if mixture is None:
            mixture = self.store.mixtures[key] = mix(excerpt.references, weights).to(device)
        scene = Scene(mixture)
        if rule(self.refinement.rule).needs_references:
            others = mix(excerpt.references, [0.0 if j == k else w for j, w in enumerate(weights)])
            scene = Scene(mixture, true_target=target, true_others=others.to(device))
        return Task(excerpt, scene, scorer(self.metric, target, keep_transform=keep_transform), key)

    def _trajectory_key(self, task: Task, betas: Schedule) -> Hashable:
        return (task.key, astuple(self.refinement), betas)

    def _kept(self, task: Task, betas: Schedule) -> State | None:
        state: State | None = self.store.get(self._trajectory_key(task, betas), lasting=_lasts(betas))
        return state

    def _score(self, task: Task, betas: Schedule) -> float | None:
        return self.store.scores.get((self.metric, self._trajectory_key(task, betas)))

    def _compute(self, tasks: Sequence[Task], betas: Schedule, steps: Sequence[int]) -> int:
        """Fill in the missing scores of `tasks`; the passes that this cost."""
        wanted = {n for n in steps if any(self._score(task, betas[:n]) is None for task in tasks)}
        if not wanted:
            # The same samples twice (a doubled track): its twin has just been scored.
            return 0

        def keep_score(index: int, state: State) -> None:
            key = (self.metric, self._trajectory_key(tasks[index], betas[: state.step]))
            self.store.scores[key] = float(tasks[index].score(state.output))

        return self._walk(tasks, betas, wanted, keep_score)

    def _walk(
        self,
        tasks: Sequence[Task],
        betas: Schedule,
        wanted: set[int],
        visit: Callable[[int, State], None],
    ) -> int:
        """Visit the states after the `wanted` steps, starting from the deepest kept ones; passes run."""
        passes = 0
        firsts, cost = self._firsts(tasks)
        passes += cost
        states = list(firsts)
        begun = self._deepest(tasks, betas, min(wanted), states)
        for n in range(begun, max(wanted) + 1):
            if n:
                states, cost = self._step(tasks, firsts, states, betas[:n])
                passes += cost
            if n in wanted:
                for index, state in enumerate(states):
                    visit(index, state)
        return passes

    def _deepest(self, tasks: Sequence[Task], betas: Schedule, limit: int, states: list[State]) -> int:
        """Put the deepest prefix ≤ `limit` that every task has kept into `states`; the step to go on with."""
        for n in range(limit, 0, -1):
            kept = [self._kept(task, betas[:n]) for task in tasks]
            found = [state for state in kept if state is not None]
            if len(found) == len(kept):
                states[:] = found
                return n
        return 0

    def _step(
        self, tasks: Sequence[Task], firsts: Sequence[State], states: list[State], betas: Schedule
    ) -> tuple[list[State], int]:
        """States after step len(betas): kept ones, and for the other tasks computed ones in one batch."""
        after = {i: self._kept(task, betas) for i, task in enumerate(tasks)}
        todo = [i for i, state in after.items() if state is None]
        cost = 0
        if todo:
            computed, cost = advance(
                self.separator,
                self.refinement,
                [tasks[i].scene for i in todo],
                [firsts[i] for i in todo],
                [states[i] for i in todo],
                betas,
            )
            for i, state in zip(todo, computed, strict=True):
                after[i] = state
                self.store.put(self._trajectory_key(tasks[i], betas), state, lasting=_lasts(betas))
        return [state for state in after.values() if state is not None], cost

    def _firsts(self, tasks: Sequence[Task]) -> tuple[list[State], int]:
        """States after step 0; the plain pass is shared by every refinement of the same mixture."""
        estimates = [self.store.get((task.key, self.first_stems), lasting=True) for task in tasks]
        todo = [i for i, found in enumerate(estimates) if found is None]
        if todo:
            batch = torch.stack([tasks[i].scene.mixture for i in todo])
            for i, found in zip(todo, self.separator(batch, stems=self.first_stems), strict=True):
                estimates[i] = found
                self.store.put((tasks[i].key, self.first_stems), found, lasting=True)
        firsts = [
            begin(found, self.first_stems, task.scene, self.refinement)
            for task, found in zip(tasks, estimates, strict=True)
            if found is not None
        ]
        return firsts, len(todo)


def _lasts(betas: Schedule) -> bool:
    """Whether the state after these steps is worth the disk: longer prefixes are hardly met again."""
    return len(betas) <= LASTING_STEPS


def mean_over_tracks(scores: Scores, tracks: Sequence[str]) -> Scores:
    """(tasks, …) → (…): mean over the excerpts of each track, then over tracks (Algorithm 1 of the report)."""
    names = list(dict.fromkeys(tracks))
    where = np.array([names.index(track) for track in tracks])
    by_track = np.stack([scores[where == index].mean(axis=0) for index in range(len(names))])
    return np.asarray(by_track.mean(axis=0))

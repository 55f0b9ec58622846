"""Scores of schedules on excerpts, through the engine and a separator that remembers its passes."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from schedopt.data import SILENCE_RULE, mix
from schedopt.errors import DataError, ScheduleError
from schedopt.metrics import METRICS, Score, scorer
from schedopt.refinement import Refinement
from schedopt.rules import rule
from schedopt.schedules import Schedule
from schedopt.separators import Separator, as_separator
from schedopt.store import Memoised, Store
from schedopt.trajectory import Scene, State, trajectories
from schedopt.types import Excerpt

Scores = NDArray[np.float64]

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


@dataclass(frozen=True)
class Task:
    """One excerpt with one target: scene, true stem, what its mixture is made of, and what prepares its score."""

    excerpt: Excerpt
    scene: Scene
    reference: Tensor
    key: Hashable
    prepare: Callable[[str], Score]
    _prepared: dict[str, Score] = field(default_factory=dict, init=False, repr=False, compare=False)

    def score(self, metric: str) -> Score:
        """Prepared when it is first needed (30 ms): a study's first pass does not wait for all of them."""
        if metric not in self._prepared:
            self._prepared[metric] = self.prepare(metric)
        return self._prepared[metric]


@dataclass
class Evaluator:
    """Scores one refinement's trajectories over excerpts.

    Args:
        separator: mixture → estimates; Demucs, or anything that follows `schedopt.separators.Plugin`.
        excerpts: those in which the target is silent are left out (`left_out` names them).
        refinement: target, rule and options.
        metric: dB.
        also: further metrics, which are scored from the same trajectories: `scores_in` returns them.
        gains: weight of each stem in the mixture, by name; 1 where not named.
        store: shared by evaluators whose passes may be the same.
        shared_stems: stems that passes over the mixture itself estimate, where several targets ask for them.
        batch: excerpts that go through the separator together; by default as many as segments (1 on a CPU).

    Raises:
        DataError: the music lacks the target, or it is silent in every excerpt.
    """

    separator: Separator
    excerpts: Sequence[Excerpt]
    refinement: Refinement
    metric: str = "sdr"
    gains: Mapping[str, float] = field(default_factory=dict)
    store: Store = field(default_factory=Store)
    shared_stems: tuple[str, ...] = ()
    batch: int = 0
    also: tuple[str, ...] = ()
    passes: Passes = field(default_factory=Passes)

    def __post_init__(self) -> None:
        self.separator = as_separator(self.separator)
        self.refinement.stems_needed(self.separator.stems)
        target = self.refinement.target
        offered = dict.fromkeys(stem for excerpt in self.excerpts for stem in excerpt.stems)
        if target not in offered:
            raise DataError(f"the music has no stem {target!r}, only {', '.join(offered)}; [data.stems] can make one")
        for stem, gain in self.gains.items():
            if stem not in offered or not 0 <= gain < math.inf:
                raise DataError(f"gain {gain:g} of {stem!r}: gains are numbers from 0 on of {', '.join(offered)}")
        self.left_out = [e for e in self.excerpts if target not in e.audible]
        audible = [e for e in self.excerpts if target in e.audible]
        if not audible:
            raise DataError(
                f"{target} is silent in all {len(self.excerpts)} excerpts: nothing to score; {SILENCE_RULE}"
            )
        samples = sum(excerpt.references[0].numel() for excerpt in audible)
        self.tasks = [self._task(excerpt, samples <= KEPT_TRANSFORMS) for excerpt in audible]
        self.tracks = [task.excerpt.track for task in self.tasks]
        mixtures = [task.scene.mixture for task in self.tasks]
        self._memoised = Memoised(self.separator, self.store, mixtures, self.shared_stems)

    @property
    def batch_size(self) -> int:
        """Excerpts that go through the separator together."""
        return self.batch or self.separator.batch_segments

    def scores(
        self,
        betas: Schedule,
        indices: Sequence[int] | None = None,
        *,
        every_step: bool = True,
        refinement: Refinement | None = None,
        again: bool = False,
    ) -> Scores:
        """Scores in dB of the outputs: (tasks, N+1), or (tasks, 1) for the last step alone.

        `indices` chooses tasks (default: all). Costs at most N+1 passes a task; `passes` counts what was run and
        what was saved. `refinement`: in place of the evaluator's, of the same target; its scores are not remembered,
        since weights are of one trial. `again`: see `states`.
        """
        how = refinement or self.refinement
        if how.target != self.refinement.target:
            raise ScheduleError(f"this evaluator scores {self.refinement.target}, not {how.target}")
        chosen = [self.tasks[i] for i in (range(len(self.tasks)) if indices is None else indices)]
        steps = range(len(betas) + 1) if every_step else [len(betas)]
        known = self.store.scores if refinement is None else {}
        metrics = (self.metric, *self.also)
        missing = [
            task
            for task in chosen
            if any(self._key(task, betas, n, one, how) not in known for n in steps for one in metrics)
        ]
        before = self._memoised.passes
        for batch in self._batches(missing):
            self._score(batch, betas, steps, how, known)
        self._count(0 if again else len(chosen) * (len(betas) + 1), before)
        return np.array([[known[self._key(task, betas, n, self.metric, how)] for n in steps] for task in chosen])

    def scores_in(self, metric: str, betas: Schedule) -> Scores:
        """Scores of all tasks in another metric, one of `also`, after `scores` was called: (tasks, N+1). No pass."""
        steps = range(len(betas) + 1)
        keys = [[self._key(task, betas, n, metric, self.refinement) for n in steps] for task in self.tasks]
        return np.array([[self.store.scores[key] for key in row] for row in keys])

    def trajectory(self, betas: Schedule, index: int, *, again: bool = False) -> list[Tensor]:
        """The outputs after step 0 … N, (channels, samples) each, for one task; see `outputs`."""
        return list(self.outputs(betas, index, again=again))

    def outputs(self, betas: Schedule, index: int, *, again: bool = False) -> Iterator[Tensor]:
        """The outputs after step 0 … N one by one, (channels, samples) each, for one task; see `states`."""
        for state in self.states(betas, index, again=again):
            yield state.output()

    def states(
        self, betas: Schedule, index: int, *, refinement: Refinement | None = None, again: bool = False
    ) -> Iterator[State]:
        """The states after step 0 … N one by one, for one task; `refinement` in place of the evaluator's.

        Costs at most N+1 passes, counted in `passes` at the end. `again`: these steps have been scored, so that passes
        which are run once more were not saved then.
        """
        before, steps = self._memoised.passes, 0
        how = refinement or self.refinement
        for (state,) in trajectories(self._memoised, [self.tasks[index].scene], betas, how):
            steps += 1
            yield state
        self._count(0 if again else steps, before)

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
        return Task(excerpt, scene, target, key, partial(self._scorer, excerpt, weights, target, keep_transform))

    def _scorer(
        self, excerpt: Excerpt, weights: Sequence[float], target: Tensor, keep_transform: bool, metric: str
    ) -> Score:
        references = None
        if METRICS.find(metric).needs_all_stems:
            weighted = any(weight != 1 for weight in weights)
            references = torch.tensor(weights)[:, None, None] * excerpt.references if weighted else excerpt.references
            references = references.to(target.device)
        return scorer(
            metric,
            target,
            references=references,
            target=excerpt.stems.index(self.refinement.target),
            sample_rate=excerpt.sample_rate,
            keep_transform=keep_transform,
        )

    def _batches(self, tasks: Sequence[Task]) -> list[list[Task]]:
        """Tasks of equal length in groups that go through the separator together."""
        by_length: dict[int, list[Task]] = {}
        for task in tasks:
            by_length.setdefault(task.scene.mixture.shape[-1], []).append(task)
        size = self.batch_size
        return [alike[i : i + size] for alike in by_length.values() for i in range(0, len(alike), size)]

    def _key(self, task: Task, betas: Schedule, n: int, metric: str, how: Refinement) -> Hashable:
        """Of the score after step n. A reversed table of β is used from its end, so that n steps of it are not it."""
        return (metric, task.key, how, (betas, n) if how.reverse else betas[:n])

    def _score(
        self,
        tasks: Sequence[Task],
        betas: Schedule,
        steps: Sequence[int],
        how: Refinement,
        known: MutableMapping[Hashable, float],
    ) -> None:
        """Put the scores of `tasks` after `steps` into `known`."""
        scenes = [task.scene for task in tasks]
        for states in trajectories(self._memoised, scenes, betas, how):
            n = states[0].step
            if n not in steps:
                continue
            outputs = [state.output() for state in states]
            for metric in (self.metric, *self.also):
                scores = torch.stack([task.score(metric)(out) for task, out in zip(tasks, outputs, strict=True)])
                for task, score in zip(tasks, scores.tolist(), strict=True):
                    known[self._key(task, betas, n, metric, how)] = score

    def _count(self, asked: int, before: int) -> None:
        run = self._memoised.passes - before
        self.passes.run += run
        self.passes.saved += asked - run


def mean_over_tracks(scores: Scores, tracks: Sequence[str]) -> Scores:
    """(tasks, …) → (…): mean over the excerpts of each track, then over tracks (Algorithm 1 of the report)."""
    names = list(dict.fromkeys(tracks))
    where = np.array([names.index(track) for track in tracks])
    by_track = np.stack([scores[where == index].mean(axis=0) for index in range(len(names))])
    return np.asarray(by_track.mean(axis=0))

"""The objective: trial → family → schedule → trajectories of the search excerpts → mean score in dB."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import optuna
from optuna.trial import TrialState

from schedopt.config import FINEST
from schedopt.evaluation import Evaluator, Passes, Scores, mean_over_tracks
from schedopt.outputs import OUTPUTS, Weights
from schedopt.refinement import Refinement
from schedopt.schedules import Family, Schedule, after_last_zero
from schedopt.search.dial import would_be_an_end
from schedopt.search.mixing import Mixed, mixed
from schedopt.search.pruners import expected, pairs_excerpts
from schedopt.search.selection import would_be_named
from schedopt.search.space import suggest, suggest_steps
from schedopt.search.summary import zeros_by_track
from schedopt.search_options import PASSES, searches_steps

OnExcerpt = Callable[[int, int], None]
"""Called with (excerpts done, excerpts in all) while a trial runs."""

OnNamed = Callable[[optuna.Trial, Schedule, Refinement], None]
"""Called at the end of a trial that would be selected or the highest, with its schedule cut to the steps that count,
and how it is applied to the first target."""


@dataclass(frozen=True)
class Outcome:
    """What a schedule is worth on the search excerpts.

    `by_step` holds the mean score after each step 0 … N in dB; `steps` is the n whose score counts. `parts` are the
    scores behind it, a target each: (excerpts, N+1) in dB, and the excerpts' tracks. `weights`: those of a mixer by
    target, fitted on all tracks, where they are not the mean output's; the scores are left-out ones. `output`: the
    chosen one, where there are several to choose from. `other`: the same in the second metric of a study of two.
    """

    by_step: tuple[float, ...]
    steps: int
    parts: Sequence[tuple[Scores, Sequence[str]]] = field(default=(), repr=False, compare=False)
    weights: Mapping[str, Weights] = field(default_factory=dict, repr=False, compare=False)
    output: str | None = None
    other: Outcome | None = field(default=None, repr=False, compare=False)

    @property
    def value(self) -> float:
        return self.by_step[self.steps]

    @property
    def gain(self) -> float:
        """Difference to one pass (step 0), dB."""
        return self.by_step[self.steps] - self.by_step[0]

    def by_track(self) -> dict[str, Scores]:
        """Scores in dB after each step, (N+1,), of every track: mean over its excerpts, then over its targets."""
        found: dict[str, list[Scores]] = {}
        for scores, names in self.parts:
            for track in dict.fromkeys(names):
                found.setdefault(track, []).append(scores[[name == track for name in names]].mean(axis=0))
        return {track: np.asarray(np.mean(found[track], axis=0)) for track in sorted(found)}

    def attributes(self) -> dict[str, Any]:
        """What is kept of it: `by_step`; `spread`, the lower and upper quartile over tracks of the change since one
        pass, by step; `gain_by_track`, the gain of each track in the order of their names. dB."""
        scores = np.stack(list(self.by_track().values()))  # (tracks, N+1)
        change = scores - scores[:, :1]
        return {
            "by_step": [round(value, 6) for value in self.by_step],
            "spread": [[round(float(v), 4) for v in row] for row in np.quantile(change, (0.25, 0.75), axis=0)],
            "gain_by_track": [round(float(v), 4) for v in change[:, self.steps]],
            **({"weights": dict(self.weights)} if self.weights else {}),
            **({"output": self.output} if self.output else {}),
            **({} if self.other is None else {"other": self.other._as_other()}),
        }

    def _as_other(self) -> dict[str, Any]:
        """What is kept of the score in a second metric."""
        return {"value": self.value, "gain": self.gain, **self.attributes()}


class Objective:
    """Mean score over excerpts of each track, then over tracks, then over targets.

    Whatever the passes of a trial determine is found in it by arithmetic, not by more trials: the number of steps, the
    output where there are several to choose from, and the weights of a mixer. A mixer's weights
    (`schedopt.search.mixing`) are fitted on all tracks, and the score of a track is that of weights fitted on the
    others. Excerpt by excerpt there are none yet: there pruners see the scores of the mean output, of all trials alike.

    Args:
        evaluators: one a target; one schedule is scored on all of them.
        family: parameters → schedule.
        resolution: every β is rounded to a multiple of it.
        choose_steps: the value is that of the best n in 1 … N instead of n = N. It costs no pass, since a
            trajectory of N steps holds every shorter one.
        outputs: those of which a trial takes the best; by default that of the evaluators.
        criteria: what a trial's values are: the evaluators' metric, and a second one of theirs (`also`) or `passes`,
            if there are two; the number of steps is then a parameter.
        pruner: its name, since pruners differ in what they want reported.
        seed: fixes the order of excerpts.
    """

    def __init__(
        self,
        evaluators: Sequence[Evaluator],
        family: Family,
        *,
        resolution: float,
        choose_steps: bool = True,
        outputs: Sequence[str] = (),
        criteria: Sequence[str] = ("sdr",),
        pruner: str = "none",
        seed: int = 0,
        on_excerpt: OnExcerpt | None = None,
        on_named: OnNamed | None = None,
    ) -> None:
        self.evaluators = list(evaluators)
        self.family = family
        self.resolution = resolution
        self.second = criteria[1] if len(criteria) == 2 else None
        self.searches_steps = searches_steps(criteria, choose_steps=choose_steps)
        self.choose_steps = choose_steps and self.second is None
        self.pruner = pruner
        self.seed = seed
        self.on_excerpt = on_excerpt
        self.on_named = on_named
        self.outputs = tuple(outputs) or (self.evaluators[0].refinement.output,)
        self._found: dict[Schedule, Outcome] = {}
        # An excerpt is one task of every evaluator whose target sounds in it.
        tracks = {task.excerpt.fingerprint: task.excerpt.track for evaluator in evaluators for task in evaluator.tasks}
        self.units, self.unit_tracks = list(tracks), list(tracks.values())

    def outcome(self, betas: Schedule) -> Outcome:
        """The score of `betas` on all excerpts, in dB; at most (N+1) passes an excerpt and target."""
        scores = [evaluator.scores(betas) for evaluator in self.evaluators]
        return self._with_other(self._of_outputs(betas, scores), betas)

    def values(self, outcome: Outcome) -> float | tuple[float, float]:
        """A trial's value in dB, or its two: the second metric in dB, or passes an excerpt."""
        if self.second is None:
            return outcome.value
        return outcome.value, outcome.steps + 1 if outcome.other is None else outcome.other.value

    def propose(self, trial: optuna.Trial) -> Schedule:
        """The schedule of the trial, whole: its parameters are in the storage from now on. Costs no pass."""
        betas = self.family.make(suggest(trial, self.family, self.resolution), self.resolution)
        return betas[: suggest_steps(trial, self.family)] if self.searches_steps else betas

    def passes(self) -> Passes:
        """Passes of all evaluators so far."""
        parts = [evaluator.passes for evaluator in self.evaluators]
        return Passes(sum(part.run for part in parts), sum(part.saved for part in parts))

    def __call__(self, trial: optuna.Trial) -> float | tuple[float, float]:
        """The trial's `values`; `optuna.TrialPruned` where the pruner ends it."""
        began, before = time.perf_counter(), self.passes()
        betas = self.propose(trial)
        trial.set_user_attr("betas", list(betas))
        try:
            outcome = self._with_other(self._run(trial, betas), betas)
            if self.on_named is not None and _is_named(trial, outcome):
                first = self.evaluators[0].refinement
                found = {"output": outcome.output or first.output, "weights": outcome.weights.get(first.target)}
                self.on_named(trial, betas[: outcome.steps], first.model_copy(update=found))
        finally:
            spent = self.passes() - before
            _set_attrs(trial, spent.attributes(time.perf_counter() - began))
        _set_attrs(
            trial,
            {
                "betas": list(self._counting(betas[: outcome.steps])),
                "steps": outcome.steps,
                "gain": outcome.gain,
                **outcome.attributes(),
            },
        )
        return self.values(outcome)

    def _counting(self, betas: Schedule) -> Schedule:
        """`betas` without the steps that a later β = 0 makes vain: the same estimates in fewer passes.

        Where passes are searched, their number is what the trial was asked for.
        """
        chained = self.outputs == ("last",) and all(evaluator.refinement.chained for evaluator in self.evaluators)
        if not chained or self.second == PASSES:
            return betas
        return after_last_zero(betas) or betas

    def _run(self, trial: optuna.Trial, betas: Schedule) -> Outcome:
        """Score excerpt after excerpt, reporting each, until done or pruned."""
        done: list[dict[int, Scores]] = [{} for _ in self.evaluators]
        order = self._order(betas)
        one_pass = trial.study.user_attrs.get("baseline", {}).get("value", 0.0)
        outcome, unreported = None, {}
        reported: dict[int, float] = {}
        group = max(evaluator.batch_size for evaluator in self.evaluators)
        for count, unit in enumerate(order, 1):
            if group > 1 and count % group == 1:
                self._score_together(order[count - 1 : count - 1 + group], betas)
            latest = self._score_unit(unit, betas, done)
            outcome = self._outcome_of(done)
            unreported[unit] = latest
            # With targets that sound in different excerpts the first ones may not cover all targets yet.
            if outcome is not None and self.pruner != "none":
                # Gains, not scores: excerpts differ in score by far more than schedules do, so a mean over some of
                # them would say which excerpts came first.
                if pairs_excerpts(self.pruner):
                    for one, parts in unreported.items():
                        gain = float(np.mean([part[outcome.steps] - part[0] for part in parts]))
                        reported[one] = one_pass + gain
                        trial.report(reported[one], step=one)
                else:
                    trial.report(one_pass + outcome.gain, step=count)
                unreported.clear()
            if self.on_excerpt is not None:
                self.on_excerpt(count, len(order))
            if count < len(order) and count % group == 0 and self._may_prune(trial) and trial.should_prune():
                if pairs_excerpts(self.pruner):
                    # The last report is taken for the trial's value, by the dashboard and by Optuna's samplers.
                    value, error = expected(trial.study, reported, len(order))
                    trial.report(value, step=len(order))
                    by_step = [round(value + part - outcome.value, 6) for part in outcome.by_step] if outcome else None
                    trial.set_user_attr("predicted", {"by_step": by_step, "error": error})
                raise optuna.TrialPruned
        return self._of_outputs(betas, [np.stack([part[index] for index in sorted(part)]) for part in done])

    def _order(self, betas: Schedule) -> list[int]:
        """Order of excerpts: where they are paired, trials that begin alike have the same, so that pruned ones
        share their passes, and others another one, so that no excerpt always comes first. Running means compare only
        over the same excerpts, so there all trials have the same."""
        key = [self.seed, round(betas[0] / FINEST)] if pairs_excerpts(self.pruner) else [self.seed]
        return [int(i) for i in np.random.default_rng(key).permutation(len(self.units))]

    def _may_prune(self, trial: optuna.Trial) -> bool:
        """Reference schedules run to their end, so that every study shows its own gain over them."""
        return self.pruner != "none" and "role" not in trial.user_attrs

    def _score_together(self, units: Sequence[int], betas: Schedule) -> None:
        """Score excerpts in batches, so that `_score_unit` finds their scores: a GPU is idle with one at a time."""
        names = {self.units[unit] for unit in units}
        for evaluator in self.evaluators:
            indices = [i for i, task in enumerate(evaluator.tasks) if task.excerpt.fingerprint in names]
            if indices:
                evaluator.scores(betas, indices)
                # `_score_unit` asks for them again, and counts them then.
                evaluator.passes.saved -= len(indices) * (len(betas) + 1)

    def _score_unit(self, unit: int, betas: Schedule, done: list[dict[int, Scores]]) -> list[Scores]:
        """Score one excerpt for every target that sounds in it; (N+1,) each."""
        latest = []
        for evaluator, scores in zip(self.evaluators, done, strict=True):
            for index, task in enumerate(evaluator.tasks):
                if task.excerpt.fingerprint == self.units[unit]:
                    scores[index] = evaluator.scores(betas, [index])[0]
                    latest.append(scores[index])
        return latest

    def _of_outputs(self, betas: Schedule, scores: Sequence[Scores]) -> Outcome:
        """The best output's outcome; `scores`: the evaluators', (tasks, N+1), those of the mean output for a mixer.

        Costs no pass while the store holds those of the scores. Of outputs that are equal to 1e-9 dB the first is
        taken.
        """
        if betas not in self._found:
            made = [self._of_output(name, betas, scores) for name in self.outputs]
            self._found[betas] = max(made, key=lambda outcome: round(outcome.value, 9))
        return self._found[betas]

    def _of_output(self, name: str, betas: Schedule, scores: Sequence[Scores]) -> Outcome:
        tracks = [evaluator.tracks for evaluator in self.evaluators]
        chosen = name if len(self.outputs) > 1 else None
        steps = range(1, len(betas) + 1) if self.choose_steps else [len(betas)]
        parts, fits = list(scores), dict[str, Mixed]()
        for index, evaluator in enumerate(self.evaluators):
            how = evaluator.refinement.model_copy(update={"output": name})
            if OUTPUTS.find(name).bands:
                fits[how.target] = mixed(how, evaluator, betas, scores[index], steps)
                parts[index] = fits[how.target].scores
            elif how != evaluator.refinement:
                parts[index] = evaluator.scores(betas, refinement=how, again=True)
        outcome = replace(self._outcome(parts, tracks), output=chosen)
        rows = {target: fit.weights[outcome.steps] for target, fit in fits.items()}
        return replace(outcome, weights={target: found for target, found in rows.items() if found is not None})

    def _outcome_of(self, done: list[dict[int, Scores]]) -> Outcome | None:
        if not all(done):
            return None
        scores = [np.stack(list(part.values())) for part in done]
        tracks = [
            [evaluator.tracks[index] for index in part] for evaluator, part in zip(self.evaluators, done, strict=True)
        ]
        return self._outcome(scores, tracks)

    def _outcome(self, scores: Sequence[Scores], tracks: Sequence[Sequence[str]]) -> Outcome:
        means = [mean_over_tracks(part, names) for part, names in zip(scores, tracks, strict=True)]
        by_step = np.mean(means, axis=0)
        steps = int(np.argmax(by_step[1:])) + 1 if self.choose_steps else len(by_step) - 1
        return Outcome(tuple(float(value) for value in by_step), steps, tuple(zip(scores, tracks, strict=True)))

    def _with_other(self, outcome: Outcome, betas: Schedule) -> Outcome:
        """`outcome` of all excerpts with the second metric's, where the study has one; costs no pass."""
        if self.second in (None, PASSES):
            return outcome
        scores = [evaluator.scores_in(str(self.second), betas) for evaluator in self.evaluators]
        other = self._outcome(scores, [evaluator.tracks for evaluator in self.evaluators])
        return replace(outcome, other=other)


def _is_named(trial: optuna.Trial, outcome: Outcome) -> bool:
    """Whether `trial` would be selected or the highest if it ended now."""
    study = trial.study
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    gains = outcome.attributes()["gain_by_track"]
    if outcome.other is not None:
        return would_be_an_end(complete, (outcome.value, outcome.other.value))
    return would_be_named(complete, zeros_by_track(study), outcome.value, gains)


def _set_attrs(trial: optuna.Trial, attrs: dict[str, Any]) -> None:
    for name, value in attrs.items():
        trial.set_user_attr(name, value)

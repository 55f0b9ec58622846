"""The sampler that a study file names, built so that it fits schedule studies, and when it has nothing left to do."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from schedopt.config import StudyConfig
from schedopt.errors import ConfigError
from schedopt.optuna_classes import build
from schedopt.search.space import STEPS, grid_values
from schedopt.search.surrogate import Surrogate, SurrogateSampler

MOST_POINTS = 10**5
"""Of a grid, all of which Optuna's sampler keeps in a list."""

FIXED_SEED = ("grid", "qmc", "GridSampler", "QMCSampler")
"""The shuffled order of a grid, and a Sobol sequence, must be the same in every trial."""

STOP_CHANCE = 0.03
"""`[search] stop` ends a study where a schedule that gains more is less probable than this; see `StudySampler.ending`.
Chosen on recorded scores: `python -m benchmarks.stop`."""

STOP_AFTER = 8
"""Finished trials before `[search] stop` is looked at: so few scores tell little about how scores vary."""


class StudySampler(BaseSampler):
    """A sampler that is made anew, with a seed of its own, for every trial; it knows when a study is at its end.

    Optuna does not store a sampler's random state: resumed with the same seed it would repeat its start-up
    samples, and two workers would draw alike. Seeding by the trial's number makes a resumed study, or one of several
    workers, continue where an undisturbed one would be.

    Args:
        surrogate: what models the score; None for studies of two objectives.
        stop: gain over β = 0 in dB that must be possible for the study to go on; 0 for none.
    """

    def __init__(
        self, make: Callable[[int], BaseSampler], seed: int, surrogate: Surrogate | None = None, stop: float = 0.0
    ) -> None:
        self._make = make
        self._seed = seed
        self._inner = make(seed)
        self._surrogate = surrogate
        self._stop = stop

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        self._inner = self._make(_mixed(self._seed, trial.number))
        self._inner.before_trial(study, trial)

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return self._inner.infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        return self._inner.sample_relative(study, trial, search_space)

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        return self._inner.sample_independent(study, trial, param_name, param_distribution)

    def after_trial(self, study: Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None) -> None:
        self._inner.after_trial(study, trial, state, values)

    def is_exhausted(self, study: Study) -> bool:
        """Whether there is nothing left to do: see `ending`."""
        return self.ending(study) is not None

    def ending(self, study: Study) -> str | None:
        """Why the study is at its end before it has its trials, as a sentence; None where it is not. Costs no pass.

        With `stop`: the posterior probability, given all scores, that some schedule gains more is a martingale under
        the model. So at whatever time it is looked at, and however often, at most a share `STOP_CHANCE` of the studies
        in which more is to be found ends by it (Doob's optional stopping theorem), as far as the model holds.
        """
        if isinstance(self._inner, optuna.samplers.GridSampler) and self._inner.is_exhausted(study):
            return "every point of the grid has been scored: raise search.grid, in a new study, for more"
        if self._surrogate is None or _has_queue(study):
            return None
        if isinstance(self._inner, SurrogateSampler) and self._surrogate.is_exhausted(study):
            return (
                "every schedule of this family has been scored: take another schedule.family or a finer"
                " schedule.resolution, in a new study, for more"
            )
        finished = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED))
        if self._stop == 0 or len(finished) < STOP_AFTER:
            return None
        rng = np.random.default_rng(_mixed(self._seed, len(finished)))
        if self._surrogate.chance_of_more(study, self._stop, rng) >= STOP_CHANCE:
            return None
        return (
            f"no schedule of this family gains more than {self._stop:g} dB over β = 0 on these tracks"
            f" (probability of one that does: less than {STOP_CHANCE:g})"
        )


def make_sampler(config: StudyConfig) -> StudySampler:
    """The sampler that `[search] sampler` names.

    Raises:
        ConfigError: the sampler refuses its options, or a grid has too many points.
    """
    search, seed, name = config.search, config.study.seed, config.search.sampler
    surrogate = None if search.pareto else surrogate_of(config)
    if name == "surrogate":
        assert surrogate is not None  # the config refuses it for two objectives
        return StudySampler(lambda seed: SurrogateSampler(surrogate, seed), seed, surrogate, search.stop)
    defaults: dict[str, Any] = {"warn_independent_sampling": False}
    if name == "grid":
        defaults["search_space"] = _grid(config)
    if name in ("qmc", "QMCSampler"):
        defaults["scramble"] = True

    def make(one: int) -> BaseSampler:
        seeds = {"seed": seed if name in FIXED_SEED else one}
        try:
            made: BaseSampler = build("sampler", name, search.sampler_options, {**defaults, **seeds})
        except ValueError as error:
            raise ConfigError(f"search.sampler_options: {error}") from None
        return made

    return StudySampler(make, seed, surrogate, search.stop)


def surrogate_of(config: StudyConfig) -> Surrogate:
    """The model of the scores of this study's family."""
    refinement = config.refinement
    chained = refinement.rule in ("remix", "unmix") and not refinement.shift and refinement.output == "last"
    return Surrogate(config.family(), config.schedule.resolution, chained=chained, choose_steps=refinement.choose_steps)


def _grid(config: StudyConfig) -> dict[str, list[float]]:
    grid: dict[str, list[float]] = grid_values(config.family(), config.search.grid, config.schedule.resolution)
    if config.search.pareto:
        grid = {**grid, STEPS: [*range(1, config.refinement.steps + 1)]}
    points = math.prod(len(values) for values in grid.values())
    if points > MOST_POINTS:
        raise ConfigError(
            f"search.grid: a grid of {points} schedules; at most {MOST_POINTS}, so fewer values a parameter"
        )
    return grid


def _mixed(seed: int, number: int) -> int:
    return int(np.random.SeedSequence([seed, number]).generate_state(1)[0])


def _has_queue(study: Study) -> bool:
    return bool(study.get_trials(deepcopy=False, states=(TrialState.WAITING,)))

"""Optuna's samplers, each built so that it fits schedule studies."""

from __future__ import annotations

import math
import warnings
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
from schedopt.search.space import STEPS, grid_values
from schedopt.search.surrogate import Surrogate, SurrogateSampler

MOST_POINTS = 10**5
"""Of a grid, all of which Optuna's sampler keeps in a list."""


class SeededByTrial(BaseSampler):
    """A sampler that is made anew, with a seed of its own, for every trial.

    Optuna does not store a sampler's random state: resumed with the same seed it would repeat its start-up
    samples, and two workers would draw alike. Seeding by the trial's number makes a resumed study, or one of several
    workers, continue where an undisturbed one would be.
    """

    def __init__(self, make: Callable[[int], BaseSampler], seed: int) -> None:
        self._make = make
        self._seed = seed
        self._inner = make(seed)

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        mixed = np.random.SeedSequence([self._seed, trial.number]).generate_state(1)[0]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            self._inner = self._make(int(mixed))
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
        """Whether the sampler is a grid of which no point is left."""
        inner = self._inner
        return isinstance(inner, optuna.samplers.GridSampler) and inner.is_exhausted(study)


def make_sampler(config: StudyConfig) -> BaseSampler:
    """The sampler that `[search] sampler` names."""
    seed = config.study.seed
    name = config.search.sampler
    family = config.family()
    grid: dict[str, list[float]] = grid_values(family, config.search.grid, config.schedule.resolution)
    if config.search.pareto:
        grid = {**grid, STEPS: [*range(1, family.steps + 1)]}
    points = math.prod(len(values) for values in grid.values())
    if name == "grid" and points > MOST_POINTS:
        raise ConfigError(
            f"search.grid: a grid of {points} schedules; at most {MOST_POINTS}, so fewer values a parameter"
        )
    surrogate = surrogate_of(config)
    makers: dict[str, Callable[[int], BaseSampler]] = {
        "surrogate": lambda seed: SurrogateSampler(surrogate, seed),
        "random": lambda seed: optuna.samplers.RandomSampler(seed=seed),
        # The shuffled order of the grid, and the Sobol sequence, must be the same in every trial.
        "grid": lambda _: optuna.samplers.GridSampler(grid, seed=config.study.seed),
        "qmc": lambda _: optuna.samplers.QMCSampler(
            scramble=True, seed=config.study.seed, warn_independent_sampling=False
        ),
        "tpe": lambda seed: optuna.samplers.TPESampler(seed=seed),
        "cmaes": lambda seed: optuna.samplers.CmaEsSampler(seed=seed, warn_independent_sampling=False),
        "gp": lambda seed: optuna.samplers.GPSampler(seed=seed),
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return SeededByTrial(makers[name], seed)


def surrogate_of(config: StudyConfig) -> Surrogate:
    refinement = config.refinement
    chained = refinement.rule in ("remix", "unmix") and not refinement.shift and refinement.output == "last"
    return Surrogate(
        config.family(), config.schedule.resolution, chained=chained, choose_steps=refinement.choose_steps
    )

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
from schedopt.optuna_classes import HUB, build_class, check_options, class_of
from schedopt.search.hub import hub_class
from schedopt.search.space import STEPS, grid_values
from schedopt.search.surrogate import Surrogate, SurrogateSampler
from schedopt.search_options import searches_steps

MOST_POINTS = 10**5
"""Of a grid, all of which Optuna's sampler keeps in a list."""

FIXED_SEED = ("grid", "qmc", "GridSampler", "QMCSampler")
"""The shuffled order of a grid, and a Sobol sequence, must be the same in every trial."""


class StudySampler(BaseSampler):
    """A sampler that is made anew, with a seed of its own, for every trial; it knows when a study is at its end.

    Optuna does not store a sampler's random state: resumed with the same seed it would repeat its start-up
    samples, and two workers would draw alike. Seeding by the trial's number makes a resumed study, or one of several
    workers, continue where an undisturbed one would be.

    Args:
        surrogate: the model of the sampler `surrogate`; None for other samplers.
        keeps_state: what a trial taught it lies in the sampler itself, not in the study, so that it is made once, with
            a seed by the first trial's number.
    """

    def __init__(
        self,
        make: Callable[[int], BaseSampler],
        seed: int,
        surrogate: Surrogate | None = None,
        *,
        keeps_state: bool = False,
    ) -> None:
        self._make = make
        self._keeps_state = keeps_state
        self._begun = False
        self._seed = seed
        self._inner = make(seed)
        self._surrogate = surrogate

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        if not (self._keeps_state and self._begun):
            self._inner = self._make(_mixed(self._seed, trial.number))
            self._begun = True
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
        """Whether every point of a grid, or every schedule of a small family, has been scored."""
        inner = self._inner
        if isinstance(inner, optuna.samplers.GridSampler):
            return inner.is_exhausted(study)
        return self._surrogate is not None and self._surrogate.is_exhausted(study)


def make_sampler(config: StudyConfig, *, trust_hub: bool = False) -> StudySampler:
    """The sampler that `[search] sampler` names.

    Args:
        trust_hub: allow `hub:NAME`, which downloads code of OptunaHub and runs it.

    Raises:
        ConfigError: the sampler refuses its options, a grid has too many points, or see `hub_class`.
    """
    search, seed, name = config.search, config.study.seed, config.search.sampler
    if name == "surrogate":
        surrogate = surrogate_of(config)
        return StudySampler(lambda seed: SurrogateSampler(surrogate, seed), seed, surrogate)
    is_from_hub = name.startswith(HUB)
    found = hub_class(name, trusted=trust_hub) if is_from_hub else class_of("sampler", name)
    defaults: dict[str, Any] = {"warn_independent_sampling": False}
    if name == "grid":
        defaults["search_space"] = _grid(config)
    if name in ("qmc", "QMCSampler"):
        defaults["scramble"] = True

    def make(one: int) -> BaseSampler:
        seeds = {"seed": seed if name in FIXED_SEED else one}
        try:
            check_options(found, search.sampler_options)
            made: BaseSampler = build_class("sampler", found, search.sampler_options, {**defaults, **seeds})
        except ValueError as error:
            raise ConfigError(f"search.sampler_options: {error}") from None
        return made

    # Optuna's own samplers read the study; of others nobody knows.
    return StudySampler(make, seed, keeps_state=is_from_hub)


def surrogate_of(config: StudyConfig) -> Surrogate:
    """The model of the scores of this study's family."""
    refinement = config.refinement
    chained = refinement.rule in ("remix", "unmix") and not refinement.shift and refinement.output == "last"
    return Surrogate(config.family(), config.schedule.resolution, chained=chained, choose_steps=refinement.choose_steps)


def _grid(config: StudyConfig) -> dict[str, list[float]]:
    grid: dict[str, list[float]] = grid_values(config.family(), config.search.grid, config.schedule.resolution)
    if searches_steps(config.search.criteria, choose_steps=config.refinement.choose_steps):
        grid = {**grid, STEPS: [*range(1, config.refinement.steps + 1)]}
    points = math.prod(len(values) for values in grid.values())
    if points > MOST_POINTS:
        raise ConfigError(
            f"search.grid: a grid of {points} schedules; at most {MOST_POINTS}, so fewer values a parameter"
        )
    return grid


def _mixed(seed: int, number: int) -> int:
    return int(np.random.SeedSequence([seed, number]).generate_state(1)[0])

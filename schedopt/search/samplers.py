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
from schedopt.search.candidates import Candidates, fresh
from schedopt.search.hub import hub_class
from schedopt.search.predicted import PredictedStudy
from schedopt.search.prefix_gp import PrefixGP, PrefixGPSampler
from schedopt.search.space import STEPS, distributions, grid_values
from schedopt.search_options import searches_steps

MOST_POINTS = 10**5
"""Of a grid, all of which Optuna's sampler keeps in a list."""

FIXED_SEED = ("grid", "qmc", "GridSampler", "QMCSampler")
"""The shuffled order of a grid, and a Sobol sequence, must be the same in every trial."""


STOP_CHANCE = 0.05
"""`[search] stop` ends a study where a schedule that gains more is less probable than this."""

STOP_AFTER = 8
"""Finished trials before `[search] stop` is looked at: so few scores tell little about how scores vary."""

GRID_USED_UP = "every point of the grid has been scored"
ALL_SCORED = "every schedule of this family has been scored"


class StudySampler(BaseSampler):
    """A sampler that is made anew, with a seed of its own, for every trial; it knows when a study is at its end.

    Optuna does not store a sampler's random state: resumed with the same seed it would repeat its start-up
    samples, and two workers would draw alike. Seeding by the trial's number makes a resumed study, or one of several
    workers, continue where an undisturbed one would be.

    No schedule is proposed that was scored before, or is being scored: the nearest other one takes its place.

    Args:
        model: of the scores, with the family's schedules; None for studies of two objectives.
        stop: gain over the selected trial in dB that must be possible for the study to go on; 0: whatever is.
        keeps_state: what a trial taught it lies in the sampler itself, not in the study, so that it is made once, with
            a seed by the first trial's number.
    """

    def __init__(
        self,
        make: Callable[[int], BaseSampler],
        seed: int,
        model: PrefixGP | None = None,
        stop: float = 0.0,
        *,
        keeps_state: bool = False,
    ) -> None:
        self._make = make
        self._keeps_state = keeps_state
        self._begun = False
        self._seed = seed
        self._inner = make(seed)
        self._model = model
        self._candidates = None if model is None else model.candidates
        self._stop = stop
        self._looked_at, self._chance = 0, 1.0  # finished trials, and what they left to be found

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        if not (self._keeps_state and self._begun):
            self._inner = self._make(_mixed(self._seed, trial.number))
            self._begun = True
        self._inner.before_trial(self._seen(study), trial)

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        if self._candidates is None or self._is_grid():
            return self._inner.infer_relative_search_space(self._seen(study), trial)
        return dict(self._candidates.space)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        if self._candidates is None or self._is_grid():
            return self._inner.sample_relative(self._seen(study), trial, search_space)
        if "fixed_params" in trial.system_attrs:
            return {}
        seen = self._seen(study)
        inner = self._inner.infer_relative_search_space(seen, trial)
        params = self._inner.sample_relative(seen, trial, inner)
        for name, one in search_space.items():
            if name not in params:
                params[name] = self._inner.sample_independent(seen, trial, name, one)
        others = (other for other in _whole(study).get_trials(deepcopy=False) if other.number != trial.number)
        return self._candidates.nearest_fresh(params, others)

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        return self._inner.sample_independent(self._seen(study), trial, param_name, param_distribution)

    def after_trial(self, study: Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None) -> None:
        self._inner.after_trial(_whole(study), trial, state, values)

    def ending(self, study: Study) -> str | None:
        """Why the study ends before it has its trials, as a sentence; None where it does not. Costs no pass.

        With `stop` the study ends once a schedule that gains more is improbable given all scores. Such a posterior
        probability holds whenever it is looked at, and however often, as far as the model holds: that scores are drawn
        from the Gaussian processes of `schedopt.search.surface`.
        """
        states = [trial.state for trial in study.get_trials(deepcopy=False)]
        if TrialState.WAITING in states:
            return None
        if TrialState.RUNNING not in states and self.is_exhausted(study):
            return GRID_USED_UP if self._is_grid() else ALL_SCORED
        finished = states.count(TrialState.COMPLETE) + states.count(TrialState.PRUNED)
        # Trials that others run do not matter here: with many workers there always are some.
        if self._model is None or self._stop == 0 or finished < STOP_AFTER:
            return None
        if finished != self._looked_at:  # else a worker that waits would ask again and again
            rng = np.random.default_rng(_mixed(self._seed, finished))
            self._chance, self._looked_at = self._model.chance_of_more(study, self._stop, rng), finished
        if self._chance >= STOP_CHANCE:
            return None
        return (
            f"no schedule of this family gains more than {self._stop:g} dB over the selected one on these tracks"
            f" (the probability that one does is below {STOP_CHANCE:g})"
        )

    def is_exhausted(self, study: Study) -> bool:
        """Whether each point of the grid, or each schedule of a small family, is scored, or being so. Costs no pass."""
        if isinstance(self._inner, optuna.samplers.GridSampler) and self._inner.is_exhausted(study):
            return True
        if self._candidates is None or self._candidates.all is None:
            return False
        taken = self._candidates.taken(study.get_trials(deepcopy=False))
        return not len(fresh(self._candidates.all, taken))

    def _seen(self, study: Study) -> Study:
        """The study as its sampler sees it; ours knows of predictions and of their errors."""
        whole = _whole(study)
        return whole if isinstance(self._inner, PrefixGPSampler) else PredictedStudy.of(whole)

    def _is_grid(self) -> bool:
        """Optuna's grid has each of its points once, and notes which they are on its own."""
        return isinstance(self._inner, optuna.samplers.GridSampler)


def _whole(study: Study) -> Study:
    """Hyperband hands samplers a view of the study that can neither be copied nor asked for attributes. Optuna's own
    samplers read all its trials, whatever their bracket, and so do these."""
    return getattr(study, "_study", study)


def make_sampler(config: StudyConfig, *, trust_hub: bool = False) -> StudySampler:
    """The sampler that `[search] sampler` names.

    Args:
        trust_hub: allow `hub:NAME`, which downloads code of OptunaHub and runs it.

    Raises:
        ConfigError: the sampler refuses its options, a grid has too many points, or see `hub_class`.
    """
    search, seed, name = config.search, config.study.seed, config.search.sampler
    model = model_of(config) if len(search.criteria) == 1 else None
    if name == "prefix-gp":
        assert model is not None  # the config refuses it for two objectives
        return StudySampler(lambda seed: PrefixGPSampler(model, seed), seed, model, search.stop)
    if name == "BruteForceSampler":
        raise ConfigError(
            "search.sampler: BruteForceSampler does not go with samplers that score no schedule twice; random scores"
            " every schedule of a small family once, and then the study ends"
        )
    is_from_hub = name.startswith(HUB)
    found = hub_class(name, trusted=trust_hub) if is_from_hub else class_of("sampler", name)
    _check_grid(config)
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
    return StudySampler(make, seed, model, search.stop, keeps_state=is_from_hub)


def model_of(config: StudyConfig) -> PrefixGP:
    """The model of the scores of this study's family."""
    refinement = config.refinement
    candidates = Candidates(config.family(), config.schedule.resolution)
    return PrefixGP(candidates, chained=refinement.chained, choose_steps=refinement.choose_steps)


def _check_grid(config: StudyConfig) -> None:
    """Refuse a grid of one's own in `sampler_options` that is not over the parameters of the study."""
    own = config.search.sampler_options.get("search_space")
    space = list(distributions(config.family(), config.schedule.resolution))
    if config.search.sampler in ("grid", "GridSampler") and isinstance(own, dict) and not set(own) >= set(space):
        raise ConfigError(
            f"search.sampler_options.search_space: it is to have values of {', '.join(space)}; it has"
            f" {', '.join(own) or 'none'}"
        )


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

"""The objective of a study file for studies that a program makes itself, with any sampler and pruner of Optuna."""

from __future__ import annotations

import threading
from typing import cast

import optuna
from optuna.pruners import BasePruner, NopPruner, WilcoxonPruner
from optuna.trial import FixedTrial

from schedopt.config import StudyConfig
from schedopt.errors import ConfigError, StudyError
from schedopt.search.objective import Objective
from schedopt.search.prepared import PreparedSearch
from schedopt.search.pruners import PairedPruner, PredictivePruner
from schedopt.search.references import measure_references
from schedopt.search.study import describe, identity, is_ours
from schedopt.search_options import Direction
from schedopt.storage.locks import start_lock


def reporting(pruner: BasePruner) -> str:
    """The name, as in `[search] pruner`, of a pruner that wants the same reported as `pruner`."""
    if isinstance(pruner, NopPruner):
        return "none"
    paired = isinstance(pruner, (WilcoxonPruner, PairedPruner, PredictivePruner))
    return "wilcoxon" if paired else "median"


class StudyObjective:
    """An Optuna objective: score in dB of the schedule that a trial proposes (and a second value, if so searched).

    Made by `objective`. The first trial of a study also scores one pass, β = 0 and the authors' line, keeps them in the
    study's attributes, and queues the latter two as the next trials where the family holds them. Threads
    (`n_jobs`) take turns.

    Attributes:
        directions: of the study, as `optuna.create_study(directions=…)` takes them.
    """

    def __init__(self, prepared: PreparedSearch, target: str) -> None:
        self._prepared, self._target = prepared, target
        self._objective: Objective = prepared.objective(target)
        self._wanted = identity(prepared.config, target, prepared.separator, prepared.excerpts)
        # They are the study's own, and may change from one call of `optimize` to the next.
        self._wanted["config"]["search"].update(sampler="own", pruner="own")
        self._turn = threading.RLock()
        self.directions: list[Direction] = prepared.config.search.directions

    def __call__(self, trial: optuna.Trial | FixedTrial) -> float | tuple[float, float]:
        """Value of the trial; at most N+1 passes an excerpt and target.

        Raises:
            optuna.TrialPruned: the study's pruner says so.
            StudyError: the study has other directions, trials of another objective, or is another one of schedopt's.
        """
        with self._turn:
            if isinstance(trial, FixedTrial):
                return self._of_fixed(cast(optuna.Trial, trial))
            self.prepare(trial.study)
            self._objective.pruner = "none" if self._objective.second else reporting(trial.study.pruner)
            return self._objective(trial)

    def prepare(self, study: optuna.Study) -> None:
        """Measure the references of `study` and queue its first trials; nothing where that is done."""
        if is_ours(study) and "baseline" in study.user_attrs:
            describe(study, self._wanted)
            return
        directions = [direction.name.lower() for direction in study.directions]
        if directions != self.directions:
            raise StudyError(
                f"study {study.study_name}: its directions are {directions}; make it with"
                f" optuna.create_study(directions={self.directions})"
            )
        finished = [one for one in study.get_trials(deepcopy=False) if one.state.is_finished()]
        if finished and not is_ours(study):
            raise StudyError(f"study {study.study_name}: it holds trials of another objective; make another study")
        describe(study, self._wanted)
        measure_references(study, self._objective, lambda: start_lock(study._storage, study.study_name))

    def _of_fixed(self, trial: optuna.Trial) -> float | tuple[float, float]:
        made = self._objective
        return made.values(made.outcome(made.propose(trial)))


def objective(config: StudyConfig, target: str | None = None, *, trust_pickle: bool = False) -> StudyObjective:
    """The objective of a study file, for a study that you make: `optuna.create_study(direction="maximize")`.

    Loads the model and cuts the excerpts; no pass yet. `[search] sampler` and `pruner`, `[study] trials`, `storage` and
    `workers` are not used: the study and its `optimize` say these. `schedopt.figures(study)` and Optuna's own
    plots draw the study.

    Args:
        target: which of the file's targets, where it has several.
        trust_pickle: load `.th` weights, whose loading runs code that is in them.

    Raises:
        ConfigError: the file has several targets, and `target` names none of them.
        SchedoptError: model or data cannot be used.

    >>> import optuna, schedopt
    >>> config = schedopt.make_config(
    ...     {"study": {"name": "doc"}, "data": {"tracks": 2, "excerpt": 0.5}, "refinement": {"steps": 1}}
    ... )
    >>> study = optuna.create_study(direction="maximize", sampler=optuna.samplers.RandomSampler(seed=1))
    >>> study.optimize(schedopt.objective(config), n_trials=3)
    >>> sorted(study.trials[0].params), round(study.trials[1].user_attrs["gain"], 3)
    (['end', 'start'], 0.0)
    """
    targets = config.refinement.targets
    if target is None and len(targets) == 1:
        target = targets[0]
    if target not in targets:
        raise ConfigError(f"target = {target!r}: say for which of the study file's targets: {', '.join(targets)}")
    # The storage is the study's own, so no folder is known for audio.
    silent = config.store.model_copy(update={"audio": 0.0})
    prepared = PreparedSearch.prepare(config.model_copy(update={"store": silent}), trust_pickle=trust_pickle)
    return StudyObjective(prepared, target)

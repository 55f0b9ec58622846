"""Running a study file: make or resume its studies, search until they have their trials."""

from __future__ import annotations

import contextlib
import functools
import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import optuna
from optuna.storages import BaseStorage

from schedopt.config import StudyConfig
from schedopt.errors import StudyError
from schedopt.schedules import Schedule, line, zeros
from schedopt.search.audio import make_folder
from schedopt.search.objective import Objective, Outcome
from schedopt.search.pruners import make_pruner
from schedopt.search.samplers import make_sampler
from schedopt.search.space import enqueue
from schedopt.search.study import Summary, create_or_load, identity, study_name, summarize
from schedopt.search.watcher import Silent, Watcher
from schedopt.search.workbench import Workbench
from schedopt.storage.faults import STORAGE_FAULTS, one_line
from schedopt.storage.opening import open_storage, shown, start_lock
from schedopt.workers.dask import connect
from schedopt.workers.loop import work
from schedopt.workers.pool import Pool


def run(
    config: StudyConfig, *, trust_pickle: bool = False, watcher: Watcher | None = None, dask: str | None = None
) -> list[Summary]:
    """Run or resume the study of `config` (one study a target) until it has the trials asked for.

    A study that has them already costs no pass. Every finished trial is in the storage before the next starts.
    With several workers each is a process of its own, with the model and the excerpts loaded once. `dask` is the
    address of a Dask scheduler whose worker processes search instead.

    Raises:
        SchedoptError: model, data or storage cannot be used, the stored study differs, or trials keep failing.
    """
    optuna.logging.set_verbosity(optuna.logging.CRITICAL)
    watcher = watcher or Silent()
    storage = open_storage(config.study.storage)
    make_folder(config)
    with contextlib.ExitStack() as stack:
        # A cluster is asked before the model is loaded, which takes a while.
        several: Several | None = None
        if dask:
            several = stack.enter_context(connect(dask, config, trust_pickle=trust_pickle))
        bench = Workbench.prepare(config, trust_pickle=trust_pickle, workers=1 if several else config.study.workers)
        if several is None and config.study.workers > 1:
            several = Pool(bench, trust_pickle)
        try:
            return [_run_one(bench, storage, target, watcher, several) for target in config.refinement.targets]
        except STORAGE_FAULTS as error:
            raise StudyError(f"{shown(config.study.storage)}: the storage failed: {one_line(error)}") from None


class Several(Protocol):
    """Several processes that search together."""

    def rehearse(self, objective: Objective, target: str, schedules: Sequence[Schedule]) -> None:
        """Score `schedules` into the store of `objective`."""
        ...

    def work(self, study: optuna.Study, target: str, report: Callable[[], None]) -> None:
        """Search until the study of `target` has its trials, calling `report` now and then."""
        ...


def _run_one(bench: Workbench, storage: BaseStorage, target: str, watcher: Watcher, several: Several | None) -> Summary:
    config, url = bench.config, shown(bench.config.study.storage)
    objective = bench.objective(target, watcher.excerpt)
    rehearse = None if several is None else functools.partial(several.rehearse, objective, target)
    study = open_study(bench, objective, storage, target, rehearse)
    summary = summarize(study, url)
    watcher.study(summary, config.study.trials)
    if summary.finished >= config.study.trials:
        return summary
    report = functools.partial(_report, study, url, watcher)
    if several is None:
        work(study, objective, config.study.trials, on_trial=report)
    else:
        several.work(study, target, report)
    return summarize(study, url)


def _report(study: optuna.Study, url: str, watcher: Watcher) -> None:
    watcher.trial(summarize(study, url))


def open_study(
    bench: Workbench,
    objective: Objective,
    storage: BaseStorage,
    target: str,
    rehearse: Callable[[Sequence[Schedule]], None] | None = None,
) -> optuna.Study:
    """The study of `target`, made or checked, with its reference scores measured (by several, who `rehearse` them).

    Raises:
        StudyError: a study of this name is there and differs.
    """
    config, name = bench.config, study_name(bench.config, target)
    backend: Any = storage
    # Two people may start the same new study at the same moment: one makes it, the other finds it made.
    with start_lock(backend, name):
        study = create_or_load(
            storage,
            name,
            identity(config, target, bench.separator, bench.excerpts),
            make_sampler(config),
            make_pruner(config.search, objective.unit_tracks),
        )
    if "baseline" not in study.user_attrs:
        references = authors_line, unscheduled = line(config.refinement.steps), zeros(config.refinement.steps)
        began, before = time.perf_counter(), objective.passes()
        if rehearse is not None:
            rehearse(references)
        outcome, outcome_of_zeros = objective.outcome(authors_line), objective.outcome(unscheduled)
        cost = (objective.passes() - before).attributes(time.perf_counter() - began)
        # Scored outside the lock, since it takes passes: both may score it, and one writes it.
        with start_lock(backend, name):
            if "baseline" not in study.user_attrs:
                study.set_user_attr("zeros", {"value": outcome_of_zeros.value, **outcome_of_zeros.attributes()})
                _note_references(study, objective, authors_line, outcome)
                study.set_user_attr("references", cost)
    return study


def _note_references(study: optuna.Study, objective: Objective, authors_line: Schedule, outcome: Outcome) -> None:
    """Keep the scores of one pass and of the authors' line; queue both as trials where the family holds them.

    Up to β's resolution, that is.
    """
    study.set_user_attr("line", {"value": outcome.value, "betas": list(authors_line), **outcome.attributes()})
    study.set_user_attr("tracks", list(outcome.by_track()))
    names = {task.excerpt.name for e in objective.evaluators for task in e.tasks}
    study.set_user_attr("excerpts", sorted(names))
    left_out = {e.refinement.target: [x.name for x in e.left_out] for e in objective.evaluators}
    study.set_user_attr("left_out", {stem: out for stem, out in left_out.items() if out})
    enqueue(
        study, objective.family, zeros(len(authors_line)), objective.resolution, "baseline", pareto=objective.pareto
    )
    enqueue(study, objective.family, authors_line, objective.resolution, "line", pareto=objective.pareto)
    # Last, so that a run that is cut off before it scores and queues again.
    study.set_user_attr("baseline", {"value": outcome.by_step[0], "by_step": [round(outcome.by_step[0], 6)]})

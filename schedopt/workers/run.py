"""Running a study file: make or resume its studies, search until they have their trials."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Sequence

import optuna
from optuna.storages import BaseStorage

from schedopt.config import StudyConfig
from schedopt.errors import StudyError
from schedopt.schedules import Schedule
from schedopt.search.audio import make_folder
from schedopt.search.objective import Objective
from schedopt.search.pruners import make_pruner
from schedopt.search.references import measure_references
from schedopt.search.samplers import make_sampler
from schedopt.search.study import Summary, create_or_load, identity, study_name, summarize
from schedopt.search.watcher import Silent, Watcher
from schedopt.search.workbench import Workbench
from schedopt.storage.faults import STORAGE_FAULTS, one_line, quiet_optuna
from schedopt.storage.locks import start_lock
from schedopt.storage.opening import open_storage
from schedopt.storage.owners import lost_references
from schedopt.storage.urls import shown
from schedopt.workers.dask import Cluster, connect
from schedopt.workers.loop import work
from schedopt.workers.pool import Pool, open_pool


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
    watcher = watcher or Silent()
    with quiet_optuna(), contextlib.ExitStack() as stack:
        storage = open_storage(config.study.storage)
        make_folder(config)
        # A cluster is asked before the model is loaded, which takes a while.
        workers: Workers | None = None
        if dask is not None:
            workers = stack.enter_context(connect(dask, config, trust_pickle=trust_pickle))
        bench = Workbench.prepare(config, trust_pickle=trust_pickle, workers=1 if workers else config.study.workers)
        if workers is None and config.study.workers > 1:
            workers = stack.enter_context(open_pool(bench, trust_pickle=trust_pickle))
        try:
            return [_run_one(bench, storage, target, watcher, workers) for target in config.refinement.targets]
        except STORAGE_FAULTS as error:
            url = config.study.storage
            raise StudyError(f"{shown(url)}: the storage failed: {one_line(error, url)}") from None


def grid_used_up(config: StudyConfig, summary: Summary) -> str:
    """The line for a study whose grid holds fewer points than trials are asked for, so that it cannot go on."""
    return (
        f"study {summary.study}: the grid is used up: all its points are tried ({summary.finished} trials finished,"
        f" {config.study.trials} were asked for); lower study.trials to {summary.finished}, or start a study of another"
        f" name with a finer grid: raise search.grid (now {config.search.grid}) or lower schedule.resolution"
        f" (now {config.schedule.resolution:g})"
    )


Workers = Pool | Cluster
"""Processes that search together."""


def _run_one(bench: Workbench, storage: BaseStorage, target: str, watcher: Watcher, workers: Workers | None) -> Summary:
    config, url = bench.config, shown(bench.config.study.storage)
    objective = bench.objective(target, watcher.excerpt)
    rehearse = None if workers is None else functools.partial(workers.rehearse, objective, target)
    study = open_study(bench, objective, storage, target, rehearse)
    summary = summarize(study, url)
    watcher.study(summary, config.study.trials)
    if summary.finished >= config.study.trials and not lost_references(study.get_trials(deepcopy=False)):
        return summary
    report = functools.partial(_report, study, url, watcher)
    if workers is None:
        work(study, objective, config.study.trials, on_trial=report)
    else:
        workers.work(study, target, report)
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
    # Two people may start the same new study at the same moment: one makes it, the other finds it made.
    with start_lock(storage, name):
        study = create_or_load(
            storage,
            name,
            identity(config, target, bench.separator, bench.excerpts),
            make_sampler(config),
            make_pruner(config.search.pruner, len(objective.units)),
        )
    measure_references(study, objective, functools.partial(start_lock, storage, name), rehearse)
    return study

"""Running a study file: make or resume its studies, search until they have their trials."""

from __future__ import annotations

import contextlib
import functools
import gc
import time
from collections.abc import Callable

import optuna
import torch
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
from schedopt.storage.faults import STORAGE_FAULTS, one_line, quiet_optuna
from schedopt.storage.locks import start_lock
from schedopt.storage.opening import open_storage
from schedopt.storage.owners import lost_references
from schedopt.storage.urls import shown
from schedopt.workers.dask import connect
from schedopt.workers.loop import work
from schedopt.workers.pool import open_pool


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
        cluster = None if dask is None else stack.enter_context(connect(dask, config, trust_pickle=trust_pickle))
        bench = Workbench.prepare(config, trust_pickle=trust_pickle, workers=1 if cluster else config.study.workers)
        try:
            if cluster is None and config.study.workers == 1:
                return [_run_alone(bench, storage, target, watcher) for target in config.refinement.targets]
            studies = {target: _opened(bench, storage, target, watcher)[0] for target in config.refinement.targets}
            workers = cluster or stack.enter_context(open_pool(bench, trust_pickle=trust_pickle))
            # The workers need the memory, a GPU's above all.
            del bench
            _free_memory()
            return [
                _searched(config, study, watcher, functools.partial(workers.work, study, target))
                for target, study in studies.items()
            ]
        except STORAGE_FAULTS as error:
            url = config.study.storage
            raise StudyError(f"{shown(url)}: the storage failed: {one_line(error, url)}") from None


def grid_used_up(config: StudyConfig, summary: Summary) -> str:
    """The line for a study whose grid holds fewer points than trials are asked for, so that it cannot go on."""
    if config.search.sampler != "grid":
        return (
            f"study {summary.study}: every schedule of the family {config.schedule.family} has been scored"
            f" ({summary.finished} trials finished, {config.study.trials} were asked for); lower study.trials to"
            f" {summary.finished}, or start a study of another name with another family or a lower schedule.resolution"
        )
    return (
        f"study {summary.study}: the grid is used up: all its points are tried ({summary.finished} trials finished,"
        f" {config.study.trials} were asked for); lower study.trials to {summary.finished}, or start a study of another"
        f" name with a finer grid: raise search.grid (now {config.search.grid}) or lower schedule.resolution"
        f" (now {config.schedule.resolution:g})"
    )


def _opened(bench: Workbench, storage: BaseStorage, target: str, watcher: Watcher) -> tuple[optuna.Study, Objective]:
    objective = bench.objective(target, watcher.excerpt)
    return open_study(bench, objective, storage, target), objective


def _run_alone(bench: Workbench, storage: BaseStorage, target: str, watcher: Watcher) -> Summary:
    study, objective = _opened(bench, storage, target, watcher)
    trials = bench.config.study.trials
    return _searched(bench.config, study, watcher, lambda report: work(study, objective, trials, on_trial=report))


def _searched(
    config: StudyConfig, study: optuna.Study, watcher: Watcher, search: Callable[[Callable[[], None]], None]
) -> Summary:
    """The study's summary once it has its trials; `search` gets the function that reports its progress."""
    url = shown(config.study.storage)
    summary = summarize(study, url)
    watcher.study(summary, config.study.trials)
    if summary.finished >= config.study.trials and not lost_references(study.get_trials(deepcopy=False)):
        return summary
    search(functools.partial(_report, study, url, watcher))
    return summarize(study, url)


def _free_memory() -> None:
    """Return what is no longer used to the system, and to the GPU."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    elif torch.backends.mps.is_available():
        torch.mps.empty_cache()


def _report(study: optuna.Study, url: str, watcher: Watcher) -> None:
    watcher.trial(summarize(study, url))


def open_study(
    bench: Workbench,
    objective: Objective,
    storage: BaseStorage,
    target: str,
) -> optuna.Study:
    """The study of `target`, made or checked, with its reference scores measured.

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
            make_pruner(config.search, objective.unit_tracks),
        )
    if "baseline" not in study.user_attrs:
        authors_line, unscheduled = line(config.refinement.steps), zeros(config.refinement.steps)
        began, before = time.perf_counter(), objective.passes()
        outcome, outcome_of_zeros = objective.outcome(authors_line), objective.outcome(unscheduled)
        cost = (objective.passes() - before).attributes(time.perf_counter() - began)
        # Scored outside the lock, since it takes passes: both may score it, and one writes it.
        with start_lock(storage, name):
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

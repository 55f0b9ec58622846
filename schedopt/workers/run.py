"""Running a study file: make or resume its studies, search until they have their trials."""

from __future__ import annotations

import contextlib
import functools
import gc
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import optuna
import torch
from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler
from optuna.storages import BaseStorage

from schedopt.config import StudyConfig
from schedopt.errors import ConfigError, StudyError, shortened
from schedopt.search.audio import make_folder
from schedopt.search.objective import Objective
from schedopt.search.own_study import reporting
from schedopt.search.prepared import PreparedSearch
from schedopt.search.pruners import make_pruner
from schedopt.search.references import measure_references
from schedopt.search.samplers import make_sampler
from schedopt.search.study import create_or_load, identity, study_name
from schedopt.search.summary import Summary, summarize
from schedopt.search.watcher import ProgressBars, SilentWatcher, Watcher
from schedopt.storage.faults import STORAGE_FAULTS, one_line, quiet_optuna
from schedopt.storage.locks import start_lock
from schedopt.storage.opening import open_storage
from schedopt.storage.owners import lost_references
from schedopt.storage.urls import shown
from schedopt.workers.dask import connect
from schedopt.workers.loop import Callback, work
from schedopt.workers.pool import open_pool


@dataclass(frozen=True)
class Own:
    """What a program brings to a run: its own sampler and pruner in place of the study file's, callbacks, and its trust
    in the code of a sampler `hub:NAME`."""

    sampler: BaseSampler | None = None
    pruner: BasePruner | None = None
    callbacks: Sequence[Callback] = ()
    trust_hub: bool = False

    def check(self, config: StudyConfig, dask: str | None) -> None:
        """Raise a `StudyError` where other processes would search without it, or where Optuna cannot prune."""
        if (self.sampler or self.pruner or self.callbacks) and (dask is not None or config.study.workers > 1):
            raise StudyError(
                f"sampler=, pruner= and callbacks= are objects of this process, so study.workers must be 1 (it is"
                f" {config.study.workers}) and dask= must be left out"
            )
        if self.pruner is not None and len(config.search.criteria) > 1:
            key = "pareto = true" if config.search.pareto else "objectives"
            raise StudyError(f"search.{key}: Optuna prunes on one objective only, so pruner= must be left out")


NOTHING = Own()


def run(
    config: StudyConfig,
    *,
    sampler: BaseSampler | None = None,
    pruner: BasePruner | None = None,
    callbacks: Sequence[Callback] = (),
    progress: bool | Watcher = False,
    trust_pickle: bool = False,
    trust_hub: bool = False,
    dask: str | None = None,
) -> list[Summary]:
    """Run or resume the study of `config` (one study a target) until it has the trials asked for.

    A study that has them already costs no pass. Every finished trial is in the storage before the next starts.
    With several workers each is a process of its own, with the model and the excerpts loaded once.

    Args:
        sampler, pruner: of Optuna or your own, in place of those of `[search]`; one worker only.
        callbacks: called with the study and each finished trial, as those of `optuna.Study.optimize`; `study.stop()`
            ends the run. One worker only.
        progress: show bars on stderr (a line after every tenth trial where it is no terminal), or tell a `Watcher`.
        trust_pickle: load `.th` weights, whose loading runs code that is in them.
        trust_hub: allow a sampler `hub:NAME`, which downloads code from OptunaHub and runs it.
        dask: the address of a Dask scheduler whose worker processes search.

    Raises:
        SchedoptError: model, data or storage cannot be used, the stored study differs, or trials keep failing.

    >>> import schedopt
    >>> settings = {"study": {"name": "doc", "trials": 2, "storage": "sqlite:///doc.db"}}
    >>> settings |= {"data": {"tracks": 2, "excerpt": 0.5}, "refinement": {"steps": 1}}
    >>> (summary,) = schedopt.run(schedopt.make_config(settings))
    >>> summary.complete, summary.selected.betas
    (2, (0.0,))
    """
    if not isinstance(config, StudyConfig):
        raise ConfigError(
            f"run takes a config, not {shortened(repr(config), 80)}: schedopt.run(schedopt.load_config('STUDY.toml')) "
            "for a file, schedopt.run(schedopt.make_config({…})) for a dictionary"
        )
    own = Own(sampler, pruner, callbacks, trust_hub)
    own.check(config, dask)
    if sampler is None:
        make_sampler(config, trust_hub=trust_hub)  # what is wrong with it is said before a model is loaded
    with quiet_optuna(), contextlib.ExitStack() as stack:
        watcher = _watcher(progress, stack)
        storage = open_storage(config.study.storage)
        make_folder(config)
        # A cluster is asked before the model is loaded, which takes a while.
        cluster = None if dask is None else stack.enter_context(connect(dask, config, trust_pickle=trust_pickle))
        prepared = PreparedSearch.prepare(
            config, trust_pickle=trust_pickle, workers=1 if cluster else config.study.workers
        )
        try:
            if cluster is None and config.study.workers == 1:
                return [_run_alone(prepared, storage, target, watcher, own) for target in config.refinement.targets]
            studies = {
                target: _opened(prepared, storage, target, watcher, own)[0] for target in config.refinement.targets
            }
            workers = cluster or stack.enter_context(open_pool(prepared, trust_pickle=trust_pickle))
            # The workers need the memory, a GPU's above all.
            del prepared
            _free_memory()
            return [
                _searched(config, study, watcher, functools.partial(workers.work, study, target))
                for target, study in studies.items()
            ]
        except STORAGE_FAULTS as error:
            url = config.study.storage
            raise StudyError(f"{shown(url)}: the storage failed: {one_line(error, url)}") from None


def _watcher(progress: bool | Watcher, stack: contextlib.ExitStack) -> Watcher:
    if not isinstance(progress, bool):
        return progress
    return stack.enter_context(ProgressBars()) if progress else SilentWatcher()


def grid_used_up(config: StudyConfig, summary: Summary) -> str:
    """The line for a study whose grid holds fewer points than trials are asked for, so that it cannot go on."""
    return (
        f"study {summary.study}: the grid is used up: all its points are tried ({summary.finished} trials finished,"
        f" {config.study.trials} were asked for); lower study.trials to {summary.finished}, or start a study of another"
        f" name with a finer grid: raise search.grid (now {config.search.grid}) or lower schedule.resolution"
        f" (now {config.schedule.resolution:g})"
    )


def _opened(
    prepared: PreparedSearch, storage: BaseStorage, target: str, watcher: Watcher, own: Own
) -> tuple[optuna.Study, Objective]:
    objective = prepared.objective(target, watcher.excerpt)
    return open_study(prepared, objective, storage, target, own), objective


def _run_alone(prepared: PreparedSearch, storage: BaseStorage, target: str, watcher: Watcher, own: Own) -> Summary:
    study, objective = _opened(prepared, storage, target, watcher, own)

    def search(report: Callable[[], None]) -> None:
        work(study, objective, prepared.config.study.trials, on_trial=report, callbacks=own.callbacks)

    return _searched(prepared.config, study, watcher, search)


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
    prepared: PreparedSearch,
    objective: Objective,
    storage: BaseStorage,
    target: str,
    own: Own = NOTHING,
) -> optuna.Study:
    """The study of `target`, made or checked, with its reference scores measured.

    Raises:
        StudyError: a study of this name is there and differs.
    """
    config, name = prepared.config, study_name(prepared.config, target)
    wanted = identity(config, target, prepared.separator, prepared.excerpts)
    if own.sampler is not None:
        wanted["config"]["search"]["sampler"] = type(own.sampler).__name__
    if own.pruner is not None:
        wanted["config"]["search"]["pruner"] = type(own.pruner).__name__
        objective.pruner = reporting(own.pruner)
    # Two people may start the same new study at the same moment: one makes it, the other finds it made.
    with start_lock(storage, name):
        study = create_or_load(
            storage,
            name,
            wanted,
            own.sampler or make_sampler(config, trust_hub=own.trust_hub),
            own.pruner or make_pruner(config.search, objective.unit_tracks),
        )
    measure_references(study, objective, functools.partial(start_lock, storage, name))
    return study

"""Several workers on one study: processes of this machine (joblib's loky), each running `loop.work`.

What a worker does is the same on a Dask cluster (`schedopt.search._dask`): load the model and the excerpts once,
check that they are the study's, and add trials until the study is complete or `stop` says so.
"""

from __future__ import annotations

import dataclasses
import os
import signal
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import joblib
import optuna
import torch
from joblib.externals.loky import get_reusable_executor
from joblib.externals.loky.process_executor import TerminatedWorkerError

from schedopt.config import DataSection, SeparatorSection, StoreSection, StudyConfig, StudySection
from schedopt.errors import SchedoptError, StudyError
from schedopt.search.faults import set_hurried
from schedopt.search.loop import release_interrupted, work
from schedopt.search.samplers import make_pruner, make_sampler
from schedopt.search.storage import open_storage
from schedopt.search.study import check_same, identity, study_name
from schedopt.search.workbench import Workbench

POLL_SECONDS = 1.0
MAX_RESTARTS = 3
"""How often a pool is made anew after one of its workers was killed (out of memory, kill −9)."""

Stop = Callable[[], bool]
"""Asked between excerpts: whether the worker is to end. It crosses to the worker's process."""


@dataclass(frozen=True)
class Job:
    """What a worker is told; `settings` is the study's config as JSON.

    A cluster writes the `repr` of such things to its logs, so the settings (they may hold a password) are not in it.
    """

    target: str
    device: str
    threads: int
    trust_pickle: bool
    settings: str = field(repr=False)


def work_in_pool(
    study: optuna.Study, config: StudyConfig, target: str, report: Callable[[], None], *, trust_pickle: bool = False
) -> None:
    """Run `config.study.workers` processes until `study` has its trials; `report` is called every second.

    CPU threads are divided among the workers; with several GPUs each worker takes the next one. A worker that
    dies takes at most the trials in flight with it: they are queued again and the pool starts anew.

    Raises:
        StudyError: a worker gave up (its reason), or workers keep dying.
        KeyboardInterrupt: as it comes, after the workers were ended and their trials queued again.
    """
    set_hurried(False)
    try:
        for restart in range(MAX_RESTARTS + 1):
            try:
                _run_pool(config, target, report, trust_pickle)
            except TerminatedWorkerError as error:
                if restart == MAX_RESTARTS:
                    reason = "workers keep being killed; is the memory full? Try fewer --workers"
                    raise StudyError(f"study {study.study_name}: {reason}") from error
            else:
                return
    except BaseException:
        release_interrupted(study)
        raise


def _run_pool(config: StudyConfig, target: str, report: Callable[[], None], trust_pickle: bool) -> None:
    """One life of the pool. Joblib blocks, so it runs in a thread while this one watches and listens to Ctrl-C."""
    workers = config.study.workers
    threads = max(1, (os.cpu_count() or 1) // workers)
    settings = config.model_dump_json()
    stop = ParentGone(os.getpid())
    tasks = [
        joblib.delayed(_run_or_exit)(Job(target, device, threads, trust_pickle, settings), stop)
        for device in devices_for(workers, config.separator.device)
    ]
    outcome: list[BaseException] = []

    def run() -> None:
        try:
            _ignore_interrupts()
            with joblib.parallel_config("loky", n_jobs=workers, inner_max_num_threads=threads):
                joblib.Parallel(batch_size=1, pre_dispatch="all")(tasks)
        except BaseException as error:
            outcome.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        while thread.is_alive():
            thread.join(POLL_SECONDS)
            report()
    except BaseException:
        _end_pool(thread)
        raise
    if outcome:
        _end_pool(thread)
        raise outcome[0]


def _end_pool(thread: threading.Thread) -> None:
    """Kill the workers: a pass may take minutes, and what they leave is put in order by `release_interrupted`."""
    get_reusable_executor(reuse=True).shutdown(kill_workers=True, wait=True)
    while thread.is_alive():
        # It was about to start the workers.
        thread.join(0.1)
        get_reusable_executor(reuse=True).shutdown(kill_workers=True, wait=True)


def _ignore_interrupts() -> None:
    """Ctrl-C reaches every process of the terminal; only the parent is to answer. Children inherit the mask."""
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})


@dataclass(frozen=True)
class ParentGone:
    """Whether the process that started this one has ended (kill −9): nobody would stop the worker then."""

    parent: int

    def __call__(self) -> bool:
        return os.getppid() != self.parent


def _run_or_exit(job: Job, stop: Stop) -> None:
    """`run_worker` in a process that loky would keep for minutes after its parent has gone."""
    run_worker(job, stop)
    if stop():
        os._exit(1)


def devices_for(workers: int, device: str) -> Sequence[str]:
    """The device of each worker: what the study file says, dealt out over the GPUs where there are several."""
    count = torch.cuda.device_count()
    if device in ("auto", "cuda") and count > 1:
        return [f"cuda:{index % count}" for index in range(workers)]
    return [device] * workers


def run_worker(job: Job, stop: Stop) -> None:
    """What one worker process does: join the study that the command has made.

    Raises:
        StudyError: the study, the model or the excerpts cannot be used here, or trials keep failing; one line.
    """
    torch.set_num_threads(job.threads)
    optuna.logging.set_verbosity(optuna.logging.CRITICAL)
    config = StudyConfig.model_validate_json(job.settings)
    separator = config.separator.model_copy(update={"device": job.device})

    def end_here(_done: int, _total: int) -> None:
        if stop():
            raise KeyboardInterrupt

    try:
        loaded = materials(
            separator.model_dump_json(), config.data.model_dump_json(), config.store.model_dump_json(), job.trust_pickle
        )
        bench = dataclasses.replace(loaded, config=config)
        objective = bench.objective(job.target, end_here)
        study = optuna.load_study(
            study_name=study_name(config, job.target),
            storage=open_storage(config.study.storage, create=False),
            sampler=make_sampler(config),
            pruner=make_pruner(config.search.pruner, len(objective.units)),
        )
        check_same(study, identity(config, job.target, bench.separator, bench.excerpts))
        work(study, objective, config.study.trials, stop=stop)
    except KeyboardInterrupt:
        # It came from `end_here`, and `work` has put the trial back.
        return
    except SchedoptError as error:
        # Of its own kind and one line, so that it crosses processes as it is.
        raise StudyError(str(error)) from None


@lru_cache(maxsize=1)
def materials(separator: str, data: str, store: str, trust_pickle: bool) -> Workbench:
    """Model, excerpts and store, loaded once a process whatever its studies; the arguments are sections as JSON."""
    config = StudyConfig(
        study=StudySection(name="any"),
        separator=SeparatorSection.model_validate_json(separator),
        data=DataSection.model_validate_json(data),
        store=StoreSection.model_validate_json(store),
    )
    return Workbench.prepare(config, trust_pickle=trust_pickle)

"""Several workers on one study: processes of this machine (joblib's loky), each running `loop.work`."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from functools import lru_cache

import joblib
import optuna
import torch
from joblib.externals.loky import get_reusable_executor
from joblib.externals.loky.process_executor import TerminatedWorkerError

from schedopt.config import StudyConfig, make_config
from schedopt.errors import SchedoptError, StudyError
from schedopt.search.loop import work
from schedopt.search.samplers import make_pruner, make_sampler
from schedopt.search.storage import open_storage
from schedopt.search.study import study_name
from schedopt.search.workbench import Workbench

POLL_SECONDS = 1.0
MAX_RESTARTS = 3
"""How often a pool is made anew after one of its workers was killed (out of memory, kill −9)."""


def work_in_pool(config: StudyConfig, target: str, report: Callable[[], None], *, trust_pickle: bool = False) -> None:
    """Run `config.study.workers` processes until the study has its trials; `report` is called every second.

    CPU threads are divided among the workers; with several GPUs each worker takes the next one. A worker that
    dies takes at most the trials in flight with it: they are queued again and the pool starts anew.

    Raises:
        StudyError: a worker gave up (its reason), or workers keep dying.
        KeyboardInterrupt: as it comes, after the workers were ended.
    """
    for restart in range(MAX_RESTARTS + 1):
        try:
            _run_pool(config, target, report, trust_pickle)
        except TerminatedWorkerError as error:
            if restart == MAX_RESTARTS:
                reason = "workers keep being killed; is the memory full? Try fewer --workers"
                raise StudyError(f"study {study_name(config, target)}: {reason}") from error
        else:
            return


def _run_pool(config: StudyConfig, target: str, report: Callable[[], None], trust_pickle: bool) -> None:
    """One life of the pool. Joblib blocks, so it runs in a thread while this one watches and listens to Ctrl-C."""
    workers = config.study.workers
    threads = max(1, (os.cpu_count() or 1) // workers)
    document = config.model_dump(mode="json")
    tasks = [
        joblib.delayed(_worker)(document, target, device, threads, trust_pickle)
        for device in devices_for(workers, config.separator.device)
    ]
    outcome: list[BaseException] = []

    def run() -> None:
        try:
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
        get_reusable_executor().shutdown(kill_workers=True, wait=True)
        raise
    if outcome:
        raise outcome[0]


def devices_for(workers: int, device: str) -> Sequence[str]:
    """The device of each worker: what the study file says, dealt out over the GPUs where there are several."""
    count = torch.cuda.device_count()
    if device in ("auto", "cuda") and count > 1:
        return [f"cuda:{index % count}" for index in range(workers)]
    return [device] * workers


@lru_cache(maxsize=1)
def _bench(key: str, trust_pickle: bool) -> Workbench:
    """Model and excerpts, loaded once a process."""
    return Workbench.prepare(StudyConfig.model_validate_json(key), trust_pickle=trust_pickle)


def _worker(document: dict[str, object], target: str, device: str, threads: int, trust_pickle: bool) -> None:
    """What one worker process does: join the study that its parent has made."""
    torch.set_num_threads(threads)
    optuna.logging.set_verbosity(optuna.logging.CRITICAL)
    config = make_config(document)
    config = config.model_copy(update={"separator": config.separator.model_copy(update={"device": device})})
    try:
        bench = _bench(config.model_dump_json(), trust_pickle)
        objective = bench.objective(target)
        study = optuna.load_study(
            study_name=study_name(config, target),
            storage=open_storage(config.study.storage, create=False),
            sampler=make_sampler(config),
            pruner=make_pruner(config.search.pruner, len(objective.units)),
        )
        work(study, objective, config.study.trials)
    except SchedoptError as error:
        # Of its own kind and one line, so that it crosses processes as it is.
        raise StudyError(str(error)) from None

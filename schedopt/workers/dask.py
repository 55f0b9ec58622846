"""Workers on an existing Dask cluster: each of its processes joins the study.

A worker does the same as one of `schedopt.workers.pool`. It reads the model, the tracks and the storage itself, so
these must be reachable from its machine under the names in the study file.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import gc
import importlib
import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna

import schedopt
from schedopt.config import StudyConfig
from schedopt.errors import SchedoptError, StudyError
from schedopt.registry import pickled_parts
from schedopt.search.artifacts import artifact_folder
from schedopt.storage.faults import set_hurried
from schedopt.storage.urls import anchored, sqlite_file
from schedopt.workers.pool import Job, check_answers, run_worker

CONNECT_SECONDS = 10
POLL_SECONDS = 1.0

CLOSE_SECONDS = 2.5
"""How long the end of a connection to a scheduler is waited for."""

GONE_SECONDS = 30
"""A cluster that has had no scheduler, or no worker, for so long is given up."""

GONE = "the cluster is gone. Finished trials are kept; the same command carries on"

FAULTS = (OSError, RuntimeError, ValueError, asyncio.TimeoutError, asyncio.CancelledError)
"""What a call to a scheduler raises that is gone or busy."""

log = logging.getLogger("schedopt")

_one_at_a_time = threading.Lock()
"""Dask may run several tasks in the threads of a process; a process has one owner's name and one model."""


@contextlib.contextmanager
def connect(address: str, config: StudyConfig, *, trust_pickle: bool = False) -> Iterator[Cluster]:
    """The cluster whose scheduler listens at `address`, as tcp://host:8786, for the studies of `config`.

    Raises:
        StudyError: `distributed` is missing, nothing answers, or the workers cannot run this schedopt; one line.
    """
    distributed = _distributed()
    try:
        client = _client(distributed, address)
    except (OSError, ValueError, TypeError, RuntimeError, ImportError, asyncio.TimeoutError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise StudyError(f"--dask {address}: no Dask scheduler answers there: {reason}") from None
    try:
        _check_workers(address, client)
        yield Cluster(address, client, config, trust_pickle)
    finally:
        with contextlib.suppress(Exception):
            client.close(timeout=CLOSE_SECONDS)


def _client(distributed: Any, address: str) -> Any:
    """A client; tried twice, since Dask asserts that its event loop starts within 10 s, however busy the machine."""
    with contextlib.suppress(AssertionError), _no_collection():
        return distributed.Client(address, timeout=CONNECT_SECONDS, set_as_default=False)
    try:
        with _no_collection():
            return distributed.Client(address, timeout=CONNECT_SECONDS, set_as_default=False)
    except AssertionError:
        raise RuntimeError("Dask's event loop does not start; the machine may be too busy") from None


@contextlib.contextmanager
def _no_collection() -> Iterator[None]:
    """Collect garbage now, and none within.

    A client that failed to connect is closed when it is collected, which takes the lock that a new one holds while it
    starts: collected in that moment, by the same thread, it would wait for ever.
    """
    gc.collect()
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _distributed() -> Any:
    try:
        found = importlib.import_module("distributed")
    except ImportError:
        raise StudyError("--dask needs the package distributed: pip install '.[dask]'") from None
    # What goes wrong is said in our own line. The client's logger has a level of its own.
    for name in ("distributed", "distributed.client"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    return found


def _check_workers(address: str, client: Any) -> None:
    def probe() -> str:
        # Inside another function it travels whole, so that a worker without schedopt can answer too.
        import schedopt

        return schedopt.__version__

    try:
        client.wait_for_workers(1, timeout=CONNECT_SECONDS)
    except (OSError, asyncio.TimeoutError):
        raise StudyError(
            f"--dask {address}: the scheduler has no worker; start some with: dask worker {address}"
        ) from None
    for worker, answer in client.run(probe, on_error="return").items():
        if isinstance(answer, Exception):
            raise StudyError(f"--dask {address}: schedopt cannot be imported on the worker {worker}: {answer}")
        if answer != schedopt.__version__:
            raise StudyError(
                f"--dask {address}: the worker {worker} has schedopt {answer}, this is {schedopt.__version__};"
                " install the same on both"
            )


@dataclass(frozen=True)
class Cluster:
    """A Dask cluster whose processes search the studies of `config`."""

    address: str
    client: Any
    config: StudyConfig
    trust_pickle: bool = False

    def work(self, study: optuna.Study, target: str, report: Callable[[], None]) -> None:
        """Let the cluster's processes (with several `workers`: so many of them) search until `study` has its trials.

        A process that dies takes its trial with it, which is queued again; one that cannot go on leaves the study to
        the others. The workers stop when this ends, however it ends.

        Raises:
            StudyError: no worker could go on (the first one's reason), or the cluster is gone.
            KeyboardInterrupt: as it comes, after the workers were told to stop; they do after their excerpt.
        """
        set_hurried(False)
        job = Job(target, self.config.separator.device, 1, self.trust_pickle, self._settings(), pickled_parts())
        workers = self.config.study.workers
        count = len(self.client.ncores()) if workers == 1 else workers
        futures = [self.client.submit(join, job, pure=False) for _ in range(count)]
        try:
            self._watch(futures, report)
        except BaseException:
            with contextlib.suppress(*FAULTS):
                self.client.cancel(futures)
            raise
        check_answers([_answer(future) for future in futures], f"--dask {self.address}: no worker could go on: ")

    def _settings(self) -> str:
        """The config as JSON, the storage and the audio's folder named so that they are the same from every folder."""
        config = self.config
        path = sqlite_file(config.study.storage)
        if path is not None:
            path = path.resolve()
            log.warning("%s: workers on other machines need this very file; a PostgreSQL storage serves them all", path)
        study = config.study.model_copy(update={"storage": anchored(config.study.storage, Path())})
        folder = artifact_folder(config.study.storage, config.store.artifacts)
        store = config.store.model_copy(update={"artifacts": str(folder or "")})
        return config.model_copy(update={"study": study, "store": store}).model_dump_json()

    def _watch(self, futures: Sequence[Any], report: Callable[[], None]) -> None:
        """Until the workers have ended: report, and check that the cluster is there."""
        seen = time.monotonic()
        while not all(future.done() for future in futures):
            _wait(futures, POLL_SECONDS)
            if self._has_workers():
                seen = time.monotonic()
            report()
            if time.monotonic() - seen > GONE_SECONDS or self.client.status == "closed":
                raise StudyError(f"--dask {self.address}: {GONE}")

    def _has_workers(self) -> bool:
        try:
            return bool(self.client.sync(self.client.scheduler.ncores, callback_timeout=POLL_SECONDS))
        except FAULTS:
            return False


def _wait(futures: Sequence[Any], seconds: float) -> None:
    with contextlib.suppress(*FAULTS):
        _distributed().wait(futures, timeout=seconds)


def _answer(future: Any) -> StudyError | None:
    """What a worker that has ended answered: why it gave up, or None."""
    if future.status == "finished":
        answer: StudyError | None = future.result()
        return answer
    return StudyError("its processes keep being killed; is the memory full?" if future.status == "error" else GONE)


def cancelled_check() -> Callable[[], bool]:
    """Within a task: the function that tells whether the scheduler has cancelled it.

    It does when the command cancels the task or closes its connection, thus also when the command is killed.
    """
    worker = _distributed().get_worker()
    task = worker.state.tasks[worker.get_current_task()]
    return lambda: task.state == "cancelled"


def join(job: Job) -> StudyError | None:
    """What a process of the cluster does: search until the study is complete (None), or say why it cannot."""
    worker = _distributed().get_worker()
    stop = cancelled_check()
    while not _one_at_a_time.acquire(timeout=1):
        if stop():
            return None
    try:
        run_worker(dataclasses.replace(job, threads=worker.state.nthreads), stop)
    except SchedoptError as error:
        return StudyError(f"{worker.address}: {error}")
    finally:
        _one_at_a_time.release()
    return None

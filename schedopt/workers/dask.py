"""Workers on an existing Dask cluster: each of its processes joins the study.

A worker does the same as one of `schedopt.workers.pool`. It reads the model, the tracks and the storage itself, so
these must be reachable from its machine under the names in the study file.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import importlib
import logging
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import optuna

import schedopt
from schedopt.config import StudyConfig
from schedopt.errors import SchedoptError, StudyError
from schedopt.schedules import Schedule
from schedopt.search.artifacts import artifact_folder
from schedopt.search.objective import Objective
from schedopt.storage.faults import set_hurried
from schedopt.storage.urls import anchored, sqlite_file
from schedopt.workers.pool import Job, check_answers, run_worker

CONNECT_SECONDS = 10
POLL_SECONDS = 1.0

STOP_SECONDS = 2.5
"""How long Ctrl-C waits for the workers to put their trials back; slower ones do it after their excerpt, unwatched."""

GONE_SECONDS = 30
"""A cluster that has had no scheduler, or no worker, for so long is given up."""

SILENCE_SECONDS = 180.0
"""Workers stop when the command gave no sign for so long (kill −9); longer than it waits for its own storage."""

STOP = "stop"
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
    except (OSError, ValueError, RuntimeError, ImportError, asyncio.TimeoutError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise StudyError(f"--dask {address}: no Dask scheduler answers there: {reason}") from None
    try:
        _check_workers(address, client)
        yield Cluster(address, client, config, trust_pickle)
    finally:
        with contextlib.suppress(Exception):
            client.close(timeout=STOP_SECONDS)


def _client(distributed: Any, address: str) -> Any:
    """A client; tried twice, since Dask asserts that its event loop starts within 10 s, however busy the machine."""
    with contextlib.suppress(AssertionError):
        return distributed.Client(address, timeout=CONNECT_SECONDS, set_as_default=False)
    try:
        return distributed.Client(address, timeout=CONNECT_SECONDS, set_as_default=False)
    except AssertionError:
        raise RuntimeError("Dask's event loop does not start; the machine may be too busy") from None


def _distributed() -> Any:
    try:
        found = importlib.import_module("distributed")
    except ImportError:
        raise StudyError("--dask needs the package distributed: pip install '.[dask]'") from None
    # What goes wrong is said in our own line.
    logging.getLogger("distributed").setLevel(logging.CRITICAL)
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

    def rehearse(self, objective: Objective, target: str, schedules: Sequence[Schedule]) -> None:
        """Left to the command, which has the model and the excerpts at hand by now."""

    def work(self, study: optuna.Study, target: str, report: Callable[[], None]) -> None:
        """Let the cluster's processes (with several `workers`: so many of them) search until `study` has its trials.

        A process that dies takes its trial with it, which is queued again; one that cannot go on leaves the study to
        the others. The workers stop when this ends, however it ends.

        Raises:
            StudyError: no worker could go on (the first one's reason), or the cluster is gone.
            KeyboardInterrupt: as it comes, after the workers were told to stop.
        """
        set_hurried(False)
        beat = _distributed().Variable(f"schedopt-{uuid.uuid4().hex}", client=self.client)
        beat.set(0)
        job = Job(target, self.config.separator.device, 1, self.trust_pickle, self._settings())
        workers = self.config.study.workers
        count = len(self.client.ncores()) if workers == 1 else workers
        stop = CommandGone(beat.name, SILENCE_SECONDS)
        futures = [self.client.submit(join, job, stop, pure=False) for _ in range(count)]
        try:
            self._watch(futures, beat, report)
        except BaseException:
            with contextlib.suppress(Exception):
                beat.set(STOP, timeout=STOP_SECONDS)
            _wait(futures, STOP_SECONDS)
            raise
        beat.delete()
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

    def _watch(self, futures: Sequence[Any], beat: Any, report: Callable[[], None]) -> None:
        """Until the workers have ended: show that the command is alive, report, and check that the cluster is."""
        beats, seen = 0, time.monotonic()
        while not all(future.done() for future in futures):
            _wait(futures, POLL_SECONDS)
            beats += 1
            if self._answers(beat, beats):
                seen = time.monotonic()
            report()
            if time.monotonic() - seen > GONE_SECONDS or self.client.status == "closed":
                raise StudyError(
                    f"--dask {self.address}: the cluster is gone. Finished trials are kept; the same command carries on"
                )

    def _answers(self, beat: Any, value: int) -> bool:
        """Whether the scheduler takes the new value, and has a worker."""
        try:
            beat.set(value, timeout=POLL_SECONDS)
            return bool(self.client.ncores())
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
    return StudyError("its processes keep being killed; is the memory full?")


@dataclass
class CommandGone:
    """Whether the command that started this worker wants no more of it: it said so, or was silent for `seconds`.

    It changes the value of the Dask variable `name` while it lives; asked often, this looks once a second.
    """

    name: str
    seconds: float
    _over: bool = field(default=False, init=False)
    _value: object = field(default=None, init=False)
    _changed: float = field(default=0.0, init=False)
    _looked: float = field(default=0.0, init=False)

    def __call__(self) -> bool:
        now = time.monotonic()
        if self._over or now - self._looked < min(1.0, self.seconds / 2):
            return self._over
        self._looked = now
        self._changed = self._changed or now
        value = self._look()
        if value != self._value:
            self._value, self._changed = value, now
        self._over = value == STOP or now - self._changed > self.seconds
        return self._over

    def _look(self) -> object:
        try:
            value: object = _distributed().Variable(self.name).get(timeout=5)
        except FAULTS:
            return self._value
        return value


def join(job: Job, stop: CommandGone) -> StudyError | None:
    """What a process of the cluster does: search until the study is complete (None), or say why it cannot."""
    worker = _distributed().get_worker()
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

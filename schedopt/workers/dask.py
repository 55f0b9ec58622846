"""Workers on an existing Dask cluster (joblib's Dask back end): each of its processes joins the study.

A worker does the same as one of `schedopt.workers.pool`. It reads the model, the tracks and the storage itself, so
these must be reachable from its machine under the names in the study file.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import functools
import importlib
import logging
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import joblib
import optuna
from sqlalchemy.engine import make_url

import schedopt
from schedopt.config import StudyConfig
from schedopt.errors import SchedoptError, StudyError
from schedopt.schedules import Schedule
from schedopt.search.artifacts import artifact_folder
from schedopt.search.objective import Objective
from schedopt.storage.faults import set_hurried
from schedopt.workers.pool import Job, run_worker

CONNECT_SECONDS = 10
POLL_SECONDS = 1.0

STOP_SECONDS = 2.5
"""How long Ctrl-C waits for the workers to put their trials back; slower ones do it after their excerpt, unwatched."""

GONE_SECONDS = 30
"""A cluster that has had no scheduler, or no worker, for so long is given up."""

LEASE_SECONDS = 180.0
"""Workers stop when the command gave no sign for so long (kill −9); longer than it waits for its own storage."""

STOP = "stop"
STOPPED = "it was told to stop"

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
        raise StudyError("--dask needs the package distributed: pip install 'schedopt[dask]'") from None
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
    """A Dask cluster that studies may be fanned out over."""

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
        signs = _distributed().Variable(f"schedopt-{uuid.uuid4().hex}", client=self.client)
        signs.set(0)
        job = Job(target, self.config.separator.device, 1, self.trust_pickle, self._settings())
        workers = self.config.study.workers
        count = len(self.client.ncores()) if workers == 1 else workers
        hands = _Hands(self.client, [joblib.delayed(join)(job, Lease(signs.name, LEASE_SECONDS))] * count)
        try:
            self._watch(hands, signs, report)
        except BaseException:
            with contextlib.suppress(Exception):
                signs.set(STOP, timeout=STOP_SECONDS)
            hands.join(STOP_SECONDS)
            raise
        if not hands.is_alive():
            signs.delete()
        hands.check(self.address)

    def _settings(self) -> str:
        """The config as JSON, the storage and the audio's folder named so that they are the same from every folder."""
        config = self.config
        url = make_url(config.study.storage)
        if url.get_backend_name() == "sqlite":
            path = Path(str(url.database)).resolve()
            log.warning("%s: workers on other machines need this very file; a PostgreSQL storage serves them all", path)
            url = url.set(database=str(path))
        study = config.study.model_copy(update={"storage": url.render_as_string(hide_password=False)})
        folder = artifact_folder(config.study.storage, config.store.artifacts)
        store = config.store.model_copy(update={"artifacts": str(folder or "")})
        return config.model_copy(update={"study": study, "store": store}).model_dump_json()

    def _watch(self, hands: _Hands, signs: Any, report: Callable[[], None]) -> None:
        """Until the workers have ended: give a sign of life, report, and see whether the cluster is still there."""
        beats, seen = 0, time.monotonic()
        while hands.is_alive():
            hands.join(POLL_SECONDS)
            beats += 1
            if self._answers(functools.partial(signs.set, beats, timeout=POLL_SECONDS)):
                seen = time.monotonic()
            report()
            if time.monotonic() - seen > GONE_SECONDS or self.client.status == "closed":
                raise StudyError(
                    f"--dask {self.address}: the cluster is gone. Finished trials are kept; the same command carries on"
                )
            if hands.are_lost():
                return

    def _answers(self, sign: Callable[[], Any]) -> bool:
        """Whether the scheduler takes a sign of life, and has a worker."""
        try:
            sign()
            return bool(self.client.ncores())
        except (OSError, RuntimeError, ValueError, asyncio.TimeoutError, asyncio.CancelledError):
            return False


class _Hands(threading.Thread):
    """The tasks on the cluster. Joblib blocks, so it runs in a thread beside the one that listens to Ctrl-C."""

    def __init__(self, client: Any, tasks: list[Any]) -> None:
        super().__init__(daemon=True)
        self._client = client
        self._tasks = tasks
        self._answers: list[str | None] = []
        self._error: BaseException | None = None
        self.start()

    def run(self) -> None:
        try:
            with joblib.parallel_config("dask", client=self._client):
                for answer in self._fan_out():
                    self._answers.append(answer)
                    if answer is not None and answer != STOPPED:
                        log.warning("a worker gave up: %s", answer)
        except BaseException as error:
            self._error = error

    def _fan_out(self) -> Iterable[str | None]:
        if sum(self._client.ncores().values()) > 1:
            answers: Iterable[str | None] = joblib.Parallel(
                batch_size=1, pre_dispatch="all", return_as="generator_unordered"
            )(self._tasks)
            return answers
        # With a single thread on the cluster joblib would run the tasks here instead of there.
        return (self._client.submit(call, *args, pure=False, **kwargs).result() for call, args, kwargs in self._tasks)

    def are_lost(self) -> bool:
        """Whether every task that has not answered died with its workers (joblib would wait for them for ever)."""
        states = [future.status for future in list(self._client.futures.values())]
        return bool(states) and all(state in ("error", "cancelled", "lost") for state in states)

    def check(self, address: str) -> None:
        """Raise what kept all workers from the study's end; one that reached it is enough."""
        if self._error is not None:
            raise self._error
        if None in self._answers:
            return
        reason = self._answers[0] if self._answers else "they keep being killed; is the memory full?"
        raise StudyError(f"--dask {address}: no worker could go on: {reason}")


@dataclass
class Lease:
    """Whether the command that started this worker wants no more of it: it said so, or gave no sign for `seconds`.

    Its signs are changing values of the Dask variable `name`; asked often, it looks once a second.
    """

    name: str
    seconds: float
    _over: bool = field(default=False, init=False)
    _sign: object = field(default=None, init=False)
    _changed: float = field(default=0.0, init=False)
    _looked: float = field(default=0.0, init=False)

    def __call__(self) -> bool:
        now = time.monotonic()
        if self._over or now - self._looked < min(1.0, self.seconds / 2):
            return self._over
        self._looked = now
        self._changed = self._changed or now
        sign = self._look()
        if sign != self._sign:
            self._sign, self._changed = sign, now
        self._over = sign == STOP or now - self._changed > self.seconds
        return self._over

    def _look(self) -> object:
        try:
            value: object = _distributed().Variable(self.name).get(timeout=5)
        except (OSError, RuntimeError, ValueError, asyncio.TimeoutError, asyncio.CancelledError):
            return self._sign
        return value


def join(job: Job, lease: Lease) -> str | None:
    """What a process of the cluster does: search until the study is complete (None), or say why it cannot."""
    worker = _distributed().get_worker()
    while not _one_at_a_time.acquire(timeout=1):
        if lease():
            return STOPPED
    try:
        run_worker(dataclasses.replace(job, threads=worker.state.nthreads), lease)
    except SchedoptError as error:
        return f"{worker.address}: {error}"
    finally:
        _one_at_a_time.release()
    return STOPPED if lease() else None

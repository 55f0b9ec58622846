"""Faults of storages (locks, lost connections, full disks): retried where waiting helps, else reported in one line."""

from __future__ import annotations

import contextlib
import functools
import inspect
import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import optuna
from optuna.exceptions import StorageInternalError, UpdateFinishedTrialError
from optuna.storages import RDBStorage
from optuna.trial import TrialState
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError, OperationalError, SQLAlchemyError
from tenacity import RetryCallState, Retrying, retry_if_exception, stop_after_delay, wait_exponential, wait_random

from schedopt.errors import DeletedError
from schedopt.storage.interrupts import shielded_again, sleep
from schedopt.storage.urls import holds_secret, shown

Result = TypeVar("Result")

PATIENCE_SECONDS = 90.0
"""How long a call is retried: a database server restarts in less."""

HURRIED_SECONDS = 1.0
"""How long where someone waits for the program to end."""

LONGEST_PAUSE = 15.0
"""Seconds between two tries, which begin after a tenth of a second."""

NOTED_PAUSE = 1.0
"""Longer pauses are reported."""

RACES = ("already exists", "duplicate", "concurrently", "unique constraint failed")
"""Words of faults of two processes that create the tables, or write an attribute, at the same time."""

PERMANENT = (
    *("readonly", "read-only", "full", "malformed", "not a database", "disk i/o"),
    *("no such table", "no such column", "does not exist", "unknown database", "name or service not known"),
    *("authentication failed", "access denied", "permission denied", "pg_hba.conf", "no password supplied"),
)
"""Words of faults that waiting does not mend."""

NOT_FOUND = "Record does not exist."
"""What Optuna's KeyError says of a study or trial that is not in the database."""

DELETED = "a study, or a trial of it, is no longer there: it was deleted meanwhile"

STORAGE_FAULTS = (StorageInternalError, SQLAlchemyError)

log = logging.getLogger("schedopt")


@contextlib.contextmanager
def quiet_optuna() -> Iterator[None]:
    """In here Optuna's log is silent: what goes wrong is raised, or reported in a line of our own."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.CRITICAL)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)


class _PerThread(threading.local):
    """Nothing is retried `inside` a retried call, else the waits would multiply; `hurried` threads give up soon."""

    inside = False
    hurried = False


_thread = _PerThread()


def set_hurried(hurried: bool) -> None:
    """Whether this thread's storage calls give up after a second: someone waits for the program to end."""
    _thread.hurried = hurried


def is_hurried() -> bool:
    return _thread.hurried


def one_line(error: BaseException, url: str | URL | None = None) -> str:
    """What a database error says, without SQLAlchemy's statement and link, and without any piece of the password
    of `url`."""
    inner: BaseException = error
    while True:
        deeper = getattr(inner, "orig", None) or inner.__cause__
        if not isinstance(inner, STORAGE_FAULTS) or deeper is None:
            break
        inner = deeper
    text = (str(inner).strip().splitlines() or [type(inner).__name__])[0]
    if url is not None and holds_secret(text, url):
        return f"{type(inner).__name__}, whose text is not shown, since it may hold a part of the password"
    return text


def storage_fault(error: BaseException) -> BaseException | None:
    """The storage's fault, a study deleted from it included, in whose handling `error` was raised, if there was one."""
    behind = error.__context__
    while behind is not None and not isinstance(behind, (*STORAGE_FAULTS, DeletedError)):
        behind = behind.__context__
    return behind


def was_interrupt(error: BaseException | None) -> bool:
    """Whether Ctrl-C is behind an error that was raised on the way out."""
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__context__
    return error is not None


def is_passing(error: BaseException) -> bool:
    """Whether the same call may succeed in a while: a lock, a race, or a server that is away or has no room."""
    cause = error.__cause__ if isinstance(error, StorageInternalError) else error
    if not isinstance(cause, DBAPIError) or was_interrupt(error):
        return False
    text = one_line(error).lower()
    if any(word in text for word in RACES):
        return True
    if any(word in text for word in PERMANENT):
        return False
    return isinstance(cause, OperationalError) or cause.connection_invalidated


def retried(call: Callable[..., Result], url: str | URL | None = None) -> Callable[..., Result]:
    """`call`, again with growing pauses while its fault is a passing one; then the fault is raised.

    Args:
        url: of the storage that is called; no piece of its password is printed.
    """

    @functools.wraps(call)
    def patient(*args: Any, **kwargs: Any) -> Result:
        if _thread.inside:
            return call(*args, **kwargs)
        _thread.inside = True
        try:
            with shielded_again():
                return _retrying(url)(call, *args, **kwargs)
        except KeyError as error:
            if isinstance(error, DeletedError) or NOT_FOUND not in error.args:
                raise
            where = "" if url is None else f"{shown(url)}: "
            raise DeletedError(f"{where}{DELETED}") from error
        finally:
            _thread.inside = False

    return patient


def _retrying(url: str | URL | None) -> Retrying:
    def note(state: RetryCallState) -> None:
        error = None if state.outcome is None else state.outcome.exception()
        if error is not None and state.upcoming_sleep >= NOTED_PAUSE:
            reason = one_line(error, url)
            log.warning("the storage does not answer (%s); trying again in %.0f s", reason, state.upcoming_sleep)

    return Retrying(
        retry=retry_if_exception(is_passing),
        # Workers that were locked out together must not come back together.
        wait=wait_exponential(multiplier=0.1, max=LONGEST_PAUSE) + wait_random(0, 0.1),
        stop=stop_after_delay(HURRIED_SECONDS if _thread.hurried else PATIENCE_SECONDS),
        sleep=sleep,
        before_sleep=note,
        reraise=True,
    )


class PatientStorage(RDBStorage):
    """Optuna's RDBStorage, each call of which is retried while the storage is locked or away."""

    def __getattribute__(self, name: str) -> Any:
        found = super().__getattribute__(name)
        is_call = inspect.ismethod(found) and not name.startswith("__")
        return retried(found, self.__dict__.get("url")) if is_call else found

    def record_heartbeat(self, trial_id: int) -> None:
        """As Optuna's, but a heartbeat that cannot be written is left out: it is no reason to end a thread."""
        try:
            super().record_heartbeat(trial_id)
        except STORAGE_FAULTS as error:
            log.debug("no heartbeat for trial %d: %s", trial_id, one_line(error, self.url))

    def set_trial_state_values(self, trial_id: int, state: TrialState, values: Sequence[float] | None = None) -> bool:
        """As Optuna's; a result that was written although the connection broke before the answer is no fault."""
        try:
            return super().set_trial_state_values(trial_id, state, values)
        except UpdateFinishedTrialError:
            trial = self.get_trial(trial_id)
            if state == TrialState.COMPLETE == trial.state and values is not None and trial.values == list(values):
                return True
            raise

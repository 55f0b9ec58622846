"""What nights do to storages: locks, lost connections, full disks. Retried where waiting helps, else one line."""

from __future__ import annotations

import functools
import logging
import random
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from optuna.exceptions import StorageInternalError, UpdateFinishedTrialError
from optuna.storages import RDBStorage
from optuna.trial import TrialState
from sqlalchemy.exc import DBAPIError, OperationalError, SQLAlchemyError

Result = TypeVar("Result")

WAITS = (0.1, 0.2, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 30.0)
"""Seconds between tries, about a minute and a half in all: a database server restarts in less."""

PERMANENT = (
    "readonly",
    "read-only",
    "full",
    "malformed",
    "not a database",
    "no such table",
    "no such column",
    "disk i/o",
)
"""Words of faults that waiting does not mend."""

STORAGE_FAULTS = (StorageInternalError, SQLAlchemyError)

log = logging.getLogger("schedopt")


class _PerThread(threading.local):
    """`inside` a patient call nothing waits again, else the waits would multiply; `hurried` threads do not wait."""

    inside = False
    hurried = False


_thread = _PerThread()


def set_hurried(hurried: bool) -> None:
    """Whether this thread's storage calls are tried once only: someone waits for the program to end."""
    _thread.hurried = hurried


def one_line(error: BaseException) -> str:
    """What a database error says, without SQLAlchemy's statement and link."""
    inner: BaseException = error
    while True:
        deeper = getattr(inner, "orig", None) or inner.__cause__
        if not isinstance(inner, STORAGE_FAULTS) or deeper is None:
            break
        inner = deeper
    text = str(inner).strip()
    return text.splitlines()[0] if text else type(inner).__name__


def storage_fault(error: BaseException) -> BaseException | None:
    """The storage's fault in whose handling `error` was raised, if there was one."""
    behind = error.__context__
    while behind is not None and not isinstance(behind, STORAGE_FAULTS):
        behind = behind.__context__
    return behind


def is_passing(error: BaseException) -> bool:
    """Whether the same call may succeed in a while: a lock, or a server that is away."""
    cause = error.__cause__ if isinstance(error, StorageInternalError) else error
    if not isinstance(cause, (OperationalError, DBAPIError)):
        return False
    text = one_line(error).lower()
    if any(word in text for word in PERMANENT):
        return False
    return isinstance(cause, OperationalError) or cause.connection_invalidated


def retried(call: Callable[..., Result]) -> Callable[..., Result]:
    """`call`, again with growing pauses while its fault is a passing one; then the fault is raised."""

    @functools.wraps(call)
    def patient(*args: Any, **kwargs: Any) -> Result:
        if _thread.inside:
            return call(*args, **kwargs)
        _thread.inside = True
        try:
            return _patiently(lambda: call(*args, **kwargs))
        finally:
            _thread.inside = False

    return patient


def _patiently(call: Callable[[], Result]) -> Result:
    for wait in WAITS:
        try:
            return call()
        except STORAGE_FAULTS as error:
            if _thread.hurried or not is_passing(error):
                raise
            if wait >= 1:
                log.warning("the storage does not answer (%s); trying again in %g s", one_line(error), wait)
        # Workers that were locked out together must not come back together.
        time.sleep(wait * random.uniform(0.7, 1.3))
    return call()


class PatientStorage(RDBStorage):
    """Optuna's RDBStorage whose reads and writes wait for a storage that is locked or away for a while."""

    def record_heartbeat(self, trial_id: int) -> None:
        """As Optuna's, but a beat that cannot be written is left out: it is no reason to end a thread."""
        try:
            super().record_heartbeat(trial_id)
        except STORAGE_FAULTS as error:
            log.debug("no heartbeat for trial %d: %s", trial_id, one_line(error))

    def set_trial_state_values(self, trial_id: int, state: TrialState, values: Sequence[float] | None = None) -> bool:
        """As Optuna's; a result that was written although the connection broke before the answer is no fault."""
        tries = 0

        def write() -> bool:
            nonlocal tries
            tries += 1
            return super(PatientStorage, self).set_trial_state_values(trial_id, state, values)

        try:
            return retried(write)()
        except UpdateFinishedTrialError:
            if tries > 1 and self.get_trial(trial_id).state == state:
                return True
            raise


# Optuna's cache in front of the storage calls some private ones.
for _name in (
    "create_new_study",
    "create_new_trial",
    "get_all_studies",
    "get_all_trials",
    "get_study_directions",
    "get_study_id_from_name",
    "get_study_name_from_id",
    "get_study_system_attrs",
    "get_study_user_attrs",
    "get_trial",
    "set_study_system_attr",
    "set_study_user_attr",
    "set_trial_intermediate_value",
    "set_trial_system_attr",
    "set_trial_user_attr",
    "_create_new_trial",
    "_get_best_trial_id",
    "_get_stale_trial_ids",
    "_get_trials",
    "_set_trial_param",
):
    setattr(PatientStorage, _name, retried(getattr(RDBStorage, _name)))

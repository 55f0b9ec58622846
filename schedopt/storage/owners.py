"""Whose trial a running trial is, so that one whose process died is noticed and its parameters are tried again.

Every trial carries the attribute `owner`: machine and process. On the same machine a dead process is seen at
once; another machine's is known by its heartbeat alone (Optuna's, see `schedopt.storage.opening`).
"""

from __future__ import annotations

import contextlib
import datetime
import os
import platform
from collections.abc import Callable
from pathlib import Path

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, TrialState

UNOWNED_SECONDS = 5.0
"""A running trial says its owner within milliseconds of its start; without one for so long, it died in between."""


def machine() -> str:
    """This machine, as far as process numbers reach: host, boot and process namespace."""
    parts = [platform.node()]
    with contextlib.suppress(OSError):
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text()[:8])
    with contextlib.suppress(OSError):
        parts.append(str(Path("/proc/self/ns/pid").readlink()))
    return " ".join(parts)


def owner() -> str:
    """This process: `machine|number|start time`. Numbers are used again, start times are not."""
    return f"{machine()}|{os.getpid()}|{_started(os.getpid())}"


def _started(pid: int) -> str:
    """Start time of a process in clock ticks since boot, where the system tells."""
    try:
        # The second field is the program's name and may hold spaces: count from behind it.
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""


def is_dead(owner: str) -> bool:
    """Whether the owner is a process of this machine that is no more."""
    where, _, process = owner.partition("|")
    number, _, started = process.partition("|")
    if where != machine() or not number.isdigit():
        return False
    try:
        os.kill(int(number), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass
    return _started(int(number)) != started or _is_zombie(int(number))


def _is_zombie(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (OSError, IndexError):
        return False


def retry_once(study: optuna.Study, trial: FrozenTrial) -> None:
    """Queue the parameters of a trial that died, unless it was itself such a second try."""
    if "retry_of" not in trial.user_attrs:
        retry(study, trial)


def retry(study: optuna.Study, trial: FrozenTrial) -> None:
    """Queue the parameters of a trial again; a trial that ended before it had any needs none."""
    # One that was queued and ended at once has them in the queue's words only.
    params = trial.params or trial.system_attrs.get("fixed_params")
    if params:
        attrs = {"retry_of": trial.number}
        if "role" in trial.user_attrs:
            attrs["role"] = trial.user_attrs["role"]
        study.enqueue_trial(params, user_attrs=attrs)


def release(study: optuna.Study, is_lost: Callable[[FrozenTrial], bool], reason: str, again: Retry) -> int:
    """Fail the running trials that are lost and queue their parameters again; how many there were."""
    lost = [t for t in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)) if is_lost(t)]
    count = 0
    for trial in lost:
        storage = study._storage
        # Of several processes that see it, the one that fails it queues it again.
        with contextlib.suppress(UpdateFinishedTrialError):
            storage.set_trial_user_attr(trial._trial_id, "failure", reason)
            if storage.set_trial_state_values(trial._trial_id, state=TrialState.FAIL):
                again(study, trial)
                count += 1
    return count


Retry = Callable[[optuna.Study, FrozenTrial], None]


def release_dead(study: optuna.Study) -> int:
    """Fail running trials whose process on this machine is gone, and try their parameters again, once."""

    def is_lost(trial: FrozenTrial) -> bool:
        if "owner" in trial.user_attrs:
            return is_dead(trial.user_attrs["owner"])
        began = trial.datetime_start
        return began is not None and (datetime.datetime.now() - began).total_seconds() > UNOWNED_SECONDS

    return release(study, is_lost, "its process ended", retry_once)


def release_own(study: optuna.Study) -> int:
    """Fail what this process left running (an interrupt, a storage that was away) and queue it again."""
    mine = owner()
    return release(study, lambda trial: trial.user_attrs.get("owner") == mine, "interrupted", retry)

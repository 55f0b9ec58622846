"""Whose trial a running trial is, so that one whose process died is noticed and its parameters are tried again.

Every trial carries the attribute `owner`: machine and process. On the same machine a dead process is seen at
once; another machine's is known by its heartbeat alone (Optuna's, see `schedopt.storage.opening`).
"""

from __future__ import annotations

import contextlib
import platform
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import optuna
import psutil
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, TrialState

UNOWNED_SECONDS = 5.0
"""A trial gets its owner within milliseconds of its start; without one for so long, its process died in between."""

ROLES = ("baseline", "line")
"""Attribute `role` of the trials of the reference schedules: β = 0, and the authors' line."""

INTERRUPTED, PROCESS_ENDED = "interrupted", "its process ended"
"""Attribute `failure` of trials that were ended from outside; they are tried again."""

Retry = Callable[[optuna.Study, FrozenTrial], None]


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
    process = psutil.Process()
    return f"{machine()}|{process.pid}|{_started(process)}"


def _started(process: psutil.Process) -> str:
    """Seconds from the machine's start to the process's: unlike a date it stays as it is when the clock is set."""
    boot = psutil.boot_time()
    return f"{process.create_time() - boot:.2f}"


def is_dead(owner: str) -> bool:
    """Whether the owner is a process of this machine that is no more."""
    where, _, process = owner.partition("|")
    number, _, started = process.partition("|")
    if where != machine() or not number.isdigit():
        return False
    try:
        found = psutil.Process(int(number))
        return found.status() == psutil.STATUS_ZOMBIE or _started(found) != started
    except psutil.NoSuchProcess:
        return True
    except psutil.AccessDenied:
        return False


def retry_once(study: optuna.Study, trial: FrozenTrial) -> None:
    """Queue the parameters of a trial that died, unless it was itself such a second try.

    A reference schedule's are queued whenever they are lost: nothing is selected without them.
    """
    if "retry_of" not in trial.user_attrs or trial.user_attrs.get("role") in ROLES:
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


def was_cut_off(trial: FrozenTrial, trials: Iterable[FrozenTrial]) -> bool:
    """Whether a failed one of all `trials` was ended from outside. One whose heartbeat stopped (Optuna finds it) has
    no reason, but a second try."""
    reason = trial.user_attrs.get("failure")
    if reason is None:
        return any(other.user_attrs.get("retry_of") == trial.number for other in trials)
    return reason in (INTERRUPTED, PROCESS_ENDED)


def is_unowned(trial: FrozenTrial) -> bool:
    """Whether a running trial has not said whose it is: just started, or left by a process that died just then.

    A trial of another program (Optuna's own `optimize`) has no owner either, but parameters.
    """
    return "owner" not in trial.user_attrs and not trial.params


@dataclass
class Releaser:
    """Finds the trials that died. It tells time by how long it has seen them itself: the clocks of machines differ."""

    _unowned: dict[int, float] = field(default_factory=dict)

    def release_dead(self, study: optuna.Study) -> int:
        """Fail running trials whose process on this machine is gone, and try their parameters again, once."""
        now = time.monotonic()

        def is_lost(trial: FrozenTrial) -> bool:
            if "owner" in trial.user_attrs:
                return is_dead(trial.user_attrs["owner"])
            return is_unowned(trial) and now - self._unowned.setdefault(trial.number, now) > UNOWNED_SECONDS

        return release(study, is_lost, PROCESS_ENDED, retry_once)


def release_own(study: optuna.Study) -> int:
    """Fail what this process left running (an interrupt, a storage that was away) and queue it again."""
    mine = owner()
    return release(study, lambda trial: trial.user_attrs.get("owner") == mine, INTERRUPTED, retry)


def lost_references(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """Of each role that no complete, running or queued trial has, the last trial that had it."""
    last = {trial.user_attrs["role"]: trial for trial in trials if trial.user_attrs.get("role") in ROLES}
    there = (TrialState.COMPLETE, TrialState.RUNNING, TrialState.WAITING)
    kept = {trial.user_attrs.get("role") for trial in trials if trial.state in there}
    return [trial for role, trial in last.items() if role not in kept]

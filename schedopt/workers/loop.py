"""One worker's loop: add trials to a study until it has as many finished ones as asked for."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Sequence
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from schedopt.errors import StudyError
from schedopt.search.study import changed_versions
from schedopt.storage.faults import STORAGE_FAULTS, one_line, set_hurried, storage_fault
from schedopt.storage.opening import shown, start_lock
from schedopt.storage.owners import is_dead, owner, release, release_dead, release_own, retry

MAX_FAILURES_IN_A_ROW = 3
"""After so many failed trials one behind the other the fault is not the trial's."""

WAIT_SECONDS = 0.5
"""Pause before looking again whether the trials that others run have finished."""

log = logging.getLogger("schedopt")

Objective = Callable[[optuna.Trial], float | Sequence[float]]


def work(
    study: optuna.Study,
    objective: Objective,
    trials: int,
    *,
    on_trial: Callable[[], None] | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> None:
    """Run trials until `trials` are finished (complete or pruned) in `study`, whoever ran them.

    Any number of processes may do so at once: a trial is started only while finished and running ones are
    fewer than `trials`, and what dies is tried again.

    Raises:
        StudyError: several of this worker's trials failed one behind the other, or the storage is gone.
        KeyboardInterrupt: as it comes; the trial in flight is queued again first.
    """
    failures = 0
    last = ""
    set_hurried(False)

    def after(study: optuna.Study, trial: FrozenTrial) -> None:
        nonlocal failures, last
        failed = trial.state == TrialState.FAIL
        failures = failures + 1 if failed else 0
        last = str(trial.user_attrs.get("failure", "no reason given")) if failed else ""
        if on_trial is not None:
            on_trial()

    try:
        release_own(study)
        notes: dict[str, Any] = {"owner": owner()}
        if changed := changed_versions(study):
            notes["versions"] = changed
        while not stop() and not _is_exhausted(study):
            release_dead(study)
            if _count(study, TrialState.COMPLETE, TrialState.PRUNED) >= trials and not _unowned(study):
                return
            if not _start_one(study, objective, trials, after, notes):
                time.sleep(WAIT_SECONDS)
            if failures >= MAX_FAILURES_IN_A_ROW:
                raise StudyError(f"study {study.study_name}: {failures} trials failed in a row, the last: {last}")
    except KeyboardInterrupt:
        release_interrupted(study)
        raise
    except STORAGE_FAULTS as error:
        raise StudyError(storage_lost(study, error)) from None


def release_interrupted(study: optuna.Study) -> None:
    """Queue again what this process, and those of this machine that have ended, left running.

    A storage that does not answer is not waited for: whoever goes on with the study sees that the owner is gone.
    """
    backend: Any = getattr(study._storage, "_backend", study._storage)
    mine = owner()

    def is_lost(trial: FrozenTrial) -> bool:
        # Between a trial's start and its owner's note the lock is held: one without a note was cut off there.
        whose = trial.user_attrs.get("owner", mine)
        return whose == mine or is_dead(whose)

    set_hurried(True)
    with contextlib.suppress(*STORAGE_FAULTS, StudyError), start_lock(backend, study.study_name):
        release(study, is_lost, "interrupted", retry)


def storage_lost(study: optuna.Study, error: BaseException) -> str:
    """The line for a storage that failed for good."""
    backend: Any = getattr(study._storage, "_backend", study._storage)
    return (
        f"{shown(backend.url)}: the storage failed: {one_line(error)}."
        " Finished trials are kept; mend it and run the same command again"
    )


def _start_one(
    study: optuna.Study,
    objective: Objective,
    trials: int,
    after: Callable[[optuna.Study, FrozenTrial], None],
    notes: dict[str, Any],
) -> bool:
    """Run one trial that carries `notes`, unless those that others run may be enough; whether one was run."""
    backend: Any = getattr(study._storage, "_backend", study._storage)
    with start_lock(backend, study.study_name) as leave:
        taken = _count(study, TrialState.COMPLETE, TrialState.PRUNED, TrialState.RUNNING)
        if taken >= trials:
            return False
        try:
            study.optimize(_guarded(study, objective, leave, notes), n_trials=1, catch=(Exception,), callbacks=[after])
        except (AssertionError, UnboundLocalError) as error:
            # Optuna trips over a trial whose end it could not write, or not even read again.
            if _was_interrupt(error):
                raise KeyboardInterrupt from None
            fault = storage_fault(error)
            if fault is None:
                raise
            raise fault from fault.__cause__
    return True


def _was_interrupt(error: BaseException | None) -> bool:
    """Whether Ctrl-C is behind an error that was raised on the way out."""
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__context__
    return error is not None


def _guarded(study: optuna.Study, objective: Objective, leave: Callable[[], None], notes: dict[str, Any]) -> Objective:
    """`objective` that says whose trial it is, lets others start theirs, and notes why it failed."""

    def guarded(trial: optuna.Trial) -> float | Sequence[float]:
        try:
            for name, value in notes.items():
                trial.set_user_attr(name, value)
        finally:
            leave()
        try:
            return objective(trial)
        except optuna.TrialPruned:
            raise
        except KeyboardInterrupt:
            set_hurried(True)
            with contextlib.suppress(*STORAGE_FAULTS):
                trial.set_user_attr("failure", "interrupted")
                retry(study, study._storage.get_trial(trial._trial_id))
            raise
        except STORAGE_FAULTS:
            raise
        except Exception as error:
            log.debug("trial %d failed", trial.number, exc_info=True)
            trial.set_user_attr("failure", " ".join(f"{type(error).__name__}: {error}".split())[:500])
            raise

    return guarded


def _count(study: optuna.Study, *states: TrialState) -> int:
    return len(study.get_trials(deepcopy=False, states=states))


def _unowned(study: optuna.Study) -> bool:
    """Whether a running trial has not said whose it is: just started, or left by a process that died just then."""
    running = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
    return any("owner" not in trial.user_attrs for trial in running)


def _is_exhausted(study: optuna.Study) -> bool:
    """Whether the sampler is a grid of which no point is left."""
    exhausted: Callable[[optuna.Study], bool] = getattr(study.sampler, "is_exhausted", lambda _: False)
    return exhausted(study)

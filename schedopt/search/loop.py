"""One worker's loop: add trials to a study until it has as many finished ones as asked for."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from schedopt.errors import StudyError
from schedopt.search.faults import STORAGE_FAULTS, one_line
from schedopt.search.owners import owner, release_dead, release_own, retry
from schedopt.search.storage import shown, start_lock

MAX_FAILURES_IN_A_ROW = 3
"""After so many failed trials one behind the other the fault is not the trial's."""

WAIT_SECONDS = 0.5
"""Pause before looking again whether the trials that others run have finished."""

log = logging.getLogger("schedopt")

Objective = Callable[[optuna.Trial], float]


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

    def after(study: optuna.Study, trial: FrozenTrial) -> None:
        nonlocal failures, last
        failed = trial.state == TrialState.FAIL
        failures = failures + 1 if failed else 0
        last = str(trial.user_attrs.get("failure", "no reason given")) if failed else ""
        if on_trial is not None:
            on_trial()

    try:
        release_own(study)
        while not stop() and not _is_exhausted(study):
            release_dead(study)
            if _count(study, TrialState.COMPLETE, TrialState.PRUNED) >= trials:
                return
            if not _start_one(study, objective, trials, after):
                time.sleep(WAIT_SECONDS)
            if failures >= MAX_FAILURES_IN_A_ROW:
                raise StudyError(f"study {study.study_name}: {failures} trials failed in a row, the last: {last}")
    except KeyboardInterrupt:
        release_own(study)
        raise
    except STORAGE_FAULTS as error:
        raise StudyError(storage_lost(study, error)) from None


def storage_lost(study: optuna.Study, error: BaseException) -> str:
    """The line for a storage that failed for good."""
    backend: Any = getattr(study._storage, "_backend", study._storage)
    return (
        f"{shown(backend.url)}: the storage failed: {one_line(error)}."
        " Finished trials are kept; mend it and run the same command again"
    )


def _start_one(
    study: optuna.Study, objective: Objective, trials: int, after: Callable[[optuna.Study, FrozenTrial], None]
) -> bool:
    """Run one trial, unless those that others run may be enough; whether one was run."""
    backend: Any = getattr(study._storage, "_backend", study._storage)
    with start_lock(backend, study.study_name) as leave:
        taken = _count(study, TrialState.COMPLETE, TrialState.PRUNED, TrialState.RUNNING)
        if taken >= trials:
            return False
        study.optimize(_guarded(study, objective, leave), n_trials=1, catch=(Exception,), callbacks=[after])
    return True


def _guarded(study: optuna.Study, objective: Objective, leave: Callable[[], None]) -> Objective:
    """`objective` that says whose trial it is, lets others start theirs, and notes why it failed."""

    def guarded(trial: optuna.Trial) -> float:
        try:
            trial.set_user_attr("owner", owner())
        finally:
            leave()
        try:
            return objective(trial)
        except optuna.TrialPruned:
            raise
        except KeyboardInterrupt:
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


def _is_exhausted(study: optuna.Study) -> bool:
    """Whether the sampler is a grid of which no point is left."""
    exhausted: Callable[[optuna.Study], bool] = getattr(study.sampler, "is_exhausted", lambda _: False)
    return exhausted(study)

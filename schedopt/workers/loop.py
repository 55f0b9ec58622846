"""One worker's loop: add trials to a study until it has as many finished ones as asked for."""

from __future__ import annotations

import contextlib
import logging
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import optuna
from optuna.exceptions import ExperimentalWarning, UpdateFinishedTrialError
from optuna.trial import FrozenTrial, TrialState

from schedopt.errors import DeletedError, StudyError
from schedopt.search.study import changed_versions
from schedopt.storage.faults import STORAGE_FAULTS, one_line, set_hurried, storage_fault, was_interrupt
from schedopt.storage.interrupts import obeyed, open_to_interrupts, shielded, sleep
from schedopt.storage.locks import backend, start_lock
from schedopt.storage.owners import (
    INTERRUPTED,
    Releaser,
    is_dead,
    is_unowned,
    lost_references,
    owner,
    release,
    release_own,
    retry,
)
from schedopt.storage.urls import shown, sqlite_file

MAX_FAILURES_IN_A_ROW = 3
"""After so many failed trials one behind the other the fault is not the trial's."""

WAIT_SECONDS = 0.5
"""Pause before looking again whether the trials that others run have finished."""

STALE_SECONDS = 5.0
"""How often a worker that waits looks for trials whose process is silent."""

STUDY_DELETED = "it was deleted while it ran; the same command starts it anew"
DATABASE_DELETED = "the database was deleted while the study ran; the same command starts it anew"

FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)
OPEN = (TrialState.WAITING, TrialState.RUNNING)

log = logging.getLogger("schedopt")

Objective = Callable[[optuna.Trial], float | Sequence[float]]
Stop = Callable[[], bool]
Callback = Callable[[optuna.Study, FrozenTrial], None]


def work(
    study: optuna.Study,
    objective: Objective,
    trials: int,
    *,
    on_trial: Callable[[], None] = lambda: None,
    stop: Stop = lambda: False,
    callbacks: Sequence[Callback] = (),
) -> None:
    """Run trials until `trials` are finished (complete or pruned) in `study`, whoever ran them.

    Any number of processes may do so at once: a trial is started only while finished and running ones are
    fewer than `trials`, and what dies is tried again. The trials of the reference schedules are run again until they
    are complete, beyond `trials` where need be. A callback that calls `study.stop()` ends it.

    Raises:
        StudyError: several of this worker's trials failed one behind the other, or the study or its storage is gone.
        KeyboardInterrupt: as it comes; the trial in flight is queued again first.
    """
    set_hurried(False)
    worker = _Worker(study, objective, trials, on_trial, callbacks)
    with shielded():
        try:
            worker.begin()
            while not (stop() or worker.is_done() or study._stop_flag):
                sleep(0 if worker.start_one() else WAIT_SECONDS)
        except KeyboardInterrupt:
            obeyed()
            release_interrupted(study)
            raise
        except DeletedError:
            worker.check_there()
            url = shown(backend(study._storage).url)
            raise StudyError(f"{url}: study {study.study_name}: {STUDY_DELETED}") from None
        except STORAGE_FAULTS as error:
            worker.check_there()
            raise StudyError(storage_lost(study, error)) from None


def release_interrupted(study: optuna.Study) -> None:
    """Queue again what this process, and those of this machine that have ended, left running.

    A storage that does not answer is not waited for: the next run sees that the owner is gone.
    """
    mine = owner()

    def is_lost(trial: FrozenTrial) -> bool:
        # Between a trial's start and its owner's note the lock is held: one without a note was cut off there.
        whose = trial.user_attrs.get("owner", mine if is_unowned(trial) else "")
        return whose == mine or is_dead(whose)

    set_hurried(True)
    with contextlib.suppress(*STORAGE_FAULTS, StudyError), start_lock(study._storage, study.study_name):
        release(study, is_lost, INTERRUPTED, retry)


def storage_lost(study: optuna.Study, error: BaseException) -> str:
    """The line for a storage that failed for good."""
    url = backend(study._storage).url
    return (
        f"{shown(url)}: the storage failed: {one_line(error, url)}."
        " Finished trials are kept; mend it and run the same command again"
    )


@dataclass
class _Worker:
    """The loop's state: the trial in flight, failures in a row, and when trials without an owner were first seen."""

    study: optuna.Study
    objective: Objective
    trials: int
    on_trial: Callable[[], None]
    callbacks: Sequence[Callback] = ()
    failures: int = 0
    notes: dict[str, Any] = field(default_factory=dict)
    running: int | None = None
    looked: float = float("-inf")
    file: tuple[int, int] | None = None
    releaser: Releaser = field(default_factory=Releaser)

    def begin(self) -> None:
        """Release what this process has left behind, and note what its trials will carry."""
        self.file = _file_of(self.study)
        release_own(self.study)
        self.notes = {"owner": owner()}
        if changed := changed_versions(self.study):
            self.notes["versions"] = changed

    def is_done(self) -> bool:
        """Whether the study has its trials, after the dead ones and lost references were queued again."""
        self.check_there()
        self.releaser.release_dead(self.study)
        trials = self.study.get_trials(deepcopy=False)
        if lost_references(trials):
            # Several may see it: one queues them.
            with start_lock(self.study._storage, self.study.study_name):
                for trial in lost_references(self.study.get_trials(deepcopy=False)):
                    retry(self.study, trial)
            return False
        if any(trial.state in OPEN and "role" in trial.user_attrs for trial in trials):
            return False
        finished = sum(trial.state in FINISHED for trial in trials)
        if finished >= self.trials:
            return not any(trial.state == TrialState.RUNNING and is_unowned(trial) for trial in trials)
        sentence = ending(self.study)
        if sentence != (self.study.user_attrs.get("ending") or None):
            self.study.set_user_attr("ending", sentence or "")
        return sentence is not None

    def start_one(self) -> bool:
        """Run one trial, unless those that others run may be enough; whether one was run.

        Raises:
            StudyError: it was the last of several that failed.
        """
        with start_lock(self.study._storage, self.study.study_name) as leave:
            trials = self.study.get_trials(deepcopy=False)
            taken = sum(trial.state in (*FINISHED, TrialState.RUNNING) for trial in trials)
            waiting = [trial for trial in trials if trial.state == TrialState.WAITING]
            if taken >= self.trials and not any("role" in trial.user_attrs for trial in waiting):
                self._release_silent()
                return False
            if not waiting and is_exhausted(self.study):
                return False  # the last schedules are being scored
            self.running = None
            try:
                callbacks = [self._after, *self.callbacks]
                self.study.optimize(self._guarded(leave), n_trials=1, catch=(Exception,), callbacks=callbacks)
            except Exception as error:
                self._explain(error)
        return True

    def _release_silent(self) -> None:
        """Try again the trials whose heartbeat has stopped. Optuna does so before it starts a trial, but where those
        that run would be enough, none is started."""
        now = time.monotonic()
        if now - self.looked >= STALE_SECONDS:
            self.looked = now
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ExperimentalWarning)
                optuna.storages.fail_stale_trials(self.study)

    def _guarded(self, leave: Callable[[], None]) -> Objective:
        """The objective; it notes whose trial it is, lets others start theirs, and notes why it failed."""

        def guarded(trial: optuna.Trial) -> float | Sequence[float]:
            self.running = trial._trial_id
            try:
                self._first_heartbeat(trial)
                for name, value in self.notes.items():
                    trial.set_user_attr(name, value)
                # While others wait, so that no two workers score the same schedule.
                getattr(self.objective, "propose", lambda _: None)(trial)
            except Exception as error:
                self._note_failure(trial, error)
                raise
            finally:
                leave()
            try:
                with open_to_interrupts():
                    return self.objective(trial)
            except KeyboardInterrupt:
                self._put_back(trial)
                raise
            except Exception as error:
                if was_interrupt(error):
                    # A query that was cut off may raise an error of its own on the way out.
                    self._put_back(trial)
                    raise KeyboardInterrupt from None
                self._note_failure(trial, error)
                raise

        return guarded

    def _note_failure(self, trial: optuna.Trial, error: Exception) -> None:
        """Keep why a trial failed, unless it is no failure of its own."""
        if was_interrupt(error) or isinstance(error, (optuna.TrialPruned, UpdateFinishedTrialError, *STORAGE_FAULTS)):
            return
        log.debug("trial %d failed", trial.number, exc_info=True)
        trial.set_user_attr("failure", " ".join(f"{type(error).__name__}: {error}".split())[:500])

    def _first_heartbeat(self, trial: optuna.Trial) -> None:
        """Optuna's thread writes it too, but at a time of its own; a trial without one is never seen to be silent."""
        storage = backend(self.study._storage)
        if isinstance(storage, optuna.storages.RDBStorage) and storage.get_heartbeat_interval() is not None:
            storage.record_heartbeat(trial._trial_id)

    def _put_back(self, trial: optuna.Trial) -> None:
        obeyed()
        set_hurried(True)
        with contextlib.suppress(UpdateFinishedTrialError, *STORAGE_FAULTS):
            trial.set_user_attr("failure", INTERRUPTED)
            retry(self.study, self.study._storage.get_trial(trial._trial_id))

    def _after(self, study: optuna.Study, trial: FrozenTrial) -> None:
        failed = trial.state == TrialState.FAIL
        self.failures = self.failures + 1 if failed else 0
        self.on_trial()
        if self.failures >= MAX_FAILURES_IN_A_ROW:
            last = trial.user_attrs.get("failure", "no reason given")
            raise StudyError(f"study {study.study_name}: {self.failures} trials failed in a row, the last: {last}")

    def _explain(self, error: Exception) -> None:
        """Raise what is behind an error of `optimize`: Optuna stumbles over a trial whose end it could not write, or
        not even read again. A trial that another process has ended is dropped."""
        if isinstance(error, (StudyError, *STORAGE_FAULTS)):
            raise error
        if was_interrupt(error):
            raise KeyboardInterrupt from None
        fault = storage_fault(error)
        if fault is not None:
            raise fault from fault.__cause__
        # A result that comes too late ends in an assertion of Optuna's.
        behind = error.__context__ if isinstance(error, AssertionError) else error
        if self.running is None or not isinstance(behind, (ValueError, UpdateFinishedTrialError)):
            raise error
        trial = self.study._storage.get_trial(self.running)
        if not trial.state.is_finished():
            raise error
        log.warning("trial %d is dropped: this process was silent for so long that another one took over", trial.number)

    def check_there(self) -> None:
        """Raise where the database's file was deleted: SQLite would write to what is left of it without an error."""
        if self.file is not None and self.file != _file_of(self.study):
            raise StudyError(f"{shown(backend(self.study._storage).url)}: {DATABASE_DELETED}")


def _file_of(study: optuna.Study) -> tuple[int, int] | None:
    """What tells a SQLite database's file from another one of the same name; None where there is none."""
    path = sqlite_file(backend(study._storage).url)
    if path is None or not path.exists():
        return None
    state = path.stat()
    return state.st_dev, state.st_ino


def ending(study: optuna.Study) -> str | None:
    """Why the study ends before it has its trials, as its sampler says; None where it does not."""
    told: Callable[[optuna.Study], str | None] = getattr(study.sampler, "ending", lambda _: None)
    return told(study)


def is_exhausted(study: optuna.Study) -> bool:
    """Whether the sampler has nothing left to propose."""
    exhausted: Callable[[optuna.Study], bool] = getattr(study.sampler, "is_exhausted", lambda _: False)
    return exhausted(study)

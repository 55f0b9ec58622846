"""The worker's loop: exact counts, failures, interrupts, dead processes, several workers at once."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

import optuna
import psutil
import pytest
import sqlalchemy.exc
from optuna.trial import TrialState

from schedopt.errors import StudyError
from schedopt.storage.opening import open_storage
from schedopt.storage.owners import is_dead, owner
from schedopt.workers.loop import work
from tests.servers import wait_for


def make(storage: Path) -> optuna.Study:
    return optuna.create_study(
        storage=open_storage(f"sqlite:///{storage}"),
        study_name="s",
        direction="maximize",
        sampler=optuna.samplers.RandomSampler(seed=os.getpid()),
        load_if_exists=True,
    )


def parabola(trial: optuna.Trial) -> float:
    x = trial.suggest_float("x", 0, 1)
    return -((x - 0.3) ** 2)


def test_runs_exactly_the_trials_asked_for(tmp_path: Path) -> None:
    study = make(tmp_path / "s.db")
    for trials in (3, 3, 5):
        work(study, parabola, trials)
        assert len(study.trials) == trials


def test_pruned_trials_count_and_failed_ones_do_not(tmp_path: Path) -> None:
    def objective(trial: optuna.Trial) -> float:
        if trial.number % 3 == 1:
            raise optuna.TrialPruned
        if trial.number % 3 == 2:
            raise ValueError("three by\nthree")
        return parabola(trial)

    study = make(tmp_path / "s.db")
    work(study, objective, 6)
    states = [t.state for t in study.trials]
    assert states.count(TrialState.COMPLETE) + states.count(TrialState.PRUNED) == 6
    failed = [t for t in study.trials if t.state == TrialState.FAIL]
    assert {t.user_attrs["failure"] for t in failed} == {"ValueError: three by three"}


def test_three_failures_in_a_row_stop_with_the_reason(tmp_path: Path) -> None:
    def objective(trial: optuna.Trial) -> float:
        raise RuntimeError("the model burnt down")

    study = make(tmp_path / "s.db")
    with pytest.raises(StudyError, match=r"3 trials failed in a row.*the model burnt down"):
        work(study, objective, 10)
    assert len(study.trials) == 3


def test_an_interrupted_trial_is_queued_again(tmp_path: Path) -> None:
    tried: list[float] = []

    def objective(trial: optuna.Trial) -> float:
        tried.append(trial.suggest_float("x", 0, 1))
        if len(tried) == 2:
            raise KeyboardInterrupt
        return tried[-1]

    study = make(tmp_path / "s.db")
    with pytest.raises(KeyboardInterrupt):
        work(study, objective, 4)
    assert not study.get_trials(states=(TrialState.RUNNING,))
    work(study, objective, 4)
    assert tried[2] == tried[1]
    assert sum(t.state == TrialState.COMPLETE for t in study.trials) == 4


def test_an_interrupt_while_the_end_is_written_is_an_interrupt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = make(tmp_path / "s.db")
    interrupted: list[int] = []

    def interrupt(*args: Any, **kwargs: Any) -> bool:
        if not interrupted:
            interrupted.append(1)
            raise KeyboardInterrupt
        return original(*args, **kwargs)

    original = study._storage.set_trial_state_values
    monkeypatch.setattr(study._storage, "set_trial_state_values", interrupt)
    with pytest.raises(KeyboardInterrupt):
        work(study, parabola, 3)
    assert not study.get_trials(states=(TrialState.RUNNING,))
    work(study, parabola, 3)
    assert sum(t.state == TrialState.COMPLETE for t in study.trials) == 3


@pytest.mark.parametrize(
    "error", [AttributeError("a cursor that is closed"), sqlalchemy.exc.OperationalError("x", (), OSError())]
)
def test_an_interrupt_that_ends_in_another_error_is_an_interrupt(error: Exception, tmp_path: Path) -> None:
    """A query that Ctrl-C or SIGTERM cuts off may raise an error of its own while it is cleaned up."""
    study = make(tmp_path / "s.db")
    ran: list[int] = []

    def objective(trial: optuna.Trial) -> float:
        ran.append(trial.number)
        value = parabola(trial)
        try:
            if len(ran) == 2:
                raise KeyboardInterrupt
        finally:
            if len(ran) == 2:
                raise error
        return value

    with pytest.raises(KeyboardInterrupt):
        work(study, objective, 4)
    assert len(ran) == 2
    assert [t.user_attrs["failure"] for t in study.trials if t.state == TrialState.FAIL] == ["interrupted"]
    assert study.trials[-1].state == TrialState.WAITING
    assert study.trials[-1].user_attrs["retry_of"] == 1


def terminate(*_: Any) -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def interrupted_parabola(trial: optuna.Trial) -> float:
    value = parabola(trial)
    terminate()
    return value


@pytest.fixture
def _terminable() -> Iterator[None]:
    """SIGTERM raises KeyboardInterrupt, as in the command."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.mark.usefixtures("_terminable")
@pytest.mark.parametrize(
    "place",
    [
        "optuna.storages._heartbeat.HeartbeatThread.join",
        "optuna.storages._heartbeat.HeartbeatThread.start",
        "schedopt.storage.faults.PatientStorage._set_trial_param",
        "schedopt.storage.faults.PatientStorage.set_trial_user_attr",
        "schedopt.storage.faults.PatientStorage._create_new_trial",
        "schedopt.storage.faults.PatientStorage.set_trial_state_values",
        "schedopt.storage.owners.retry",
        "filelock.FileLock.release",
    ],
)
def test_a_signal_at_an_unlucky_moment(place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once it left Optuna's thread alive, so that the process never ended, or trials that failed without a reason."""
    study = make(tmp_path / "s.db")
    study.enqueue_trial({"x": 0.25})
    module, _, name = place.rpartition(".")
    owner_, original = resolve_name(module), resolve_name(module + "." + name)
    calls: list[str] = []

    def interrupted(*args: Any, **kwargs: Any) -> Any:
        calls.append(place)
        if len(calls) == 3:
            terminate()
        return original(*args, **kwargs)

    monkeypatch.setattr(owner_, name, interrupted)
    threads = set(threading.enumerate())
    if name == "retry":
        calls += ["", ""]
        monkeypatch.setattr("schedopt.workers.loop.retry", interrupted)
        with pytest.raises(KeyboardInterrupt):
            work(study, interrupted_parabola, 12)
    else:
        with pytest.raises(KeyboardInterrupt):
            work(study, parabola, 12)
    assert set(threading.enumerate()) <= threads
    assert not study.get_trials(states=(TrialState.RUNNING,))
    failed = study.get_trials(states=(TrialState.FAIL,))
    assert [t.user_attrs.get("failure") for t in failed] in ([], ["interrupted"])
    retried = {t.user_attrs.get("retry_of") for t in study.trials}
    assert all(t.number in retried for t in failed if t.params)
    assert signal.getsignal(signal.SIGTERM) is signal.default_int_handler
    monkeypatch.undo()
    work(study, parabola, 12)
    assert 0.25 in [t.params["x"] for t in study.get_trials(states=(TrialState.COMPLETE,))]


@pytest.mark.usefixtures("_terminable")
def test_a_second_signal_ends_what_the_first_does_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A storage that hangs: the second Ctrl-C, a second later, is obeyed at once."""
    study = make(tmp_path / "s.db")

    def hang(*_: Any, **__: Any) -> None:
        terminate()
        time.sleep(1.1)
        terminate()
        raise AssertionError("not reached")

    monkeypatch.setattr("schedopt.workers.loop.release_own", hang)
    with pytest.raises(KeyboardInterrupt):
        work(study, parabola, 3)


def test_signals_at_random_moments(tmp_path: Path) -> None:
    """Every command ends, and every trial that it had begun is told from one that failed."""
    study = make(tmp_path / "s.db")
    for seed in range(8):
        process = FRESH.Process(target=work_until_terminated, args=(tmp_path / "s.db",))
        before = len(study.get_trials(deepcopy=False))
        process.start()
        wait_for(partial(has_more_trials, study, before))
        time.sleep(random.Random(seed).uniform(0, 0.1))
        process.terminate()
        process.join(60)
        assert process.exitcode == 130
    failed = study.get_trials(states=(TrialState.FAIL,))
    assert {t.user_attrs.get("failure") for t in failed} <= {"interrupted"}
    retried = {t.user_attrs.get("retry_of") for t in study.trials}
    assert all(t.number in retried for t in failed if t.params)
    assert not study.get_trials(states=(TrialState.RUNNING,))


def has_more_trials(study: optuna.Study, count: int) -> bool:
    return len(study.get_trials(deepcopy=False)) > count


def work_until_terminated(path: Path) -> None:
    optuna.logging.set_verbosity(optuna.logging.CRITICAL)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        work(make(path), parabola, 10**6)
    except KeyboardInterrupt:
        sys.exit(130)


def test_the_last_trial_is_taken_over_where_no_other_is_to_be_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Optuna looks for trials whose process is silent before it starts one; with the last trials none is started."""
    monkeypatch.setattr("schedopt.storage.opening.HEARTBEAT_SECONDS", 1)
    monkeypatch.setattr("schedopt.storage.opening.GRACE_SECONDS", 2)
    study = make(tmp_path / "s.db")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # heartbeats are of `optimize` only
        theirs = study.ask()
    theirs.suggest_float("x", 0, 1)
    theirs.set_user_attr("owner", "another machine|1|1")
    study._storage._backend.record_heartbeat(theirs._trial_id)  # type: ignore[attr-defined]
    work(study, parabola, 2)
    states = [t.state for t in study.trials]
    assert states.count(TrialState.COMPLETE) == 2
    assert states[theirs.number] == TrialState.FAIL


def test_owners() -> None:
    assert not is_dead(owner())
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    where, _, _ = owner().partition("|")
    token = f"{where}|{child.pid}|{psutil.Process(child.pid).create_time() - psutil.boot_time():.2f}"
    assert not is_dead(token)
    assert is_dead(f"{where}|{child.pid}|1")
    assert not is_dead(f"another machine|{child.pid}|1")
    child.kill()
    wait_for(lambda: is_dead(token))  # a zombie, whose number is still taken
    child.wait()
    assert is_dead(token)


def _slow(trial: optuna.Trial) -> float:
    value = parabola(trial)
    time.sleep(0.03)
    return value


def _work_slowly(storage: Path, trials: int) -> None:
    optuna.logging.set_verbosity(optuna.logging.CRITICAL)
    work(make(storage), _slow, trials)


# Processes of their own that need not import everything again.
FRESH = multiprocessing.get_context("forkserver")
FRESH.set_forkserver_preload([__name__])


def test_twenty_kills_leave_an_exact_and_clean_study(tmp_path: Path) -> None:
    """kill −9 at random moments, resumed each time: exactly 100 finished trials, none RUNNING, each value right."""
    storage, rng = tmp_path / "s.db", random.Random(1)
    make(storage)
    kills = 0
    while kills < 20:
        process = FRESH.Process(target=_work_slowly, args=(storage, 100))
        process.start()
        # Until it works: its first trial of this life.
        before = len(make(storage).trials)
        while process.is_alive() and len(make(storage).trials) == before:
            time.sleep(0.02)
        time.sleep(rng.uniform(0, 0.1))
        if process.is_alive():
            assert process.pid is not None
            os.kill(process.pid, signal.SIGKILL)
            kills += 1
        process.join()
        if len(make(storage).get_trials(states=(TrialState.COMPLETE,))) > 90:
            break
    study = make(storage)
    work(study, parabola, 100)
    states = [t.state for t in study.trials]
    assert states.count(TrialState.COMPLETE) == 100
    assert states.count(TrialState.RUNNING) == 0
    for trial in study.trials:
        if trial.state == TrialState.COMPLETE:
            assert trial.value == -((trial.params["x"] - 0.3) ** 2)
            first = study.trials[trial.user_attrs.get("retry_of", trial.number)]
            assert trial.params == (first.params or first.system_attrs["fixed_params"])


def test_eight_workers_on_one_new_database(tmp_path: Path) -> None:
    """All start at once on a file that does not exist: one study, exactly as many trials as asked for."""
    storage = tmp_path / "new" / "s.db"
    processes = [FRESH.Process(target=_work_slowly, args=(storage, 60)) for _ in range(8)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    assert [process.exitcode for process in processes] == [0] * 8
    study = make(storage)
    assert [t.number for t in study.trials] == list(range(60))
    assert all(t.state == TrialState.COMPLETE for t in study.trials)
    assert len({t.params["x"] for t in study.trials}) == 60
    assert len({t.user_attrs["owner"] for t in study.trials}) > 1

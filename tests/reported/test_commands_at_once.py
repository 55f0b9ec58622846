"""Issue 13, items 21 and 22, with real `schedopt run` commands: suspended ones, and many at once on one new file.

A worker that was taken for dead ends with "Cannot tell a FAIL trial": optuna/optuna issue 5470. Many processes on one
SQLite file: optuna issue 820 ("database is locked").
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sqlite3
import sys
from collections.abc import Callable, Iterator
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import optuna
import psutil
import pytest
import torch
from filelock import FileLock, Timeout
from optuna.trial import FrozenTrial, TrialState

from schedopt.cli import call
from schedopt.storage import opening
from schedopt.workers import processes
from tests.servers import wait_for
from tests.studies import write_study

FRESH = multiprocessing.get_context("forkserver")
FRESH.set_forkserver_preload([__name__, "schedopt.cli.study", "schedopt.workers.run", "demucs.hdemucs"])

HEARTBEAT, GRACE = 1, 3
"""Seconds, in place of 10 and 60."""

SERVE = "from schedopt.workers.processes import serve; serve()"


def command(path: Path, said: Path, *options: str, grace: int = GRACE) -> None:
    """What a process does: `schedopt run`, its output in `said`, with short heartbeats, those of its workers too."""
    file = os.open(said, os.O_WRONLY | os.O_CREAT)
    os.dup2(file, 1)
    os.dup2(file, 2)
    torch.set_num_threads(1)
    opening.HEARTBEAT_SECONDS, opening.GRACE_SECONDS = HEARTBEAT, grace
    start: Callable[..., Any] = processes.subprocess.Popen  # type: ignore[attr-defined]

    def started(arguments: list[str], **options: Any) -> Any:
        short = f"import schedopt.storage.opening as o; o.HEARTBEAT_SECONDS, o.GRACE_SECONDS = {HEARTBEAT}, {grace}"
        return start([f"{short}; {text}" if text == SERVE else text for text in arguments], **options)

    processes.subprocess.Popen = started  # type: ignore[attr-defined]
    sys.exit(call(["run", str(path), *options]))


Start = Callable[..., ForkServerProcess]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts commands, which are killed at the end if they are still there."""
    started: list[ForkServerProcess] = []

    def begin(path: Path, *options: str, **settings: int) -> ForkServerProcess:
        said = tmp_path / f"said-{len(started)}"
        process = FRESH.Process(target=command, args=(path, said, *options), kwargs=settings)
        process.start()
        started.append(process)
        return process

    yield begin
    for process in started:
        process.kill()
        process.join()


def check_ended_well(started: list[ForkServerProcess], folder: Path) -> None:
    for process in started:
        process.join(240)
    said = [(folder / f"said-{k}").read_text() for k in range(len(started))]
    assert [process.exitcode for process in started] == [0] * len(started), said
    assert not [text for text in said if "Traceback" in text or "held it" in text]


def trials_of(path: Path) -> list[FrozenTrial]:
    try:
        storage = opening.open_storage(f"sqlite:///{path.parent}/studies.db", read_only=True)
        return optuna.load_study(study_name="small", storage=storage).get_trials(deepcopy=False)
    except Exception:  # it is just being made
        return []


def first_tries(path: Path, process: int) -> list[FrozenTrial]:
    """Running trials of the process that would be tried again: a second try is not, and on a busy machine a heartbeat
    of the first one may have come late."""
    running = [trial for trial in trials_of(path) if trial.state == TrialState.RUNNING and is_of(trial, process)]
    return [trial for trial in running if trial.params and "retry_of" not in trial.user_attrs]


def suspend_within_a_trial(path: Path, process: int) -> int:
    """Suspend the process where a trial of it is running; the trial's number."""

    def caught() -> list[FrozenTrial]:
        if not first_tries(path, process):
            return []
        os.kill(process, signal.SIGSTOP)
        found = first_tries(path, process)
        if not found or not is_free(path.parent / "studies.db"):
            os.kill(process, signal.SIGCONT)
            return []
        return found

    (trial,) = wait_for(caught, 120)
    return int(trial.number)


def is_free(database: Path) -> bool:
    """Whether others can write; a process that is suspended just while it writes keeps them from it."""
    lock = FileLock(f"{database}.lock", timeout=0.5)
    try:
        with lock, contextlib.closing(sqlite3.connect(database, timeout=0.5)) as connection:
            connection.execute("BEGIN IMMEDIATE")
    except (Timeout, sqlite3.OperationalError):
        return False
    return True


def slow_study(folder: Path, trials: int) -> Path:
    """A study whose trials take about a third of a second, so that a signal finds one running."""
    return write_study(
        folder,
        tracks=4,
        study={"trials": trials},
        data={"excerpt": 0.5},
        refinement={"steps": 8},
        store={"disk": 0, "memory": 0, "audio": 0},
        search={"pruner": "none"},
    )


def test_item_21_a_command_that_was_suspended_goes_on(tmp_path: Path, start: Start) -> None:
    path = slow_study(tmp_path, 24)
    started = [start(path), start(path)]
    assert started[0].pid is not None
    number = suspend_within_a_trial(path, started[0].pid)
    wait_for(lambda: any(t.user_attrs.get("retry_of") == number for t in trials_of(path)), 120)
    os.kill(started[0].pid, signal.SIGCONT)
    check_ended_well(started, tmp_path)
    states = [trial.state for trial in trials_of(path)]
    assert states[number] == TrialState.FAIL
    assert states.count(TrialState.COMPLETE) == 24
    assert f"trial {number} is dropped: this process was silent for so long" in (tmp_path / "said-0").read_text()
    assert any(is_of(trial, started[0].pid) for trial in trials_of(path)[number + 1 :]), "it went on"


def is_of(trial: FrozenTrial, process: int) -> bool:
    return bool(trial.user_attrs.get("owner", "").split("|")[1:2] == [str(process)])


def test_item_21_a_worker_that_was_suspended_goes_on(tmp_path: Path, start: Start) -> None:
    path = slow_study(tmp_path, 24)
    started = start(path, "--workers", "2")
    assert started.pid is not None
    workers: list[psutil.Process] = wait_for(
        lambda: found if len(found := psutil.Process(started.pid).children()) == 2 else [], 120
    )
    number = suspend_within_a_trial(path, workers[0].pid)
    wait_for(lambda: any(t.user_attrs.get("retry_of") == number for t in trials_of(path)), 120)
    workers[0].resume()
    check_ended_well([started], tmp_path)
    states = [trial.state for trial in trials_of(path)]
    assert states[number] == TrialState.FAIL
    assert states.count(TrialState.COMPLETE) == 24


def test_item_21_eleven_that_take_each_other_for_dead(tmp_path: Path, start: Start) -> None:
    """Nothing is suspended, but heartbeats come late where eleven share two cores and a second is all they have."""
    path = slow_study(tmp_path, 30)
    started = [start(path, "-q", "--debug", grace=1) for _ in range(11)]
    check_ended_well(started, tmp_path)
    assert [t.state for t in trials_of(path)].count(TrialState.COMPLETE) == 30


def test_item_22_sixteen_commands_on_one_new_file(tmp_path: Path, start: Start) -> None:
    path = write_study(tmp_path, tracks=1, study={"trials": 24}, refinement={"steps": 1}, schedule={"resolution": 0.01})
    started = [start(path, "-q", grace=60) for _ in range(16)]
    check_ended_well(started, tmp_path)
    assert [t.state for t in trials_of(path)] == [TrialState.COMPLETE] * 24

"""Studies in a real PostgreSQL server: shared by processes, restarted in mid-study, away for good; passwords."""

from __future__ import annotations

import json
import logging
import multiprocessing
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from schedopt.cli import call
from schedopt.errors import StudyError
from schedopt.storage import faults
from schedopt.storage.opening import open_storage
from schedopt.storage.urls import shown
from schedopt.workers.loop import work
from tests.servers import PASSWORD, Postgres, environment, wait_for
from tests.studies import write_study

Capture = pytest.CaptureFixture[str]
FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)
SPAWN = multiprocessing.get_context("spawn")


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    made = Postgres()
    yield made
    made.remove()


@pytest.fixture
def url(server: Postgres, request: pytest.FixtureRequest) -> str:
    """A new database, named after the test."""
    return server.new_database(str(request.node.name)[:60])


def make(url: str) -> optuna.Study:
    return optuna.create_study(
        storage=open_storage(url),
        study_name="s",
        direction="maximize",
        sampler=optuna.samplers.RandomSampler(),
        load_if_exists=True,
    )


def parabola(trial: optuna.Trial) -> float:
    return -((trial.suggest_float("x", 0, 1) - 0.3) ** 2)


def join_study(url: str, trials: int) -> None:
    optuna.logging.set_verbosity(optuna.logging.CRITICAL)
    work(make(url), parabola, trials)


def test_processes_that_start_on_an_empty_database_share_one_study(url: str) -> None:
    processes = [SPAWN.Process(target=join_study, args=(url, 20)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    assert [process.exitcode for process in processes] == [0, 0]
    study = make(url)
    assert [trial.state for trial in study.trials] == [TrialState.COMPLETE] * 20
    assert len({trial.params["x"] for trial in study.trials}) == 20


def test_a_restart_in_mid_study_loses_nothing_and_the_count_is_exact(
    server: Postgres, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once between two calls, and once so that calls meet a server that is not there yet."""
    study = make(url)
    values: dict[int, float] = {}
    starting = threading.Thread(target=server.start)

    def objective(trial: optuna.Trial) -> float:
        if trial.number == 4:
            server.restart()
        if trial.number == 8:
            server.stop()
            starting.start()
        values[trial.number] = parabola(trial)
        return values[trial.number]

    work(study, objective, 12)
    starting.join()
    assert {trial.number: trial.value for trial in study.get_trials(states=(TrialState.COMPLETE,))} == values
    assert [trial.state for trial in study.get_trials()] == [TrialState.COMPLETE] * 12


def test_a_server_that_stays_away_is_one_line_and_what_is_finished_is_kept(
    server: Postgres, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(faults, "PATIENCE_SECONDS", 0.05)
    study = make(url)

    def objective(trial: optuna.Trial) -> float:
        if trial.number == 5:
            server.stop()
        return parabola(trial)

    try:
        with pytest.raises(StudyError, match=r"the storage failed.*Finished trials are kept") as caught:
            work(study, objective, 20)
        assert "\n" not in str(caught.value)
        assert PASSWORD not in str(caught.value)
        with pytest.raises(StudyError, match="cannot be opened") as caught:
            open_storage(url)
        assert PASSWORD not in str(caught.value)
    finally:
        server.start()
    again = make(url)
    assert len(again.get_trials(states=(TrialState.COMPLETE,))) == 5
    work(again, parabola, 8)
    assert len(again.get_trials(states=(TrialState.COMPLETE,))) == 8
    # The process is the one that left it behind, so it is noticed at once.
    assert not again.get_trials(states=(TrialState.RUNNING,))


def test_the_same_command_twice_joins_one_study_and_no_password_is_shown(
    url: str, tmp_path: Path, capsys: Capture, caplog: pytest.LogCaptureFixture
) -> None:
    """The command on a real model, in two processes at once; then all that it printed and wrote is searched."""
    caplog.set_level(logging.DEBUG)
    path = write_study(tmp_path, tracks=2, refinement={"steps": 1}, study={"storage": url, "trials": 6})
    command = [sys.executable, "-m", "schedopt", "run", str(path), "--json"]
    runs = [
        subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path, env=environment()
        )
        for _ in range(2)
    ]
    printed = [run.communicate(timeout=300) for run in runs]
    assert [run.returncode for run in runs] == [0, 0], printed
    documents = [json.loads(out) for out, _ in printed]
    assert all(d["trials"]["complete"] + d["trials"]["pruned"] == 6 for d in documents)
    assert call(["status", str(path), "-v"]) == 0
    assert call(["status", "--storage", url, "--json"]) == 0
    assert call(["export", str(path), "-o", str(tmp_path / "out.json")]) == 0
    assert call(["run", str(path), "--set", "refinement.steps=2"]) == 1
    wrong = url.replace(PASSWORD, "Wr0ng-" + PASSWORD)
    assert call(["status", "--storage", wrong]) == 1
    captured = capsys.readouterr()
    study = optuna.load_study(study_name="small", storage=open_storage(url))
    texts = [
        captured.out,
        captured.err,
        caplog.text,
        *(part for pair in printed for part in pair),
        *(file.read_text() for file in tmp_path.glob("*.json")),
        repr(study.user_attrs),
        repr([(t.user_attrs, t.system_attrs) for t in study.trials]),
    ]
    assert "me:***@127.0.0.1" in captured.err
    assert not [text for text in texts if PASSWORD in text]


def test_a_password_in_the_query_is_hidden_too() -> None:
    assert PASSWORD not in shown(f"postgresql+psycopg://host/db?user=me&password={PASSWORD}")


def test_the_start_lock_ends_with_its_connection(url: str) -> None:
    """A machine that is cut off while it starts a trial does not keep the others from theirs."""
    study = make(url)
    backend = study._storage._backend  # type: ignore[attr-defined]
    process = SPAWN.Process(target=hold_lock, args=(url,))
    process.start()
    with backend.engine.connect() as connection:
        count = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'"
        wait_for(lambda: connection.exec_driver_sql(count).scalar(), 120)
    process.kill()
    process.join()
    work(study, parabola, 1)
    assert len(study.trials) == 1


def hold_lock(url: str) -> None:
    from schedopt.storage.locks import start_lock

    with start_lock(open_storage(url), "s"):
        threading.Event().wait()

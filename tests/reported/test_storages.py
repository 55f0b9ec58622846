"""Issue 13, studies in their storage: items 13, 14, 17, 18, 19, 21, 22, 23, 27, 30, 32, 33 and 34."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import optuna
import pytest
import torch
from optuna.trial import TrialState

from schedopt.cli import call
from schedopt.config import StudyConfig, StudySection, load_config
from schedopt.errors import StudyError
from schedopt.search.artifacts import artifact_folder
from schedopt.search.export import default_path
from schedopt.storage import faults, locks
from schedopt.storage.locks import start_lock
from schedopt.storage.opening import open_storage
from schedopt.storage.urls import shown
from schedopt.workers.loop import work
from schedopt.workers.run import run
from tests.servers import PASSWORD, Postgres
from tests.studies import write_study

Capture = pytest.CaptureFixture[str]
FRESH = multiprocessing.get_context("forkserver")
FRESH.set_forkserver_preload([__name__])


def make(path: Path, sampler: optuna.samplers.BaseSampler | None = None) -> optuna.Study:
    return optuna.create_study(
        storage=open_storage(f"sqlite:///{path}"),
        study_name="s",
        direction="maximize",
        sampler=sampler or optuna.samplers.RandomSampler(seed=os.getpid()),
        load_if_exists=True,
    )


def parabola(trial: optuna.Trial) -> float:
    return -((trial.suggest_float("x", 0, 1) - 0.3) ** 2)


def begin(study: optuna.Study) -> optuna.Trial:
    """A running trial, as `optimize` starts one."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return study.ask()


# 13: foreign studies


def foreign(path: Path, directions: list[Any], attrs: dict[str, Any]) -> None:
    study = optuna.create_study(storage=f"sqlite:///{path}", study_name="theirs", directions=directions)
    for name, value in attrs.items():
        study.set_user_attr(name, value)
    study.optimize(lambda trial: [trial.suggest_float("x", 0, 1)] * len(directions), n_trials=2)


@pytest.mark.parametrize(
    ("directions", "attrs"),
    [
        (["minimize", "maximize"], {}),
        (["minimize"], {"config": "a text"}),
        (["maximize"], {"schedopt": 1, "config": 5}),
    ],
)
def test_foreign_studies_are_listed(
    directions: list[str], attrs: dict[str, Any], tmp_path: Path, capsys: Capture
) -> None:
    foreign(tmp_path / "s.db", directions, attrs)
    url = f"sqlite:///{tmp_path}/s.db"
    assert call(["status", "--storage", url, "-v"]) == 0
    assert "theirs (not made by schedopt)" in capsys.readouterr().out
    assert call(["status", "--storage", url, "--json"]) == 0
    (document,) = json.loads(capsys.readouterr().out)["studies"]
    assert document["foreign"]
    assert document["trials"]["complete"] == 2


# 14: a grid that is used up


def test_a_used_up_grid_ends_with_what_to_change(tmp_path: Path, capsys: Capture) -> None:
    path = write_study(
        tmp_path, tracks=1, refinement={"steps": 1}, search={"sampler": "grid", "grid": 2}, study={"trials": 30}
    )
    for _ in range(2):
        assert call(["run", str(path)]) == 1
        captured = capsys.readouterr()
        assert "the grid is used up" in captured.err.splitlines()[-1]
        assert "search.grid (now 2)" in captured.err
        assert "selected schedule" in captured.out, "what was found is shown all the same"


def test_a_used_up_grid_waits_for_queued_trials(tmp_path: Path) -> None:
    study = make(tmp_path / "s.db", optuna.samplers.GridSampler({"x": [0.0, 0.5]}))
    study.enqueue_trial({"x": 0.25})
    work(study, parabola, 10)
    assert sorted(t.params["x"] for t in study.trials) == [0.0, 0.25, 0.5]


# 17: clocks


def test_a_trial_of_a_machine_in_another_time_zone_is_not_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its start lies ten hours back by this machine's clock, and its owner is not noted yet."""
    study = make(tmp_path / "s.db")
    zone = os.environ.get("TZ")
    monkeypatch.setenv("TZ", "UTC+10")
    time.tzset()
    theirs = begin(study)
    monkeypatch.setenv("TZ", zone or "UTC")
    time.tzset()
    noted: list[TrialState] = []

    def objective(trial: optuna.Trial) -> float:
        theirs.set_user_attr("owner", "another machine|1|1")
        noted.append(study.trials[theirs.number].state)
        return parabola(trial)

    work(study, objective, 2, stop=lambda: len(noted) > 0)
    assert noted == [TrialState.RUNNING]


def test_a_trial_without_owner_is_released_after_it_was_seen_for_a_while(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("schedopt.storage.owners.UNOWNED_SECONDS", 0.2)
    study = make(tmp_path / "s.db")
    begin(study)
    work(study, parabola, 2)
    assert [t.state for t in study.trials] == [TrialState.FAIL, TrialState.COMPLETE, TrialState.COMPLETE]


# 18: verbosity


@pytest.mark.parametrize("level", [optuna.logging.INFO, optuna.logging.WARNING])
def test_run_leaves_optunas_verbosity_as_it_was(level: int, tmp_path: Path) -> None:
    config = load_config(write_study(tmp_path, tracks=1, refinement={"steps": 1}, study={"trials": 2}))
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(level)
    try:
        run(config)
        assert optuna.logging.get_verbosity() == level
        with pytest.raises(StudyError):
            run(config.model_copy(update={"study": config.study.model_copy(update={"storage": "nonsense"})}))
        assert optuna.logging.get_verbosity() == level
    finally:
        optuna.logging.set_verbosity(before)


# 18: threads that wait

IMPORT = """
import os, time
before = dict(os.environ)
began = time.perf_counter()
import schedopt
seconds = time.perf_counter() - began
assert dict(os.environ) == before
import torch
assert dict(os.environ) == before
print(seconds)
"""


@pytest.mark.parametrize(("chosen", "spins"), [(None, "0"), ("ACTIVE", "30000000000"), ("PASSIVE", "0")])
def test_threads_of_the_api_wait_passively_and_the_environment_stays(chosen: str | None, spins: str) -> None:
    """`OMP_DISPLAY_ENV` prints PASSIVE for no policy too; what tells them apart is how long threads spin.

    Where torch has no GNU library (macOS, Windows) nothing is printed, and nothing is changed.
    """
    variables = {name: value for name, value in os.environ.items() if name not in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")}
    variables["OMP_DISPLAY_ENV"] = "VERBOSE"
    if chosen is not None:
        variables["OMP_WAIT_POLICY"] = chosen
    done = subprocess.run([sys.executable, "-c", IMPORT], capture_output=True, text=True, env=variables, check=False)
    assert done.returncode == 0, done.stderr
    has_gnu = any((Path(torch.__file__).parent / "lib").glob("libgomp*.so*"))
    assert (f"OMP_WAIT_POLICY = '{chosen or 'PASSIVE'}'" in done.stderr) == has_gnu
    assert (f"GOMP_SPINCOUNT = '{spins}'" in done.stderr) == has_gnu


def test_where_torch_was_there_first_nothing_changes() -> None:
    code = "import os, torch; before = dict(os.environ); import schedopt; assert dict(os.environ) == before"
    variables = {name: value for name, value in os.environ.items() if name not in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")}
    subprocess.run([sys.executable, "-c", code], env=variables, check=True)


def test_the_import_without_torch_stays_cheap() -> None:
    def seconds() -> float:
        code = IMPORT.replace("import torch\n", "")
        return float(subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout)

    assert min(seconds() for _ in range(3)) < 0.2


# 19: where a storage path starts


@pytest.mark.parametrize(("storage", "file"), [("sqlite:///s.db", "s.db"), ("sqlite:///deep/t.db", "deep/t.db")])
def test_a_storage_path_starts_at_the_study_file(
    storage: str, file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    home, elsewhere = tmp_path / "home", tmp_path / "elsewhere"
    home.mkdir()
    elsewhere.mkdir()
    (home / "x.toml").write_text(f'[study]\nname = "x"\nstorage = "{storage}"\n[store]\nartifacts = "audio"\n')
    monkeypatch.chdir(elsewhere)
    config = load_config(home / "x.toml")
    assert config.study.storage == f"sqlite:///{home}/{file}"
    assert config.store.artifacts == str(home / "audio")
    monkeypatch.setattr("schedopt.storage.urls.log.propagate", True)
    (elsewhere / file).parent.mkdir(exist_ok=True)
    (elsewhere / file).touch()
    load_config(home / "x.toml")
    assert f"move it to {home / file}" in caplog.text


# 21: a lost trial


def take_over(study: optuna.Study, trial: optuna.Trial) -> None:
    """What another worker does once it takes this one for dead."""
    study._storage.set_trial_state_values(trial._trial_id, TrialState.FAIL)


@pytest.mark.parametrize("end", ["value", "late value", "not a number", "pruned", "error", "attribute"])
def test_a_worker_whose_trial_was_taken_over_goes_on(end: str, tmp_path: Path) -> None:
    study = make(tmp_path / "s.db")

    def objective(trial: optuna.Trial) -> float:
        if trial.number == 1:
            value = parabola(trial) if end == "late value" else float("nan")
            take_over(study, trial)
            if end in ("late value", "not a number"):
                return value
            if end == "pruned":
                raise optuna.TrialPruned
            if end == "error":
                raise ValueError("late")
            if end == "attribute":
                trial.set_user_attr("gain", 1.0)
        return parabola(trial)

    work(study, objective, 4)
    states = [t.state for t in study.trials]
    assert states.count(TrialState.COMPLETE) == 4
    assert states[1] == TrialState.FAIL


# 22: the start lock


def start_and_work(path: Path) -> None:
    optuna.logging.set_verbosity(optuna.logging.CRITICAL)
    work(make(path), parabola, 40)


def test_sixteen_at_once_on_one_new_file_all_end_well(tmp_path: Path) -> None:
    processes = [FRESH.Process(target=start_and_work, args=(tmp_path / "s.db",)) for _ in range(16)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    assert [process.exitcode for process in processes] == [0] * 16
    assert [t.state for t in make(tmp_path / "s.db").trials] == [TrialState.COMPLETE] * 40


def test_the_lock_is_waited_for_while_its_holder_lives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "NOTE_SECONDS", 0.2)
    said: list[str] = []
    monkeypatch.setattr(locks.log, "warning", lambda text, *values: said.append(text % values))
    study = make(tmp_path / "s.db")
    entered, leave = threading.Event(), threading.Event()

    def hold() -> None:
        with start_lock(study._storage, "s"):
            entered.set()
            leave.wait(30)

    holder = threading.Thread(target=hold)
    holder.start()
    entered.wait(30)
    threading.Timer(1.0, leave.set).start()
    work(study, parabola, 1)
    holder.join()
    assert "waiting for it" in said[0]


# 23: reference trials


def test_a_reference_that_is_lost_twice_is_run_again(tmp_path: Path) -> None:
    study = make(tmp_path / "s.db")
    study.enqueue_trial({"x": 0.0}, user_attrs={"role": "baseline"})
    study.enqueue_trial({"x": 1.0}, user_attrs={"role": "line"})

    def objective(trial: optuna.Trial) -> float:
        role, again = trial.user_attrs.get("role"), "retry_of" in trial.user_attrs
        if role == "baseline" and trial.number < 2:
            take_over(study, trial)
        if role == "baseline" and again and len(study.trials) < 6:
            take_over(study, trial)
        return parabola(trial)

    work(study, objective, 4)
    complete = study.get_trials(states=(TrialState.COMPLETE,))
    assert {t.params["x"] for t in complete if "role" in t.user_attrs} == {0.0, 1.0}


def test_a_study_that_was_completed_without_its_reference_gets_it(tmp_path: Path) -> None:
    study = make(tmp_path / "s.db")
    study.enqueue_trial({"x": 0.0}, user_attrs={"role": "baseline"})
    take_over(study, begin(study))
    for _ in range(3):
        study.add_trial(optuna.trial.create_trial(value=1.0))
    work(study, parabola, 3)
    assert study.trials[-1].user_attrs["role"] == "baseline"
    assert study.trials[-1].state == TrialState.COMPLETE


# 27: passwords


@pytest.mark.parametrize(
    "url",
    [
        "postgresql+psycopg://u:a@SECRET@127.0.0.1:1/x",
        "postgresql+psycopg://u:a@SEC/SECRET@127.0.0.1/x",
        "mysql+pymysql://u:x/y@SECRET@127.0.0.1/x",
        "postgresql+psycopg://u:ok@127.0.0.1:SECRET/x",
        "postgresql+psycopg://127.0.0.1:1/x?password=SECRET",
    ],
)
def test_no_piece_of_a_password_is_printed(url: str, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(faults, "PATIENCE_SECONDS", 0.01)
    assert call(["status", "--storage", url]) == 1
    captured = capsys.readouterr()
    assert "SECRET" not in captured.err + captured.out
    assert len(captured.err.splitlines()) == 1
    assert "SECRET" not in faults.one_line(ValueError("cannot parse SECRET"), url)


# 30: reading writes nothing


def digest(folder: Path) -> dict[str, str]:
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in folder.iterdir()}


@pytest.mark.parametrize("journal", ["delete", "wal"])
def test_status_changes_nothing(journal: str, tmp_path: Path, capsys: Capture) -> None:
    import sqlite3

    data = tmp_path / "data"
    data.mkdir()
    connection = sqlite3.connect(data / "songs.db")
    connection.execute(f"PRAGMA journal_mode={journal}")
    connection.execute("CREATE TABLE songs (name TEXT)")
    connection.commit()
    connection.close()
    before = digest(data)
    assert call(["status", "--storage", f"sqlite:///{data}/songs.db"]) == 1
    assert "holds no studies" in capsys.readouterr().err
    assert digest(data) == before


def test_a_study_is_read_without_a_trace(tmp_path: Path, capsys: Capture) -> None:
    path = write_study(
        tmp_path,
        tracks=1,
        refinement={"steps": 1},
        study={"trials": 2, "storage": f"sqlite:///{tmp_path}/data/s.db"},
        store={"audio": 0},
    )
    run(load_config(path))
    before = digest(tmp_path / "data")
    for command in (["status", str(path)], ["export", str(path)], ["report", str(path), "--audio", "0"]):
        options = ["-o", str(tmp_path / "out.html")] if command[0] == "report" else []
        assert call([*command, *options]) == 0, capsys.readouterr().err
    assert digest(tmp_path / "data") == before


# 32: PostgreSQL


@pytest.fixture(scope="module")
def server() -> Any:
    made = Postgres()
    yield made
    made.remove()


def test_opening_waits_for_a_server_that_starts(server: Postgres) -> None:
    url = server.new_database("waits")
    server.stop()
    starting = threading.Timer(3.0, server.start)
    starting.start()
    open_storage(url)
    starting.join()


def test_a_wrong_password_is_not_waited_for(server: Postgres) -> None:
    url = server.new_database("wrong")
    began = time.monotonic()
    with pytest.raises(StudyError) as caught:
        open_storage(url.replace(PASSWORD, "Wr0ng"))
    assert time.monotonic() - began < 10
    assert "Wr0ng" not in str(caught.value)


def close_all(connections: Sequence[Any]) -> None:
    for connection in connections:
        connection.close()


def test_a_connection_limit_is_waited_for(server: Postgres) -> None:
    import psycopg

    url = server.new_database("full")
    arguments: dict[str, Any] = {"host": "127.0.0.1", "port": server.port, "user": "me", "password": PASSWORD}
    with psycopg.connect(dbname="postgres", autocommit=True, **arguments) as admin:
        admin.execute("CREATE ROLE few LOGIN PASSWORD 'f3w-secret' CONNECTION LIMIT 3")
        admin.execute('ALTER DATABASE "full" OWNER TO few')
    few = arguments | {"user": "few", "password": "f3w-secret", "dbname": "full"}
    held = [psycopg.connect(**few) for _ in range(3)]
    timer = threading.Timer(1.5, close_all, [held])
    timer.start()
    try:
        open_storage(url.replace(f"me:{PASSWORD}", "few:f3w-secret"))
    finally:
        timer.join()


# 33: a deleted database


@pytest.mark.parametrize("made_again", [False, True])
def test_a_deleted_database_is_noticed_at_the_next_trial(made_again: bool, tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    study = make(path)
    ran: list[int] = []

    def objective(trial: optuna.Trial) -> float:
        ran.append(trial.number)
        if trial.number == 1:
            for file in tmp_path.glob("s.db*"):
                file.unlink()
            if made_again:
                make(path)
        return parabola(trial)

    with pytest.raises(StudyError, match="the database was deleted"):
        work(study, objective, 6)
    assert ran == [0, 1]


# 34: SQLite URLs


@pytest.mark.parametrize(
    ("url", "file"),
    [
        ("sqlite:///{}/a%20b/s.db", "a b/s.db"),
        ("sqlite+pysqlite:///{}/s.db", "s.db"),
        ("sqlite:///{}/{{x}}.db", "{x}.db"),
    ],
)
def test_database_schedule_and_audio_lie_together(url: str, file: str, tmp_path: Path) -> None:
    url = url.format(tmp_path)
    open_storage(url)
    assert (tmp_path / file).exists()
    config = StudyConfig(study=StudySection(name="x", storage=url))
    assert default_path(config).parent == (tmp_path / file).parent
    folder = artifact_folder(url)
    assert folder is not None
    assert folder.parent == (tmp_path / file).parent


def test_every_url_is_shown_as_one_that_opens_the_same(tmp_path: Path) -> None:
    make(tmp_path / "x y.db")
    assert open_storage(shown(f"sqlite:///{tmp_path}/x%20y.db"), create=False)


# 22: another program makes the tables at the same moment


@pytest.mark.parametrize("column", ["alembic_version.version_num", "version_info.version_info_id"])
def test_another_programs_tables_at_the_same_moment_are_a_race(column: str) -> None:
    import sqlite3

    from sqlalchemy.exc import IntegrityError

    tried: list[int] = []

    def open_it() -> str:
        tried.append(1)
        if len(tried) == 1:
            cause = sqlite3.IntegrityError(f"UNIQUE constraint failed: {column}")
            raise IntegrityError("INSERT", {}, cause)
        return "opened"

    assert faults.retried(open_it)() == "opened"

"""Issue 13, studies in their storage: items 13, 14, 18, 19, 27, 30, 32, 33 and 34."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import optuna
import pytest
import torch

from schedopt.cli import call
from schedopt.config import StudyConfig, StudySection, load_config
from schedopt.errors import StudyError
from schedopt.search.artifacts import artifact_folder
from schedopt.search.export import default_path
from schedopt.storage import faults
from schedopt.storage.opening import open_storage
from schedopt.storage.urls import shown
from schedopt.workers.loop import work
from schedopt.workers.run import run
from tests.reported.searches import make, parabola
from tests.servers import PASSWORD, Postgres
from tests.studies import write_study

Capture = pytest.CaptureFixture[str]

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

"""Issue 13, items 13, 28 and 29: databases that somebody edited, and files that are none, in every reading command."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import optuna
import pytest

from schedopt.cli import call
from schedopt.errors import StudyError
from schedopt.storage.opening import open_storage

Capture = pytest.CaptureFixture[str]

VALUES: dict[str, Any] = {
    "list": [],
    "table": {"a": 1},
    "text": "x",
    "number": 1.5,
    "nothing": None,
    "nested": {"search": 5},
}


@pytest.fixture
def database(tmp_path: Path) -> str:
    """Studies that call themselves ours, each with one kind of value for all that schedopt keeps."""
    url = f"sqlite:///{tmp_path}/s.db"
    open_storage(url)
    for name, value in VALUES.items():
        study = optuna.create_study(storage=url, study_name=name)
        for key in ("schedopt", "config", "baseline", "line", "references", "zeros"):
            study.set_user_attr(key, value)
        attrs = {"gain": value, "betas": value, "passes_run": value, "seconds": value, "role": value}
        study.add_trial(optuna.trial.create_trial(value=1.0, user_attrs=attrs))
    optuna.create_study(storage=url, study_name="two", directions=["minimize", "maximize"])
    return url


def test_item_13_every_study_is_listed(database: str, capsys: Capture) -> None:
    assert call(["status", "--storage", database, "--json"]) == 0
    printed = capsys.readouterr()
    found = {one["study"]: one for one in json.loads(printed.out)["studies"]}
    assert set(found) == {*VALUES, "two"}
    assert {found[name]["trials"]["complete"] for name in VALUES} == {1}
    assert "Traceback" not in printed.err
    assert call(["status", "--storage", database, "-v"]) == 0
    shown = capsys.readouterr().out
    assert not [name for name in found if name not in shown]


@pytest.mark.parametrize("command", ["status", "export", "report", "run"])
@pytest.mark.parametrize("name", [*VALUES, "two"])
def test_item_28_no_command_meets_an_error_that_nobody_foresaw(
    command: str, name: str, database: str, tmp_path: Path, capsys: Capture
) -> None:
    path = tmp_path / "s.toml"
    path.write_text(f'[study]\nname = "{name}"\nstorage = "{database}"\n[data]\ntracks = 1\nexcerpt = 0.5\n')
    options = {"report": ["-o", str(tmp_path / "r.html"), "--audio", "0"], "run": ["--trials", "1", "-q"]}
    assert call([command, str(path), *options.get(command, [])]) in (0, 1)
    printed = capsys.readouterr()
    assert "unforeseen" not in printed.err
    assert "Traceback" not in printed.err


@pytest.mark.parametrize("command", ["run", "status", "dashboard", "report", "separate"])
def test_item_28_a_name_with_a_nul_is_wrong_usage(command: str, capsys: Capture) -> None:
    assert call([command, "a\0b.toml"]) == 2
    assert "it holds a NUL character" in capsys.readouterr().err


def test_item_28_an_encrypted_scheduler_is_one_line(tmp_path: Path, capsys: Capture) -> None:
    path = tmp_path / "s.toml"
    path.write_text(f'[study]\nname = "s"\nstorage = "sqlite:///{tmp_path}/s.db"\n')
    assert call(["run", str(path), "--dask", "tls://127.0.0.1:1"]) == 1
    (line,) = (line for line in capsys.readouterr().err.splitlines() if line.startswith("schedopt: "))
    assert line.startswith("schedopt: --dask tls://127.0.0.1:1: no Dask scheduler answers there: ")


@pytest.mark.parametrize("kind", ["pipe", "device"])
@pytest.mark.parametrize("read_only", [False, True])
def test_item_29_a_database_that_is_no_file(kind: str, read_only: bool, tmp_path: Path) -> None:
    path = Path("/dev/zero") if kind == "device" else tmp_path / "pipe"
    if kind == "pipe":
        os.mkfifo(path)
    with pytest.raises(StudyError, match="this is not a regular file"):
        open_storage(f"sqlite:///{path}", read_only=read_only)

"""Storages that cannot be used: one line each, without the password; and what SQLite is set to."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import optuna
import pytest
import sqlalchemy
from sqlalchemy.exc import OperationalError

from schedopt.errors import StudyError
from schedopt.storage.faults import is_passing, one_line, retried
from schedopt.storage.opening import open_storage
from schedopt.storage.urls import shown


def test_sqlite_has_a_write_ahead_log_and_waits(tmp_path: Path) -> None:
    storage = open_storage(f"sqlite:///{tmp_path}/deep/s.db")
    with storage.engine.connect() as connection:
        assert connection.execute(sqlalchemy.text("PRAGMA journal_mode")).scalar() == "wal"
        assert connection.execute(sqlalchemy.text("PRAGMA busy_timeout")).scalar() == 60_000


def test_opening_again_keeps_the_locks_of_this_process(tmp_path: Path) -> None:
    """Else the next process that looks and leaves takes the write-ahead log with it, and trials are lost."""
    url = f"sqlite:///{tmp_path}/s.db"
    study = optuna.create_study(storage=open_storage(url), study_name="s")
    study.enqueue_trial({})
    open_storage(url)
    look = (
        f"import sqlite3; c = sqlite3.connect({str(tmp_path / 's.db')!r}); c.execute('select * from trials'); c.close()"
    )
    subprocess.run([sys.executable, "-c", look], check=True)
    study.optimize(lambda _: 1.0, n_trials=1)
    assert (tmp_path / "s.db-wal").exists()
    assert [trial.value for trial in optuna.load_study(study_name="s", storage=open_storage(url)).trials] == [1.0]


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("studies.db", "not a database URL"),
        ("sqlite://", "name a file"),
        ("postgresql+psycopg://me:s3c@ret:pw2@127.0.0.1:x/db", "not a database URL"),
        ("sqlite:///{tmp}/" + 300 * "n" + ".db", "cannot be"),
        ("nodb://host/x", "driver is missing"),
        ("sqlite:///{tmp}", "cannot be written"),
        ("sqlite:///{tmp}/text.db", "not a SQLite database"),
        ("sqlite:////proc/nothing/s.db", "cannot be written"),
        ("sqlite:///{tmp}/s.db?timeout=x", "takes no options"),
        ("postgresql+psycopg://me@127.0.0.1:1/db?nonsense=1", "cannot be opened"),
    ],
)
def test_what_cannot_be_opened(url: str, says: str, tmp_path: Path) -> None:
    (tmp_path / "text.db").write_text("this is not a database at all")
    with pytest.raises(StudyError, match=says) as caught:
        open_storage(url.format(tmp=tmp_path))
    assert "\n" not in str(caught.value)


def test_a_missing_database_is_not_made_to_look_at(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="no such database"):
        open_storage(f"sqlite:///{tmp_path}/none.db", create=False)
    assert not list(tmp_path.iterdir())


def test_a_truncated_database_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    study = optuna.create_study(storage=open_storage(f"sqlite:///{path}"))
    study.add_trial(optuna.trial.create_trial(value=1.0))
    for beside in tmp_path.glob("s.db-*"):
        beside.unlink()
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(StudyError, match=r"s\.db") as caught:
        open_storage(f"sqlite:///{path}")
    assert "\n" not in str(caught.value)


def test_passwords_are_not_shown() -> None:
    assert "secret" not in shown("postgresql+psycopg://me:secret@host/db")
    with pytest.raises(StudyError) as caught:
        open_storage("postgresql+nodriver://me:secret@127.0.0.1/db")
    assert "secret" not in str(caught.value)


def fault(text: str) -> OperationalError:
    return OperationalError("SELECT 1", {}, Exception(text))


def test_locks_are_waited_for_and_full_disks_are_not() -> None:
    calls = []

    def locked_twice() -> str:
        calls.append(1)
        if len(calls) < 3:
            raise fault("database is locked")
        return "done"

    assert retried(locked_twice)() == "done"

    def full() -> None:
        calls.append(1)
        raise fault("database or disk is full")

    calls.clear()
    with pytest.raises(OperationalError):
        retried(full)()
    assert len(calls) == 1
    assert is_passing(fault("server closed the connection unexpectedly"))
    assert not is_passing(fault("attempt to write a readonly database"))
    assert one_line(fault("first\nsecond")) == "first"

"""What nights do to a SQLite study: a full disk, a database gone read-only, a broken file; Ctrl-C and SIGTERM."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import optuna
import psutil
import pytest
import sqlalchemy
from optuna.trial import TrialState

from schedopt.cli import call
from schedopt.errors import StudyError
from schedopt.storage import faults, mounts, opening
from schedopt.storage.opening import open_storage
from schedopt.workers.loop import work
from tests.servers import small_disk, wait_for
from tests.studies import write_study

Capture = pytest.CaptureFixture[str]
FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(faults, "PATIENCE_SECONDS", 0.05)


def make(path: Path) -> optuna.Study:
    return optuna.create_study(
        storage=open_storage(f"sqlite:///{path}"),
        study_name="s",
        direction="maximize",
        sampler=optuna.samplers.RandomSampler(seed=0),
        load_if_exists=True,
    )


def finished(study: optuna.Study) -> list[float | None]:
    return [trial.value for trial in study.get_trials(states=FINISHED)]


def bulky(trial: optuna.Trial) -> float:
    """A cheap trial that writes about 8 KiB."""
    for part in range(4):
        trial.set_user_attr(f"ballast {part}", "x" * 2000)
    return trial.suggest_float("x", 0, 1)


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with room for some trials, and a file `ballast` in it to remove (the log alone grows to 4 MiB).

    Where mounting is not allowed SQLite itself is told that there is no more room, until `ballast` is gone.
    """
    folder = tmp_path / "disk"
    try:
        with small_disk(folder, "7m"):
            (folder / "ballast").write_bytes(bytes(5_500_000))
            yield folder
    except PermissionError:
        (folder / "ballast").touch()
        inner = opening._connect

        def limited(*arguments: Any) -> optuna.storages.RDBStorage:
            opened = inner(*arguments)

            def limit(connection: sqlite3.Connection, *_: object) -> None:
                pages = 120 if (folder / "ballast").exists() else 1_000_000
                connection.execute(f"PRAGMA max_page_count = {pages}")

            sqlalchemy.event.listen(opened.engine, "connect", limit)
            opened.engine.dispose()
            return opened

        monkeypatch.setattr(opening, "_connect", limited)
        yield folder


def test_a_full_disk_stops_with_one_line_and_keeps_what_is_finished(disk: Path) -> None:
    path = disk / "s.db"
    study = make(path)
    before: list[float] = []

    def noted(trial: optuna.Trial) -> float:
        before[:] = [t.value for t in study.get_trials(states=(TrialState.COMPLETE,)) if t.value is not None]
        return bulky(trial)

    with pytest.raises(StudyError, match=r"s\.db.*the storage failed.*Finished trials are kept") as caught:
        work(study, noted, 60)
    assert "\n" not in str(caught.value)
    assert 0 < len(before) < 60
    assert _count(path) >= len(before)
    (disk / "ballast").unlink()
    resumed = make(path)
    assert finished(resumed)[: len(before)] == before
    work(resumed, bulky, len(before) + 5)
    assert len(finished(resumed)) == len(before) + 5
    assert not resumed.get_trials(states=(TrialState.RUNNING,))


def test_the_command_on_a_full_disk(disk: Path, tmp_path: Path, capsys: Capture) -> None:
    """Exit 1 and one line; when there is room again the same command completes."""
    path = write_study(
        tmp_path, tracks=1, refinement={"steps": 1}, study={"storage": f"sqlite:///{disk}/s.db", "trials": 60}
    )
    more = disk / "more"
    more.touch()
    assert call(["run", str(path), "--trials", "2"]) == 0
    if (disk / "ballast").stat().st_size:
        more.write_bytes(bytes(shutil.disk_usage(disk).free - 200_000))
    capsys.readouterr()
    assert call(["run", str(path), "--trials", "60"]) == 1
    error = capsys.readouterr().err.splitlines()
    assert error[-1].startswith("schedopt: sqlite:///")
    assert "Traceback" not in "".join(error)
    for file in (disk / "ballast", more):
        file.unlink()
    assert call(["run", str(path), "--trials", "5"]) == 0
    assert "complete" in capsys.readouterr().out


def make_read_only(study: optuna.Study) -> None:
    """What a write meets after the system has remounted a failing disk read-only; root is not kept out by modes."""
    engine = study._storage._backend.engine  # type: ignore[attr-defined]
    sqlalchemy.event.listen(engine, "connect", lambda c, _: c.execute("PRAGMA query_only = ON"))
    engine.dispose()


def test_a_database_gone_read_only_is_one_line(tmp_path: Path) -> None:
    study = make(tmp_path / "s.db")

    def objective(trial: optuna.Trial) -> float:
        if trial.number == 3:
            make_read_only(study)
        return bulky(trial)

    with pytest.raises(StudyError, match=r"s\.db.*readonly database.*Finished trials are kept"):
        work(study, objective, 10)
    study = make(tmp_path / "s.db")
    assert len(finished(study)) == 3
    work(study, bulky, 10)
    assert len(finished(study)) == 10


def test_a_lock_file_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    study = make(tmp_path / "s.db")
    (tmp_path / "s.db.lock").unlink()
    (tmp_path / "s.db.lock").mkdir()
    with pytest.raises(StudyError, match=r"s\.db\.lock: the lock file cannot be written"):
        work(study, bulky, 1)


def test_a_database_broken_in_mid_study_is_one_line(tmp_path: Path) -> None:
    study = make(tmp_path / "s.db")

    def objective(trial: optuna.Trial) -> float:
        if trial.number == 2:
            engine = study._storage._backend.engine  # type: ignore[attr-defined]
            engine.dispose()
            for beside in tmp_path.glob("s.db-*"):
                beside.unlink()
            os.truncate(tmp_path / "s.db", 9_000)
        return bulky(trial)

    with pytest.raises(StudyError, match=r"s\.db") as caught:
        work(study, objective, 5)
    assert "\n" not in str(caught.value)


MOUNTS = (
    ("/", "ext4"),
    ("/home", "nfs4"),
    ("/home/local", "xfs"),
    ("/mnt/two words", "cifs"),
    ("/scratch", "tmpfs"),
    ("/scratch", "lustre"),
)


def mounted(*mounts: tuple[str, str]) -> Callable[..., list[SimpleNamespace]]:
    """psutil's answer on a machine with these mounts."""
    return lambda **_: [SimpleNamespace(mountpoint=place, fstype=kind) for place, kind in mounts]


@pytest.mark.parametrize(
    ("folder", "kind"),
    [
        ("/", None),
        ("/home/me/studies", "nfs4"),
        ("/home/local/me", None),
        ("/homely", None),
        ("/mnt/two words/x", "cifs"),
        ("/scratch/x", "lustre"),
    ],
)
def test_network_file_systems_are_recognised(folder: str, kind: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(psutil, "disk_partitions", mounted(*MOUNTS))
    assert mounts.network_file_system(Path(folder)) == kind


def test_on_a_network_file_system_there_is_a_warning_and_no_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr(opening.log, "warning", lambda text, *values: said.append(text % values))
    monkeypatch.setattr(psutil, "disk_partitions", mounted((str(tmp_path), "nfs4")))
    opened = open_storage(f"sqlite:///{tmp_path}/s.db")
    open_storage(f"sqlite:///{tmp_path}/s.db", create=False)
    assert ["network file system (nfs4)" in line for line in said] == [True]
    with opened.engine.connect() as connection:
        assert connection.execute(sqlalchemy.text("PRAGMA journal_mode")).scalar() == "delete"


def slow_study(folder: Path) -> Path:
    """A study whose trials take a while: long excerpts, no pruning."""
    return write_study(
        folder, tracks=2, refinement={"steps": 3}, search={"pruner": "none"}, study={"trials": 500, "name": "small"}
    )


@pytest.mark.parametrize(
    ("end", "workers"), [(signal.SIGINT, 1), (signal.SIGTERM, 1), (signal.SIGINT, 2)], ids=["ctrl-c", "term", "two"]
)
def test_an_interrupt_is_clean_and_resumable(end: signal.Signals, workers: int, tmp_path: Path) -> None:
    path = slow_study(tmp_path)
    process = subprocess.Popen(
        [sys.executable, "-m", "schedopt", "run", str(path), "--workers", str(workers)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    url = f"sqlite:///{tmp_path}/studies.db"
    wait_for(lambda: process.poll() is not None or _count(tmp_path / "studies.db") >= 3, 120)
    # A terminal sends Ctrl-C to the whole group; a batch system its signal to the command alone.
    if end == signal.SIGINT:
        os.killpg(process.pid, end)
    else:
        process.send_signal(end)
    # Five seconds are promised; a machine that is busy with other things may take longer.
    _, error = process.communicate(timeout=20)
    assert process.returncode == 130, error
    assert error.splitlines()[-1] == "schedopt: interrupted; the same command carries on"
    assert "Traceback" not in error
    # The tracker of shared memory, which joblib starts, ends a moment after its parent.
    wait_for(lambda: not _group_members(process.pid), 10)
    study = optuna.load_study(study_name="small", storage=url)
    assert not study.get_trials(states=(TrialState.RUNNING,))
    done = len(study.get_trials(states=FINISHED))
    assert done >= 3
    assert call(["run", str(path), "--trials", str(done + 2)]) == 0
    assert len(study.get_trials(states=FINISHED)) == done + 2


def test_workers_end_when_the_command_is_killed(tmp_path: Path) -> None:
    """kill −9 of the parent: nobody could stop them any more; what they were at is queued again."""
    path = slow_study(tmp_path)
    process = subprocess.Popen(
        [sys.executable, "-m", "schedopt", "run", str(path), "--workers", "2"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    wait_for(lambda: process.poll() is not None or _count(tmp_path / "studies.db") >= 3, 120)
    process.kill()
    process.wait()
    wait_for(lambda: not _group_members(process.pid), 60)
    study = optuna.load_study(study_name="small", storage=f"sqlite:///{tmp_path}/studies.db")
    assert not study.get_trials(states=(TrialState.RUNNING,))


def _count(database: Path) -> int:
    """Finished trials, read as any SQLite program would."""
    try:
        with sqlite3.connect(f"file:{database}?mode=ro", uri=True) as connection:
            query = "SELECT COUNT(*) FROM trials WHERE state IN ('COMPLETE', 'PRUNED')"
            count: int = connection.execute(query).fetchone()[0]
            return count
    except sqlite3.Error:
        return 0


def _group_members(group: int) -> list[int]:
    """Living processes of a process group."""
    members = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, found = stat.read_text().rpartition(")")[2].split()[:3]
        except OSError:
            continue
        if int(found) == group and state != "Z":
            members.append(int(stat.parent.name))
    return members

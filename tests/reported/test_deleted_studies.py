"""A study that somebody deletes (on the dashboard, say) while a command, a worker or a page uses it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.storages._rdb import models

from schedopt.cli import call
from schedopt.config import load_config
from schedopt.errors import DeletedError, StudyError
from schedopt.proof.families import _entries
from schedopt.search.export import schedule_file_of
from schedopt.search.objective import Objective
from schedopt.search.study import config_of
from schedopt.search.summary import summarize
from schedopt.storage.opening import open_storage
from schedopt.view.dashboard.listen import listen_page
from schedopt.view.dashboard.refresh import Refresher
from schedopt.view.dashboard.server import _writable
from schedopt.view.report.sources import Audio, study_page
from schedopt.workers.loop import work
from schedopt.workers.run import run
from tests.studies import write_study

Capture = pytest.CaptureFixture[str]

DELETED = "deleted"


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study file whose study has two trials."""
    folder = tmp_path_factory.mktemp("deleted")
    path = write_study(folder, tracks=1, refinement={"steps": 1}, study={"trials": 2}, store={"audio": 0})
    run(load_config(path))
    return path


def deleted_after(calls: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the study vanish behind the first `calls` reads of it: whoever reads on meets Optuna's own error."""
    left = [calls]
    ours = threading.current_thread()

    def vanishing(find: Callable[..., Any]) -> Callable[..., Any]:
        def found(*args: Any, **kwargs: Any) -> Any:
            if threading.current_thread() is ours:
                left[0] -= 1
                if left[0] < 0:
                    raise KeyError(models.NOT_FOUND_MSG)
            return find(*args, **kwargs)

        return found

    for name in ("find_or_raise_by_id", "find_or_raise_by_name"):
        monkeypatch.setattr(models.StudyModel, name, vanishing(getattr(models.StudyModel, name)))


def read_summary(url: str, name: str) -> None:
    summarize(optuna.load_study(study_name=name, storage=open_storage(url)), url)


def read_config(url: str, name: str) -> None:
    config_of(optuna.load_study(study_name=name, storage=open_storage(url)), url)


def read_schedule(url: str, name: str) -> None:
    schedule_file_of(open_storage(url), url, name)


READERS = {"summary": read_summary, "config": read_config, "schedule": read_schedule}


@pytest.mark.parametrize("reader", READERS)
def test_whoever_reads_it_says_that_it_was_deleted(
    reader: str, path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = load_config(path)
    url, name = config.study.storage, config.study.name
    reads = 0
    while (error := error_after(reads, reader, url, name, monkeypatch)) is not None:
        # Never "its attributes are not as schedopt wrote them", and never Optuna's own.
        assert isinstance(error, StudyError)
        assert DELETED in str(error) or "there is no study" in str(error)
        reads += 1
    assert reads > 2
    assert not caplog.records


def error_after(
    calls: int, reader: str, url: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> StudyError | KeyError | None:
    with monkeypatch.context() as patched:
        deleted_after(calls, patched)
        try:
            READERS[reader](url, name)
        except (StudyError, KeyError) as error:
            return error
    return None


def test_a_report_says_that_it_was_deleted(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = load_config(path)
    storage = open_storage(config.study.storage)
    for calls in (3, 6, 9):
        with monkeypatch.context() as patched:
            deleted_after(calls, patched)
            with pytest.raises(DeletedError, match=DELETED):
                study_page(config, storage, Audio(False))


def test_the_page_of_its_audio_is_not_found(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = open_storage(load_config(path).study.storage)
    for calls in range(4):
        with monkeypatch.context() as patched:
            deleted_after(calls, patched)
            answer = listen_page(storage, 1)
            assert not isinstance(answer, str)
            assert answer.status_code == 404


def test_the_dashboards_thread_says_nothing(
    path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = load_config(path).study.storage
    storage = open_storage(url)
    for calls in range(12):
        with monkeypatch.context() as patched:
            deleted_after(calls, patched)
            Refresher(url).turn(storage)
    assert not caplog.records


def test_status_leaves_it_out(path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    url = load_config(path).study.storage
    for calls in range(3):
        with monkeypatch.context() as patched:
            deleted_after(calls, patched)
            assert call(["status", "--storage", url]) == 0
            said = capsys.readouterr()
            assert "small" not in said.out
            assert not said.err


def objective(trial: optuna.Trial) -> float:
    return trial.suggest_float("x", 0, 1)


@pytest.mark.parametrize("moment", ["in a trial", "after it"])
def test_a_worker_ends_with_one_line(moment: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    url = f"sqlite:///{tmp_path}/s.db"
    study = optuna.create_study(storage=open_storage(url), study_name="s", direction="maximize")
    other = open_storage(url)

    def delete() -> None:
        optuna.delete_study(study_name="s", storage=other)

    def deleting(trial: optuna.Trial) -> float:
        if moment == "in a trial" and trial.number == 1:
            delete()
        return objective(trial)

    def after() -> None:
        if moment == "after it" and len(study.trials) == 2:
            delete()

    with pytest.raises(StudyError, match="study s: it was deleted while it ran"):
        work(study, deleting, 5, on_trial=after)
    assert not caplog.records


def test_a_run_ends_with_one_line(tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_study(tmp_path, tracks=1, refinement={"steps": 1}, study={"trials": 5}, store={"audio": 0})
    url = load_config(path).study.storage
    scored: list[int] = []
    score = Objective.__call__

    def deleting(self: Objective, trial: optuna.Trial) -> Any:
        value = score(self, trial)
        scored.append(trial.number)
        if trial.number == 3:
            optuna.delete_study(study_name="small", storage=open_storage(url))
        return value

    monkeypatch.setattr(Objective, "__call__", deleting)
    assert call(["run", str(path), "-q"]) == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "study small: it was deleted while it ran; the same command starts it anew" in said
    assert scored == [0, 1, 2, 3]


def test_a_dashboard_and_a_benchmark_look_at_those_that_are_left(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = load_config(path)
    url, storage, target = config.study.storage, open_storage(config.study.storage), config.refinement.targets[0]
    for calls in range(4):
        with monkeypatch.context() as patched:
            deleted_after(calls, patched)
            _writable(storage, url)
            assert _entries(url, target, "sdr", None) == []
    assert len(_entries(url, target, "sdr", None)) == 1

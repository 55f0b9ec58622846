"""Issue 13, the kinds of items 9, 12, 28, 29 and 34: results that would replace what a command reads or another study's
result, and settings that name nothing."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from schedopt.cli import call
from schedopt.storage.opening import open_storage
from tests.studies import write_study

Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study file whose two trials are in `studies.db` beside it, with its schedule and a benchmark of it."""
    folder = tmp_path_factory.mktemp("finished")
    path = write_study(folder, tracks=2, study={"trials": 2}, refinement={"steps": 1})
    assert call(["run", str(path), "-q"]) == 0
    return path


@pytest.fixture
def study(finished: Path, tmp_path: Path) -> Path:
    """The same in a folder of its own."""
    copy = tmp_path / "copy" / finished.name
    shutil.copytree(finished.parent, copy.parent)
    text = copy.read_text(encoding="utf-8")
    copy.write_text(text.replace(str(finished.parent), str(copy.parent)), encoding="utf-8")
    return copy


def refused(command: list[str], output: Path, capsys: Capture) -> str:
    """What the command says that must not replace `output`, which stays as it is."""
    before = output.read_bytes()
    capsys.readouterr()
    assert call([*command, "-o", str(output)]) == 1
    assert output.read_bytes() == before
    said = capsys.readouterr().err
    assert str(output) in said.splitlines()[-1]
    return said.splitlines()[-1]


@pytest.mark.parametrize("command", [["export"], ["report", "--audio", "0"], ["sweep", "--gains", "1"]], ids=str)
def test_no_result_replaces_the_database_or_the_study_file(command: list[str], study: Path, capsys: Capture) -> None:
    name, *options = command
    assert "database" in refused([name, str(study), *options], study.parent / "studies.db", capsys)
    assert "reads it" in refused([name, str(study), *options], study, capsys)


def test_a_benchmark_does_not_replace_its_schedule(study: Path, capsys: Capture) -> None:
    schedule = study.parent / "small.schedule.json"
    command = ["benchmark", str(schedule), "--tracks", "1", "--excerpt", "0.5", "--against", "none"]
    assert "reads it" in refused(command, schedule, capsys)


def test_a_link_is_the_file_that_it_leads_to(study: Path, capsys: Capture) -> None:
    link = study.parent / "link.json"
    link.symlink_to(study)
    refused(["export", str(study)], link, capsys)


def test_a_song_is_not_replaced_by_its_stem(study: Path, tmp_path: Path, capsys: Capture) -> None:
    song = tmp_path / "out" / "demo" / "mix" / "vocals.wav"
    song.parent.mkdir(parents=True)
    shutil.copy(next(study.parent.rglob("vocals.wav")), song)
    before = song.read_bytes()
    names = ["--filename", "mix/{stem}.{ext}", "--overwrite"]
    assert call(["separate", str(song), "-n", "demo", "-o", str(tmp_path / "out"), *names]) == 1
    assert song.read_bytes() == before
    assert "would replace the song" in capsys.readouterr().err
    assert [path.name for path in song.parent.iterdir()] == ["vocals.wav"]


def test_another_studys_schedule_is_not_replaced_unasked(study: Path, capsys: Capture) -> None:
    """Two study files with the same name in a folder, each with a database of its own."""
    schedule = study.parent / "small.schedule.json"
    other = study.with_name("other.toml")
    other.write_text(study.read_text(encoding="utf-8").replace("studies.db", "other.db"), encoding="utf-8")
    assert "studies.db" not in other.read_text(encoding="utf-8")
    assert call(["run", str(study), "-q"]) == 0  # a copy goes on, and its schedule is its own from now on
    before = schedule.read_bytes()
    assert call(["run", str(other), "-q"]) == 1
    assert schedule.read_bytes() == before
    assert not (study.parent / "other.db").exists()
    assert "study.name" in capsys.readouterr().err
    (study.parent / "studies.db").unlink()
    assert call(["run", str(other), "-q"]) == 0


def test_gains_of_a_stem_that_the_music_lacks(study: Path, capsys: Capture) -> None:
    assert call(["run", str(study), "--set", "study.name=g", "--set", "data.gains={vocal=5.0}"]) == 1
    said = capsys.readouterr().err
    assert "data.gains.vocal" in said
    assert "did you mean vocals" in said


@pytest.mark.parametrize("option", ["--host", "--storage", "--study", "--artifacts"])
def test_an_unset_variable_is_no_address(option: str, study: Path, capsys: Capture) -> None:
    assert call(["dashboard", str(study), option, ""]) == 2
    assert "it is empty" in capsys.readouterr().err


def test_a_database_that_is_not_complete(study: Path, capsys: Capture) -> None:
    """What a kill between the making of its tables and their version leaves."""
    path = study.parent / "studies.db"
    with sqlite3.connect(path) as connection:
        connection.execute("DELETE FROM version_info")
        connection.execute("DELETE FROM alembic_version")
    connection.close()
    for command in ("status", "export", "report"):
        assert call([command, str(study)]) == 1
        assert "schedopt run completes it" in capsys.readouterr().err
    (study.parent / "small.schedule.json").unlink()
    assert call(["run", str(study), "-q"]) == 0
    assert call(["status", str(study)]) == 0


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        (['search.sampler="grid"', "search.sampler_options={search_space={start=[0.1]}}"], "search_space"),
        (['search.sampler="GridSampler"', "search.sampler_options={search_space={}}"], "search_space"),
        (['store.folder="\\u0000"'], "store.folder"),
        (['store.artifacts="\\u0000"'], "store.artifacts"),
    ],
    ids=str,
)
def test_a_setting_that_cannot_be_is_named(settings: list[str], named: str, study: Path, capsys: Capture) -> None:
    given = [word for one in ["study.name=h", *settings] for word in ("--set", one)]
    assert call(["run", str(study), "-q", *given]) == 1
    said = capsys.readouterr().err
    assert named in said
    assert "unforeseen" not in said


def test_a_sampler_that_cannot_propose_says_why(study: Path, capsys: Capture) -> None:
    options = ['search.sampler="tpe"', 'search.sampler_options={n_startup_trials="x"}', "study.name=t"]
    given = [word for one in options for word in ("--set", one)]
    assert call(["run", str(study), "-q", "--trials", "5", *given]) == 1
    assert "TypeError" in capsys.readouterr().err
    stored = optuna.load_study(study_name="t", storage=open_storage(f"sqlite:///{study.parent}/studies.db"))
    failed = stored.get_trials(states=(TrialState.FAIL,))
    assert failed
    assert all("TypeError" in trial.user_attrs["failure"] for trial in failed)

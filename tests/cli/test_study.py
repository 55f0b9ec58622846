"""`run`, `status`, `export` and `reproduce` as a user runs them, on a small real model and real files."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import optuna
import pytest
import soundfile
import stempeg

from schedopt.cli import call
from schedopt.types import STEMS
from tests.models import RATE
from tests.studies import write_study

Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study file whose study has run to its end."""
    path = write_study(tmp_path_factory.mktemp("study"))
    assert call(["run", str(path)]) == 0
    return path


def test_the_schedule_file_is_named_from_the_current_folder(
    finished: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(finished.parent)
    assert call(["run", str(finished)]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "schedule file: small.schedule.json"
    (finished.parent / "elsewhere").mkdir()
    monkeypatch.chdir(finished.parent / "elsewhere")
    assert call(["run", str(finished)]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == f"schedule file: {finished.parent / 'small.schedule.json'}"


def test_run_again_says_complete_and_runs_no_trial(finished: Path, capsys: Capture) -> None:
    began = time.perf_counter()
    assert call(["run", str(finished), "--json"]) == 0
    assert time.perf_counter() - began < 60
    document = json.loads(capsys.readouterr().out)
    assert document["trials"] == {"complete": 6 - document["trials"]["pruned"], **document["trials"]}
    assert call(["run", str(finished)]) == 0
    assert "study small is complete: 6 of 6 trials finished" in capsys.readouterr().out
    study = optuna.load_study(study_name="small", storage=f"sqlite:///{finished.parent}/studies.db")
    assert len(study.trials) == 6


def test_the_json_document_keeps_its_contract(finished: Path, capsys: Capture) -> None:
    assert call(["run", str(finished), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert {"study", "storage", "trials", "best", "highest", "baseline", "passes", "seconds"} <= set(document)
    assert {"complete", "pruned", "failed"} <= set(document["trials"])
    assert set(document["best"]) == set(document["highest"]) == {"number", "value", "gain", "betas", "params"}
    assert document["highest"]["value"] >= document["best"]["value"]
    assert document["best"]["gain"] == pytest.approx(document["best"]["value"] - document["baseline"]["value"])
    assert set(document["passes"]) == {"run", "saved"}


def test_a_study_is_plain_optuna(finished: Path) -> None:
    """Promise 6: readable parameters, documented attributes, baseline and line first; Optuna's own CLI lists it."""
    url = f"sqlite:///{finished.parent}/studies.db"
    study = optuna.load_study(study_name="small", storage=url)
    assert {"config", "versions", "separator", "data", "baseline", "line", "excerpts"} <= set(study.user_attrs)
    assert [t.user_attrs["role"] for t in study.trials[:2]] == ["baseline", "line"]
    assert study.trials[0].user_attrs["gain"] == pytest.approx(0, abs=1e-9)
    assert study.user_attrs["line"]["betas"] == [1 / 3, 2 / 3, 1]
    nearest = study.trials[1].user_attrs["betas"]
    assert nearest == pytest.approx(study.user_attrs["line"]["betas"][: len(nearest)], abs=0.05)
    for trial in study.trials:
        assert set(trial.params) == {"start", "end"}
        assert {"betas", "passes_run", "passes_saved", "seconds", "owner"} <= set(trial.user_attrs)
        if trial.state == optuna.trial.TrialState.COMPLETE:
            assert np.mean(trial.user_attrs["gain_by_track"]) == pytest.approx(trial.user_attrs["gain"], abs=1e-4)
            assert len(trial.user_attrs["gain_by_track"]) == len(study.user_attrs["tracks"]) == 3
            assert len(trial.user_attrs["spread"][0]) == len(trial.user_attrs["by_step"]) == 4
    # The references are paid for before the trials that hold them.
    assert study.user_attrs["references"]["passes_run"] > 0
    assert study.trials[0].user_attrs["passes_run"] == 0
    optuna_cli = [sys.executable, "-c", "from optuna.cli import main; main()"]
    listed = subprocess.run([*optuna_cli, "studies", "--storage", url], capture_output=True, text=True, check=True)
    assert "| small |" in listed.stdout


def test_the_schedule_file(finished: Path, capsys: Capture) -> None:
    written = json.loads((finished.parent / "small.schedule.json").read_text())
    assert call(["export", str(finished)]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert {**printed, "created": ""} == {**written, "created": ""}
    schedule = printed["schedules"]["vocals"]
    assert schedule["steps"] == len(schedule["betas"]) <= 3
    assert call(["export", str(finished), "--format", "csv"]) == 0
    assert capsys.readouterr().out.splitlines()[0] == "target,step,beta"
    output = finished.parent / "out" / "table.csv"
    for style in ([], ["--format", "csv"]):
        assert call(["export", str(finished), *style, "-o", str(output)]) == 0
        assert output.read_text().startswith("target,step,beta\nvocals,1,")
    assert call(["export", str(finished), "--format", "json", "-o", str(output)]) == 1
    assert "is a file of another kind" in capsys.readouterr().err
    output.unlink()
    assert call(["export", str(finished), "--format", "json", "-o", str(output)]) == 0
    assert json.loads(output.read_text())["schedules"]


def test_export_by_name_needs_no_study_file(finished: Path, tmp_path: Path, capsys: Capture) -> None:
    url = f"sqlite:///{finished.parent}/studies.db"
    assert call(["export", str(finished), "--storage", url]) == 0
    by_file = json.loads(capsys.readouterr().out)
    output = tmp_path / "x.json"
    assert call(["export", "--storage", url, "--study", "small", "-o", str(output)]) == 0
    assert {**json.loads(output.read_text()), "created": ""} == {**by_file, "created": ""}
    capsys.readouterr()
    assert call(["export", "--storage", url, "--study", "nothing"]) == 1
    assert "there is no study 'nothing' (there: small)" in capsys.readouterr().err
    for argv in (["--storage", url], ["--study", "small"], [str(finished), "--storage", url, "--study", "small"]):
        assert call(["export", *argv]) == 2
        assert "give a study file, or --storage URL and --study NAME" in capsys.readouterr().err


@pytest.mark.parametrize(("option", "lines"), [("-q", 0), ("-v", 3), (None, 1)])
def test_how_much_a_run_tells(option: str | None, lines: int, tmp_path: Path, capsys: Capture) -> None:
    path = write_study(tmp_path, tracks=1, study={"trials": 2}, refinement={"steps": 1})
    assert call(["run", str(path), *([option] if option else [])]) == 0
    printed = capsys.readouterr()
    told = [line for line in printed.err.splitlines() if not line.startswith("note: ")]
    assert len(told) == lines, told
    assert "study small is complete" in printed.out
    assert call(["run", str(path), "-q", "-v"]) == 2


def test_status(finished: Path, capsys: Capture) -> None:
    assert call(["status", str(finished)]) == 0
    assert "small" in capsys.readouterr().out
    url = f"sqlite:///{finished.parent}/studies.db"
    assert call(["status", "--storage", url, "--json"]) == 0
    (document,) = json.loads(capsys.readouterr().out)["studies"]
    assert document["study"] == "small"


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("refinement.steps=4", "refinement.steps: was 3, is 4"),
        ("data.excerpt=0.3", "data.excerpt: was 0.4, is 0.3"),
        ("separator.overlap=0.5", "separator.overlap: was 0.25, is 0.5"),
        ("study.seed=9", "study.seed: was 0, is 9"),
    ],
)
def test_a_study_that_differs_is_refused(override: str, says: str, finished: Path, capsys: Capture) -> None:
    assert call(["run", str(finished), "--set", override, "--trials", "7"]) == 1
    error = capsys.readouterr().err
    assert says in error
    assert "Traceback" not in error


def test_other_data_under_the_same_settings_is_refused(tmp_path: Path, capsys: Capture) -> None:
    path = write_study(tmp_path, study={"trials": 1})
    assert call(["run", str(path)]) == 0
    track = tmp_path / "music" / "search" / "track-1"
    (track / "bass.wav").write_bytes((track / "drums.wav").read_bytes())
    assert call(["run", str(path)]) == 1
    assert "the excerpts' samples" in capsys.readouterr().err


def test_several_targets_are_several_studies_and_all_is_one(tmp_path: Path, capsys: Capture) -> None:
    both = write_study(tmp_path, name="both", refinement={"target": ["drums", "bass"], "steps": 1}, study={"trials": 3})
    assert call(["run", str(both), "--json"]) == 0
    names = [s["study"] for s in json.loads(capsys.readouterr().out)["studies"]]
    assert names == ["both-drums", "both-bass"]
    written = json.loads((tmp_path / "both.schedule.json").read_text())
    assert set(written["schedules"]) == {"drums", "bass"}
    shared = write_study(tmp_path, name="shared", refinement={"target": "all", "steps": 1}, study={"trials": 3})
    assert call(["run", str(shared), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["study"] == "shared"


def test_promise_1_same_seed_same_values(tmp_path: Path, capsys: Capture) -> None:
    values = []
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        path = write_study(tmp_path / folder, search={"sampler": "random", "pruner": "none"}, study={"trials": 4})
        assert call(["run", str(path)]) == 0
        study = optuna.load_study(study_name="small", storage=f"sqlite:///{tmp_path / folder}/studies.db")
        values.append([(t.params, t.value) for t in study.trials])
    capsys.readouterr()
    for (params, value), (other_params, other_value) in zip(*values, strict=True):
        assert params == other_params
        assert value == pytest.approx(other_value, abs=1e-6)


def test_reproduce_prints_the_published_table(finished: Path, capsys: Capture) -> None:
    root = finished.parent / "music"
    if not (root / "held-out").exists():
        (root / "held-out").mkdir()
        (root / "search" / "track-2").rename(root / "held-out" / "track-2")
    assert call(["reproduce", str(finished), "--set", "refinement.steps=2", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert [(row["rule"], row["target"]) for row in rows] == [("remix", "vocals"), ("oracle", "vocals")]
    assert rows[0]["published"][0] == 9.956
    assert rows[0]["ours"][0] == pytest.approx(rows[1]["ours"][0])
    assert len(rows[0]["ours"]) == 3
    figures = finished.parent / "figures"
    assert call(["reproduce", str(finished), "--set", "refinement.steps=2", "--figures", str(figures)]) == 0
    shown = capsys.readouterr()
    assert "published" in shown.out
    assert "remix, vocals: not comparable, the published line is n/10, ours n/2" in shown.out
    assert f"figure: {figures / 'published.html'}" in shown.err
    assert {path.name for path in figures.iterdir()} == {
        "published.html",
        "shape.html",
        "stems.html",
        "plotly-basic.min.js",
    }


def test_a_study_on_the_real_musdb18_excerpt(tmp_path: Path, capsys: Capture) -> None:
    """stempeg's MUSDB18 song, through the musdb package."""
    train = tmp_path / "mus" / "train"
    train.mkdir(parents=True)
    shutil.copy(stempeg.example_stem_path(), train / "A song.stem.mp4")
    path = write_study(
        tmp_path, tracks=1, data={"source": "musdb:mus", "excerpt": 1.0}, refinement={"steps": 1}, study={"trials": 2}
    )
    assert call(["run", str(path), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["trials"]["complete"] + document["trials"]["pruned"] == 2


def test_a_study_on_tracks_of_minutes_in_musdb18_hq_layout(tmp_path: Path, capsys: Capture) -> None:
    rng = np.random.default_rng(0)
    for split, name in (("train", "One"), ("train", "Two"), ("test", "Three")):
        folder = tmp_path / "hq" / split / name
        folder.mkdir(parents=True)
        for stem in (*STEMS, "mixture"):
            noise = 0.1 * rng.standard_normal((RATE, 2), dtype=np.float32)
            soundfile.write(folder / f"{stem}.wav", np.tile(noise, (150, 1)), RATE)
    path = write_study(tmp_path, tracks=1, data={"source": "folder:hq"}, refinement={"steps": 1}, study={"trials": 2})
    assert call(["run", str(path), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["trials"]["complete"] + document["trials"]["pruned"] == 2

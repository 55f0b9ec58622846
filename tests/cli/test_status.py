"""`schedopt status`: what each study was made with, and how two studies differ."""

from __future__ import annotations

import json
from pathlib import Path

import optuna
import pytest
import torch

from schedopt.cli import call
from schedopt.search import study as studies
from schedopt.search.provenance import differing, lines, provenance
from tests.studies import write_study

Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the studies `first` and `second`, two trials each, of different steps and tracks."""
    folder = tmp_path_factory.mktemp("two")
    for name, steps, tracks in (("first", 1, 2), ("second", 2, 1)):
        path = write_study(
            folder, tracks=2, name=name, refinement={"steps": steps}, data={"tracks": tracks}, study={"trials": 2}
        )
        assert call(["run", str(path)]) == 0
    return folder


def test_verbose_prints_settings_versions_and_fingerprints(two: Path, capsys: Capture) -> None:
    assert call(["status", str(two / "first.toml")]) == 0
    assert "refinement.steps" not in capsys.readouterr().out
    assert call(["status", str(two / "first.toml"), "--verbose"]) == 0
    shown = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines() if len(line.split()) == 2)
    assert shown["refinement.steps"] == "1"
    assert shown["refinement.choose_steps"] == "true"
    assert shown["separator.model"].endswith("tiny.safetensors")
    assert call(["status", str(two / "first.toml"), "--json"]) == 0
    origin = json.loads(capsys.readouterr().out)["studies"][0]["provenance"]
    assert origin["versions"]["torch"] == torch.__version__
    assert len(origin["separator"]) == len(origin["data"]) == 16
    assert origin["config"]["refinement"]["steps"] == 1
    assert origin["other_versions"] == {}


def test_two_studies_are_compared(two: Path, capsys: Capture) -> None:
    url = f"sqlite:///{two}/studies.db"
    assert call(["status", "--storage", url, "--compare", "first", "second", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert [s["study"] for s in document["studies"]] == ["first", "second"]
    differences = document["differences"]
    assert differences["refinement.steps"] == ["1", "2"]
    assert differences["excerpts"] == ["2", "1"]
    assert set(differences) == {"excerpts fingerprint", "excerpts", "data.tracks", "refinement.steps"}
    assert call(["status", "--storage", url, "--compare", "first", "second"]) == 0
    out = capsys.readouterr().out
    assert "refinement.steps" in out
    assert "search.sampler" not in out
    assert call(["status", "--storage", url, "--compare", "first", "first"]) == 0
    assert "nothing" in capsys.readouterr().out


def test_comparing_with_a_study_that_is_not_there_names_those_that_are(two: Path, capsys: Capture) -> None:
    assert call(["status", "--storage", f"sqlite:///{two}/studies.db", "--compare", "first", "third"]) == 1
    error = capsys.readouterr().err
    assert "no study 'third' (there: first, second)" in error
    assert len(error.splitlines()) == 1


def test_trials_under_other_versions_say_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_study(tmp_path, tracks=1, refinement={"steps": 1}, study={"trials": 1})
    assert call(["run", str(path)]) == 0
    now = studies.versions()
    monkeypatch.setattr(studies, "versions", lambda: {**now, "numpy": "9.9"})
    assert call(["run", str(path), "--trials", "3"]) == 0
    study = optuna.load_study(study_name="small", storage=f"sqlite:///{tmp_path}/studies.db")
    origin = provenance(study)
    assert origin["other_versions"] == {"2": {"numpy": "9.9"}}
    assert lines(origin)["trials under other versions"] == "2"
    assert origin["versions"]["numpy"] == now["numpy"]


def test_a_study_that_schedopt_did_not_make_has_none_to_show() -> None:
    origin = provenance(optuna.create_study())
    assert lines(origin)["model fingerprint"] == "–"
    assert differing(origin, origin) == {}

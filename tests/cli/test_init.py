"""`init`, the JSON schema of study files, and `run --dry-run`."""

from __future__ import annotations

import io
import json
import re
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from schedopt.cli import call
from schedopt.cli._study_file import SCHEMA, study_schema
from schedopt.config import StudyConfig, load_config, make_config
from schedopt.errors import ConfigError
from schedopt.separators import save_safetensors
from tests.models import tiny_hdemucs
from tests.studies import write_study, write_tracks

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

Capture = pytest.CaptureFixture[str]
Patch = pytest.MonkeyPatch
STUDIES = sorted((Path(__file__).parents[2] / "studies").glob("*.toml"))


@pytest.fixture
def here(tmp_path: Path, monkeypatch: Patch) -> Path:
    """The current folder, with music and a model."""
    monkeypatch.chdir(tmp_path)
    write_tracks(tmp_path / "music", 2)
    save_safetensors(tiny_hdemucs(), tmp_path / "tiny.safetensors")
    return tmp_path


def answers(monkeypatch: Patch, text: str) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(text))


def test_it_asks_and_the_file_runs(here: Path, monkeypatch: Patch, capsys: Capture) -> None:
    answers(monkeypatch, "folder:music\ntiny.safetensors\nbass\n")
    assert call(["init", "studies/mine.toml"]) == 0
    shown = capsys.readouterr()
    assert shown.out == "studies/mine.toml: next, schedopt run studies/mine.toml --dry-run\n"
    assert re.findall(r"Music|Model|Stem", shown.err) == ["Music", "Model", "Stem"]
    config = load_config("studies/mine.toml")
    assert (config.study.name, config.refinement.target) == ("mine", "bass")
    assert config.data.source == f"folder:{here / 'music'}"
    assert config.separator.model == str(here / "tiny.safetensors")
    quick = ["--set", "data.excerpt=0.4", "--set", "refinement.steps=1", "--trials", "2", "--json"]
    assert call(["run", "studies/mine.toml", *quick]) == 0
    assert json.loads(capsys.readouterr().out)["study"] == "mine"


def test_a_closed_standard_input_is_one_line(here: Path, monkeypatch: Patch, capsys: Capture) -> None:
    monkeypatch.setattr("sys.stdin", None)
    assert call(["init"]) == 2
    assert "there is nobody to answer: give --data" in capsys.readouterr().err


def test_options_need_no_answers(here: Path, monkeypatch: Patch, capsys: Capture) -> None:
    answers(monkeypatch, "")
    argv = ["init", "--data", "folder:music", "--model", "./tiny.safetensors", "--stem", "drums, vocals"]
    assert call(argv) == 0
    text = Path("study.toml").read_text(encoding="utf-8")
    assert load_config("study.toml").refinement.targets == ("drums", "vocals")
    assert call(argv) == 1
    assert "study.toml: it is there already; --overwrite replaces it" in capsys.readouterr().err
    assert call([*argv, "--overwrite"]) == 0
    assert Path("study.toml").read_text(encoding="utf-8") == text
    assert call(["init", "other.toml", "--data", "demo"]) == 2
    assert "there is nobody to answer: give --model" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["--data", "folder:nowhere", "--model", "demo", "--stem", "bass"], "nowhere"),
        (["--data", "web:x", "--model", "demo", "--stem", "bass"], "web:x"),
        (["--data", "demo", "--model", "demo", "--stem", "a/b"], "a stem's name"),
        (["x/CON.toml", "--data", "demo", "--model", "demo", "--stem", "bass"], "Windows"),
    ],
)
def test_what_cannot_be_is_refused_before_a_file_is_written(
    argv: list[str], says: str, here: Path, capsys: Capture
) -> None:
    assert call(["init", *argv]) == 1
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("schedopt: ")]
    assert says in line
    assert not list(here.rglob("*.toml"))


def test_every_key_is_there_with_its_default(here: Path) -> None:
    assert call(["init", "all.toml", "--data", "demo", "--model", "demo", "--stem", "vocals"]) == 0
    text = Path("all.toml").read_text(encoding="utf-8")
    whole = re.sub(r"^# (\w+ = )", r"\1", text, flags=re.MULTILINE)
    document = tomllib.loads(whole)
    keys = {section: set(field.annotation.model_fields) for section, field in StudyConfig.model_fields.items()}  # type: ignore[union-attr]
    assert {section: set(table) for section, table in document.items()} == keys
    Path("all.toml").write_text(whole, encoding="utf-8")
    Path("least.toml").write_text('study.name = "all"', encoding="utf-8")
    assert load_config("all.toml") == load_config("least.toml")
    jsonschema.validate(document, study_schema())
    (schema,) = re.findall(r"\A#:schema (\S+)\n", text)
    assert json.loads(Path(schema).read_text(encoding="utf-8")) == study_schema()


def test_the_shipped_schema_is_current(capsys: Capture) -> None:
    assert json.loads(SCHEMA.read_text(encoding="utf-8")) == study_schema(), (
        "schedopt run --schema > schedopt/files/study.schema.json"
    )
    assert call(["run", "--schema"]) == 0
    assert json.loads(capsys.readouterr().out) == study_schema()
    jsonschema.Draft202012Validator.check_schema(study_schema())


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.name)
def test_shipped_study_files_fit_the_schema(path: Path) -> None:
    jsonschema.validate(tomllib.loads(path.read_text(encoding="utf-8")), study_schema())


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [
        ("data", "tracks", "all"),
        ("data", "tracks", 3),
        ("data", "tracks", "some"),
        ("data", "tracks", 0),
        ("data", "excerpt", "track"),
        ("data", "excerpt", 0.05),
        ("data", "excerpt", "long"),
        ("data", "gains", {"bass": 2}),
        ("study", "trials", True),
        ("study", "trails", 3),
        ("refinement", "target", ["drums", "bass"]),
        ("refinement", "steps", 0),
        ("schedule", "space", {"start": [0.0, 0.5]}),
        ("schedule", "space", {"start": [0.0]}),
        ("search", "metric", "sdrr"),
    ],
)
def test_the_schema_accepts_what_the_loader_accepts(section: str, key: str, value: Any, tmp_path: Path) -> None:
    document: dict[str, dict[str, Any]] = {"study": {"name": "x"}}
    document.setdefault(section, {})[key] = value
    try:
        make_config(document)
        accepted = True
    except ConfigError:
        accepted = False
    assert jsonschema.Draft202012Validator(study_schema()).is_valid(document) == accepted


def test_dry_run(tmp_path: Path, capsys: Capture) -> None:
    path = write_study(tmp_path, tracks=3, study={"trials": 10}, refinement={"target": ["drums", "bass"], "steps": 2})
    assert call(["run", str(path), "--dry-run", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["studies"], found["tracks"], found["excerpts"]) == (["small-drums", "small-bass"], 3, 3)
    assert found["audio_seconds"] == pytest.approx(1.2, abs=0.01)
    assert found["passes"] == 2 * 3 * (1 + 2 * (2 + 10))
    assert found["seconds"] == pytest.approx(found["passes"] * found["pass_seconds"], rel=1e-3)
    assert 0 < found["pass_seconds"] < 10
    assert 0.05 < found["memory"] < 100
    assert 0 < found["disk"] <= 4
    assert call(["run", str(path), "--dry-run"]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert [re.split(r"  +", line)[0] for line in shown] == [
        "studies", "model", "tracks", "excerpts", "trials", "passes", "one pass (timed)", "time", "memory", "disk",
    ]  # fmt: skip
    assert max(map(len, shown)) <= 120
    assert not list(tmp_path.glob("*.db*")), "nothing is stored"


def test_the_estimate_is_an_upper_bound(tmp_path: Path, capsys: Capture) -> None:
    path = write_study(tmp_path, tracks=2, study={"trials": 4}, search={"pruner": "none"}, schedule={"family": "free"})
    assert call(["run", str(path), "--dry-run", "--json"]) == 0
    most = json.loads(capsys.readouterr().out)["passes"]
    assert call(["run", str(path), "--json"]) == 0
    passes = json.loads(capsys.readouterr().out)["passes"]
    assert passes["run"] <= most <= 2 * (passes["run"] + passes["saved"])

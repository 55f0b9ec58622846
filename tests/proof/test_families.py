"""The best of each family that the study database holds, as rivals of a benchmark."""

from __future__ import annotations

import json
import logging
import sqlite3
from pathlib import Path

import optuna
import pytest

from schedopt.cli import call
from schedopt.files.schedule_file import ScheduleFile, load_schedule_file
from schedopt.proof.families import selected_of_families
from tests.studies import write_study, write_tracks

Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Studies of three families and one of another stem in one database; held-out tracks beside the searched ones."""
    folder = tmp_path_factory.mktemp("families")
    for name, family, target in (
        ("lin", "linear", "vocals"),
        ("geo", "geometric", "vocals"),
        ("cos", "cosine", "bass"),
    ):
        path = write_study(
            folder,
            tracks=1,
            name=name,
            study={"trials": 4},
            schedule={"family": family},
            search={"sampler": "random", "pruner": "none", "choose": "highest"},
            refinement={"target": target, "steps": 2},
        )
        assert call(["run", str(path)]) == 0
    # Its gain is the highest of all, but it needs the true stems.
    oracle = write_study(folder, name="up", study={"trials": 3}, refinement={"rule": "oracle", "steps": 2})
    assert call(["run", str(oracle)]) == 0
    write_tracks(folder / "music", 2, split="held-out", first=10)
    return folder


def best_by_hand(folder: Path, name: str) -> list[float]:
    study = optuna.load_study(study_name=name, storage=f"sqlite:///{folder}/studies.db")
    trial = max(study.trials, key=lambda t: (t.value or -99, -t.number))
    return list(trial.user_attrs["betas"])


def test_the_best_of_each_family_is_among_the_rivals(folder: Path, capsys: Capture) -> None:
    assert (
        call(["benchmark", str(folder / "lin.schedule.json"), "--against", "family", "-o", str(folder / "b.json")]) == 0
    )
    shown = capsys.readouterr().out
    assert "selected geometric schedule: chosen by its search (vocals: study geo, trial" in shown
    methods = {m["name"]: m for m in json.loads((folder / "b.json").read_text())["methods"]}
    # Its own family is the file itself; bass was not asked for; an upper bound is no schedule.
    assert set(methods) == {"one pass", "lin", "selected geometric schedule"}
    geometric = methods["selected geometric schedule"]
    assert (geometric["kind"], geometric["needs_references"]) == ("family", False)
    assert geometric["stems"]["vocals"]["betas"] == best_by_hand(folder, "geo")
    assert geometric["stems"]["vocals"]["origin"].startswith("study geo, trial ")


def test_a_storage_may_be_named(folder: Path) -> None:
    content = json.loads((folder / "lin.schedule.json").read_text())
    del content["schedules"]["vocals"]["storage"]
    file = ScheduleFile.model_validate(content | {"schedules": content["schedules"]}, strict=False)
    assert selected_of_families({"a": file}) == []
    names = [m.name for m in selected_of_families({"a": file}, f"sqlite:///{folder}/studies.db")]
    assert names == ["selected geometric schedule"]


def test_other_weights_do_not_count(folder: Path) -> None:
    content = json.loads((folder / "lin.schedule.json").read_text())
    content["model"]["weights"] = "0" * 16
    assert selected_of_families({"a": ScheduleFile.model_validate(content, strict=False)}) == []


def test_a_database_that_is_away_or_not_ours_is_left_alone(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A schedule file may come from anywhere: no server is asked and no other program's database is touched."""
    monkeypatch.setattr(logging.getLogger("schedopt"), "propagate", True)
    foreign = tmp_path / "mail.db"
    with sqlite3.connect(foreign) as connection:
        connection.execute("CREATE TABLE mails (id INTEGER)")
    before = foreign.read_bytes()
    file = load_schedule_file(folder / "lin.schedule.json")
    urls = [f"sqlite:///{tmp_path}/none.db", f"sqlite:///{foreign}", "postgresql://u:***@192.0.2.1/x", "no url"]
    for url in urls:
        document = file.document()
        document["schedules"]["vocals"]["storage"] = url
        assert selected_of_families({"a.json": ScheduleFile.model_validate(document, strict=False)}) == []
        assert "a.json: its study database" in caplog.text
        caplog.clear()
    assert foreign.read_bytes() == before
    assert not (tmp_path / "none.db").exists()


def test_no_way_leads_from_a_ceiling_into_a_schedule_file(folder: Path, tmp_path: Path, capsys: Capture) -> None:
    """A benchmark with ceilings is no schedule file, and its settings do not become one by renaming the kind."""
    schedule, output = folder / "lin.schedule.json", tmp_path / "bench.json"
    assert call(["benchmark", str(schedule), "--against", "none", "--ceilings", "-o", str(output)]) == 0
    document = json.loads(output.read_text())
    ceilings = [m for m in document["methods"] if m["needs_references"]]
    assert {m["kind"] for m in ceilings} == {"oracle", "greedy"}
    assert call(["benchmark", str(output)]) == 1
    assert "schedule" in capsys.readouterr().err
    for method in ceilings:
        part = method["stems"]["vocals"]
        forged = json.loads(schedule.read_text())
        forged["schedules"]["vocals"] = {"rule": part["rule"], "betas": part["betas"]}
        path = tmp_path / "forged.json"
        path.write_text(json.dumps(forged))
        # The oracle is named as what it is; the greedy search leaves no β behind.
        assert call(["benchmark", str(path)]) == 1
        says = "needs the true stems" if method["kind"] == "oracle" else "schedules.vocals.betas"
        assert says in capsys.readouterr().err


def test_a_note_where_no_other_family_is_found(folder: Path, capsys: Capture) -> None:
    """Bass was searched in one family alone."""
    schedule = folder / "cos.schedule.json"
    assert call(["benchmark", str(schedule), "--against", "family", "--json"]) == 0
    printed = capsys.readouterr()
    assert {method["name"] for method in json.loads(printed.out)["methods"]} == {"one pass", "cos"}
    (line,) = [line for line in printed.err.splitlines() if "family" in line]
    assert f"{schedule}: no study of another family" in line
    assert f"was found in sqlite:///{folder}/studies.db" in line
    # Two families that are both in the table are another family to each other.
    lin, geo = (str(folder / f"{name}.schedule.json") for name in ("lin", "geo"))
    assert call(["benchmark", lin, geo, "--against", "family", "--json"]) == 0
    assert "no study of another family" not in capsys.readouterr().err

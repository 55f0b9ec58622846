"""What a benchmark notes in the schedule files that it compared."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest

from schedopt.cli import call
from schedopt.files.schedule_file import Gain95, HeldOutScore, json_schema, load_schedule_file
from schedopt.search.export import as_json, with_known_scores
from tests.proof.schedules import write_bench, write_schedule

Capture = pytest.CaptureFixture[str]


def test_a_benchmark_writes_its_gain_into_the_files(tmp_path: Path, capsys: Capture) -> None:
    write_bench(tmp_path)
    own = write_schedule(tmp_path, "own", vocals={"betas": [0.5]}, bass={"betas": [0.2]})
    shared = write_schedule(tmp_path, "shared", all={"betas": [0.3]})
    assert call(["benchmark", str(own), str(shared), "--against", "shift", "--write", "--json"]) == 0
    rows = {(row["method"], row["stem"]): row for row in json.loads(capsys.readouterr().out)["findings"]}
    for name, target, stem in (("own", "vocals", "vocals"), ("own", "bass", "bass"), ("shared", "all", "all stems")):
        path = tmp_path / f"{name}.schedule.json"
        jsonschema.validate(json.loads(path.read_text()), json_schema())
        noted = load_schedule_file(path).schedules[target].held_out
        assert noted is not None
        row = rows[name, stem]
        assert noted.value == row["levels"]["sdr"]["mean"]
        for rival, gain in (("baseline", noted.over_one_pass), ("shift", noted.over_shift_trick)):
            measured = row["versus"][rival]["sdr"]
            assert gain is not None
            assert (gain.mean, list(gain.interval), gain.p) == (
                measured["mean"],
                measured["interval"],
                measured["p"],
            )
        assert noted.tracks == (6 if stem == "vocals" else 7)
        assert noted.source == f"folder:{tmp_path / 'music'}"
    # The schedules themselves are as they were.
    assert load_schedule_file(own).schedules["vocals"].betas == (0.5,)


def test_a_preset_is_not_written(capsys: Capture) -> None:
    assert call(["benchmark", "demo", "--write"]) == 2
    assert "a preset belongs to the package" in capsys.readouterr().err


def test_exporting_the_same_schedule_again_keeps_its_held_out_score(tmp_path: Path) -> None:
    write_bench(tmp_path, tracks=1)
    path = write_schedule(tmp_path, "own", vocals={"betas": [0.5]}, bass={"betas": [0.2]})
    fresh = load_schedule_file(path)
    score = HeldOutScore(
        source="demo",
        tracks=7,
        excerpt=1.0,
        value=5.0,
        over_one_pass=Gain95(mean=0.2, interval=(0.1, None), p=0.04, verdict="better"),
    )
    noted = {target: entry.model_copy(update={"held_out": score}) for target, entry in fresh.schedules.items()}
    path.write_text(as_json(fresh.model_copy(update={"schedules": noted})))
    assert with_known_scores(fresh, path).schedules == noted
    changed = fresh.schedules["bass"].model_copy(update={"betas": (0.3,)})
    kept = with_known_scores(fresh.model_copy(update={"schedules": {**fresh.schedules, "bass": changed}}), path)
    assert (kept.schedules["vocals"].held_out, kept.schedules["bass"].held_out) == (score, None)
    other = fresh.model_copy(update={"model": fresh.model.model_copy(update={"weights": "0" * 16})})
    assert with_known_scores(other, path) == other
    assert with_known_scores(fresh, tmp_path / "missing.json") == fresh

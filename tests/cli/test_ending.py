"""Studies that end before they have their trials tell why: in the summary, in status, and as JSON."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from schedopt.cli import call
from schedopt.search.samplers import ALL_SCORED, STOP_AFTER
from tests.studies import write_study

Capture = pytest.CaptureFixture[str]


def test_a_family_whose_every_schedule_has_been_scored_ends_the_study(tmp_path: Path, capsys: Capture) -> None:
    """One step at resolution 0.25: five schedules, whatever the sampler."""
    path = write_study(tmp_path, tracks=1, refinement={"steps": 1}, schedule={"resolution": 0.25}, study={"trials": 30})
    for _ in range(2):
        assert call(["run", str(path)]) == 0
        out = capsys.readouterr().out
        assert "study small is at its end: 5 of 30 trials finished" in out
        assert f"it ended early: {ALL_SCORED}" in out
    assert call(["status", str(path)]) == 0
    assert f"small ended early: {ALL_SCORED}" in capsys.readouterr().out
    assert call(["run", str(path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["ending"] == ALL_SCORED


def test_a_study_stops_where_no_schedule_gains_more_and_goes_on_without_that_rule(
    tmp_path: Path, capsys: Capture
) -> None:
    path = write_study(tmp_path, tracks=2, search={"stop": 40.0}, study={"trials": 30})
    sentence = "no schedule of this family gains more than 40 dB over the selected one on these tracks"
    assert call(["run", str(path)]) == 0
    out = capsys.readouterr().out
    assert f"is at its end: {STOP_AFTER} of 30 trials finished" in out
    assert f"it ended early: {sentence}" in out
    assert call(["status", str(path), "--json"]) == 0
    (document,) = json.loads(capsys.readouterr().out)["studies"]
    assert sentence in document["ending"]
    assert call(["run", str(path), "--set", "search.stop=0", "--trials", "12", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert "ending" not in document
    assert document["trials"]["complete"] + document["trials"]["pruned"] == 12

"""What commands tell of a study: which trials failed, what the options alone gain, what speaks against the result."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState, create_trial

from schedopt.cli import call
from schedopt.search.summary import NamedTrial, Summary, summarize
from tests.studies import write_study

Capture = pytest.CaptureFixture[str]


def stored(folder: Path) -> optuna.Study:
    return optuna.load_study(study_name="small", storage=f"sqlite:///{folder}/studies.db")


def test_interrupted_trials_have_not_failed(tmp_path: Path, capsys: Capture) -> None:
    path = write_study(tmp_path, tracks=1, study={"trials": 3}, refinement={"steps": 1})
    assert call(["run", str(path)]) == 0
    assert "(0 pruned, 0 failed)" in capsys.readouterr().out
    study = stored(tmp_path)
    reasons: list[dict[str, Any]] = [
        {"failure": "interrupted"},
        {"failure": "its process ended"},
        {},  # its heartbeat stopped
        {"failure": "ValueError: an odd one"},
        {"retry_of": 5},  # a second try that failed without a word
    ]
    for attrs in reasons:
        study.add_trial(create_trial(state=TrialState.FAIL, user_attrs=attrs))
    assert call(["run", str(path), "--trials", "4"]) == 0
    out = capsys.readouterr().out
    assert "4 of 4 trials finished (0 pruned, 2 failed, 3 interrupted)" in out
    assert "the last that failed: no reason given" in out
    study.add_trial(create_trial(state=TrialState.FAIL, user_attrs={"failure": "ValueError: the last one"}))
    assert call(["status", str(path)]) == 0
    assert "small: the last trial that failed: ValueError: the last one" in capsys.readouterr().out
    assert call(["status", str(path), "--json"]) == 0
    (document,) = json.loads(capsys.readouterr().out)["studies"]
    assert (document["trials"]["failed"], document["trials"]["interrupted"]) == (3, 3)
    assert document["failure"] == "ValueError: the last one"


@pytest.mark.parametrize("shift", [True, False])
def test_the_gain_over_beta_0_stands_beside_that_over_one_pass(shift: bool, tmp_path: Path, capsys: Capture) -> None:
    path = write_study(tmp_path, tracks=2, study={"trials": 4}, refinement={"steps": 2, "shift": shift})
    assert call(["run", str(path)]) == 0
    out = capsys.readouterr().out
    summary = summarize(stored(tmp_path), "")
    assert summary.selected is not None
    assert summary.zeros is not None
    if shift:
        gain = summary.selected.value - summary.zeros
        assert f"gain over β = 0, same options          {gain:+.3f} dB" in out
        assert "gain over β = n/N, same options" in out
    else:
        assert summary.zeros == summary.baseline
        assert "β = 0, same options" not in out
        assert "gain over the authors' line n/N" in out


TRIAL = NamedTrial(3, 5.0, 0.2, (0.5,), {"beta_1": 0.5})
SUMMARY = Summary("s", "", 4, 0, 0, 0, 0, TRIAL, TRIAL, 4.8, 4.8, 4.9, "the authors' line n/N", 0, 0, 0.0)


def test_doubts() -> None:
    assert SUMMARY.doubts == []
    none = replace(TRIAL, gain=0.0)
    assert replace(SUMMARY, selected=none).doubts == [
        "no schedule of this study is surely better than one pass on the search excerpts"
    ]
    assert replace(SUMMARY, selected=none, highest=none).doubts == [
        "no schedule of this study is better than one pass on the search excerpts"
    ]
    assert replace(SUMMARY, line=5.1).doubts == [
        "the authors' line n/N scores 0.100 dB higher than every trial; the family does not hold it"
    ]
    assert replace(SUMMARY, selected=None, highest=None).doubts == []


def test_a_sampler_that_stops_its_study_is_a_failure(
    tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def after_trial(self: object, study: optuna.Study, *_: object) -> None:
        study.stop()

    monkeypatch.setattr(optuna.samplers.RandomSampler, "after_trial", after_trial)
    settings = {"sampler": "random", "pruner": "none"}
    path = write_study(tmp_path, tracks=1, study={"trials": 9}, refinement={"steps": 1}, search=settings)
    assert call(["run", str(path)]) == 1
    captured = capsys.readouterr()
    assert "study small is not complete: " in captured.out
    assert captured.err.splitlines()[-1] == "schedopt: study small is not complete: its sampler stopped it"

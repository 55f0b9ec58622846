"""The bleed dial: studies of two metrics, their front, and the points that are exported."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.trial import FrozenTrial, create_trial

import schedopt
from schedopt.cli import call
from schedopt.config import make_config
from schedopt.errors import ConfigError
from schedopt.files.schedule_file import ScheduleFile, load_schedule_file
from schedopt.search.dial import COLLAPSE_DB, POINTS, dial_front, front, points
from schedopt.search.prepared import PreparedSearch
from schedopt.search.selection import lower_bound
from schedopt.search_options import criteria, directions
from schedopt.view.dashboard.notes import study_note, trial_note
from schedopt.view.trials import named_trials
from tests.studies import make_study, write_study

ZEROS = {"gain_by_track": [0.0, 0.0, 0.0], "other": {"gain_by_track": [0.0, 0.0, 0.0]}}
SPREAD = np.array([-0.01, 0.0, 0.01])
TWO = {"objectives": ["si_sir", "si_sar"], "metric": "si_sdr"}


def trial(number: int, first: float, second: float, steps: int = 1) -> FrozenTrial:
    """A complete trial with these mean gains over β = 0; tracks differ by 0.01 dB."""
    gains = [list(mean + SPREAD) if mean else [0.0] * 3 for mean in (first, second)]
    attrs: dict[str, Any] = {"steps": steps, "betas": [0.1] * steps, "gain": first, "gain_by_track": gains[0]}
    attrs["other"] = {"gain": second, "gain_by_track": gains[1]}
    made = create_trial(values=[10 + first, 5 + second], user_attrs=attrs)
    made.number = number
    return made


def named(*trials: FrozenTrial, by_bound: bool = True) -> dict[str, int]:
    return {name: one.number for name, one in points(front(trials, ZEROS, by_bound=by_bound)).items()}


def test_points_are_ordered_on_a_front_that_nothing_dominates() -> None:
    rng = np.random.default_rng(0)
    gains = rng.uniform(0, 3, 40)
    trials = [trial(n, gain, -0.1 * gain * rng.uniform(1, 3)) for n, gain in enumerate([0.0, *gains])]
    kept = front(trials, ZEROS)
    worths = np.array([one.worth for one in kept])
    assert len(kept) > 2
    assert (np.diff(worths[:, 0]) > 0).all()
    assert (np.diff(worths[:, 1]) < 0).all()
    for one in trials:
        worth = [float(lower_bound(part["gain_by_track"])) for part in (one.user_attrs, one.user_attrs["other"])]
        assert any(kept_one.worth[0] >= worth[0] - 1e-6 and kept_one.worth[1] >= worth[1] - 1e-6 for kept_one in kept)
    order = [one.trial.number for one in kept]
    chosen = named(*trials)
    assert order.index(chosen["full"]) == 0
    assert 0 < order.index(chosen["balanced"]) < order.index(chosen["clean"])


def test_clean_stops_before_the_collapse() -> None:
    lost = COLLAPSE_DB - 0.1
    trials = [trial(0, 0, 0), trial(1, 2, -lost), trial(2, 5, -COLLAPSE_DB - 0.1), trial(3, 1, -lost / 2)]
    assert named(*trials) == {"clean": 1, "balanced": 3, "full": 0}


def test_balanced_is_where_the_smaller_share_is_largest() -> None:
    trials = [trial(0, 0, 0), trial(1, 2, -0.8), trial(2, 0.5, -0.1), trial(3, 1.4, -0.3), trial(4, 1.8, -0.7)]
    assert named(*trials)["balanced"] == 3


def test_names_fall_together_where_there_is_nothing_between() -> None:
    assert named() == {}
    assert named(trial(0, 0, 0)) == dict.fromkeys(POINTS, 0)
    assert named(trial(0, 0, 0), trial(1, 2, -0.5)) == {"clean": 1, "balanced": 1, "full": 0}
    assert named(trial(0, 0, 0), trial(1, 0.4, -0.5)) == {"clean": 1, "balanced": 0, "full": 0}
    assert named(trial(0, 0, 0), trial(1, -1, -0.5)) == dict.fromkeys(POINTS, 0)


def test_of_equal_trials_the_one_with_the_fewest_passes_stands_on_the_front() -> None:
    assert named(trial(0, 0, 0, steps=3), trial(1, 0, 0), trial(2, 0, 0))["full"] == 1


def test_a_gain_that_one_track_makes_is_not_on_the_front_by_bounds() -> None:
    lucky = trial(1, 1.0, -0.1)
    lucky.user_attrs["gain_by_track"] = [3.9, -0.4, -0.5]
    trials = [trial(0, 0, 0), lucky]
    assert named(*trials)["clean"] == 0
    assert named(*trials, by_bound=False)["clean"] == 1


def test_the_order_of_objectives_is_by_what_they_measure() -> None:
    assert criteria({"objectives": ["si_sar", "si_sir"]}) == ("si_sir", "si_sar")
    assert criteria({"objectives": ["passes", "snr"]}) == ("snr", "passes")
    assert criteria({"pareto": True, "metric": "snr"}) == ("snr", "passes")
    assert criteria({"metric": "snr"}) == ("snr",)
    assert directions({"objectives": ["si_sir", "si_sar"]}) == ["maximize", "maximize"]
    assert directions({"objectives": ["si_sir", "passes"]}) == ["maximize", "minimize"]


@pytest.mark.parametrize(
    ("search", "message"),
    [
        ({"objectives": ["si_sir"]}, "two different ones"),
        ({"objectives": ["si_sir", "si_sir"]}, "two different ones"),
        ({"objectives": ["si_sir", "si_srr"]}, "si_srr.*did you mean"),
        ({"objectives": ["bleedless", "fullness"]}, "bleedless: an objective is a metric in dB"),
        ({"objectives": ["si_sir", "passes"], "pareto": True}, "leave out one of the two keys"),
        ({**TWO, "pruner": "wilcoxon"}, 'pruner = "none"'),
        ({**TWO, "sampler": "cmaes"}, "cmaes; choose"),
    ],
)
def test_bad_objectives_are_refused_in_one_line(search: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as error:
        make_config({"study": {"name": "m"}, "search": search})
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("output", ["mixer", "mixer-bands", "auto"])
def test_weights_are_fitted_for_one_metric(output: str) -> None:
    with pytest.raises(ConfigError, match=f"{output}.*one metric.*take last, mean or wiener"):
        make_config({"study": {"name": "m"}, "search": TWO, "refinement": {"output": output}})
    with_passes = {"objectives": ["sdr", "passes"]}
    make_config({"study": {"name": "m"}, "search": with_passes, "refinement": {"output": output}})


def test_no_pass_is_spent_on_the_second_metric(tmp_path: Path) -> None:
    """And both scores are those that a study of this metric alone gives the same schedule."""
    searches: list[dict[str, Any]] = [{"objectives": ["si_sir", "passes"]}, {"objectives": ["si_sar", "passes"]}, TWO]
    first, second, both = (
        PreparedSearch.prepare(make_study(tmp_path, search=search, store={"disk": 0})).objective("vocals")
        for search in searches
    )
    betas = (0.3, 0.6)
    made = both.outcome(betas)
    assert made.other is not None
    assert made.by_step == pytest.approx(first.outcome(betas).by_step, abs=1e-9)
    assert made.other.by_step == pytest.approx(second.outcome(betas).by_step, abs=1e-9)
    assert made.other.by_step != made.by_step
    assert both.passes() == first.passes() == second.passes()
    assert both.passes().run == 9


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The study file of a study that has been run."""
    folder = tmp_path_factory.mktemp("dial")
    path = write_study(folder, tracks=3, search={**TWO, "sampler": "random"}, study={"trials": 10})
    assert call(["run", str(path), "-q"]) == 0
    return path


def study_of(path: Path) -> optuna.Study:
    return optuna.load_study(study_name="small", storage=f"sqlite:///{path.parent}/studies.db")


def file_of(path: Path) -> ScheduleFile:
    return load_schedule_file(path.parent / "small.schedule.json")


def test_a_run_exports_the_front_as_named_points(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, study = file_of(run), study_of(run)
    assert tuple(file.points) == POINTS
    assert file.schedules == file.points["balanced"]
    assert study.metric_names == ["SI-SIR, dB", "SI-SAR, dB"]
    trials = study.get_trials(deepcopy=False)
    for name, chosen in points(dial_front(study, trials)).items():
        entry = file.points[name]["vocals"]
        assert entry.trial == chosen.number
        assert list(entry.betas) == chosen.user_attrs["betas"]
        assert (entry.metric, list(entry.objectives)) == ("si_sdr", ["si_sir", "si_sar"])
        assert [one.value for one in entry.objectives.values()] == chosen.values
        assert [one.gain for one in entry.objectives.values()] == pytest.approx(
            [chosen.user_attrs["gain"], chosen.user_attrs["other"]["gain"]]
        )
    assert call(["status", str(run), "--json"]) == 0
    (document,) = json.loads(capsys.readouterr().out)["studies"]
    assert document["best"]["number"] == file.schedules["vocals"].trial
    assert {name for point in document["dial"] for name in point["names"]} == set(POINTS)
    assert call(["export", str(run), "--format", "csv"]) == 0
    table = capsys.readouterr().out.splitlines()
    assert table[0] == "point,target,step,beta"
    assert table[1].startswith("clean,vocals,1,")


def test_a_run_prints_the_front_and_resumes_without_a_trial(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(["run", str(run)]) == 0
    said = capsys.readouterr().out
    assert "less bleed against fewer artifacts" in said
    assert "SI-SAR" in said
    assert len(study_of(run).trials) == 10


def test_reports_and_figures_name_the_points(run: Path, tmp_path: Path) -> None:
    figures = schedopt.figures(study_of(run))
    assert "dial" in figures
    assert "SI-SIR" in figures["steps"].layout.title.text
    study = study_of(run)
    named = named_trials(study, study.get_trials(deepcopy=False))
    assert next(iter(named)).startswith("selected trial, ")
    note = study_note(study, named, "sqlite:///s.db")
    assert all(f"- {name}: SI-SIR " in note for name in named)
    assert "All three points are exported" in note
    assert all("SI-SAR" in trial_note(study, name, trial) for name, trial in named.items())
    page = tmp_path / "r.html"
    assert call(["report", str(run), "-o", str(page), "--audio", "0"]) == 0
    text = page.read_text(encoding="utf-8")
    assert "All three points are exported" in text
    assert "Front: less bleed against fewer artifacts" in text


def test_own_studies_have_both_directions(tmp_path: Path) -> None:
    config = make_study(tmp_path, search=TWO, refinement={"steps": 2})
    objective = schedopt.objective(config)
    assert objective.directions == ["maximize", "maximize"]
    study = optuna.create_study(directions=objective.directions, sampler=optuna.samplers.RandomSampler(0))
    study.optimize(objective, n_trials=3)
    assert len(study.best_trials) >= 1
    assert set(schedopt.figures(study)) >= {"schedules", "dial"}

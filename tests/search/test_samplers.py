"""Every sampler in whole studies of a cheap objective; resumed studies go on where they were."""

from __future__ import annotations

import inspect
from pathlib import Path

import optuna
import pytest
from optuna.pruners import BasePruner
from optuna.trial import TrialState

from schedopt.config import RefinementSection, StudyConfig, make_config
from schedopt.errors import ConfigError
from schedopt.optuna_classes import SHORT, build, known_names
from schedopt.search.samplers import make_sampler
from schedopt.search.space import grid_values, suggest
from schedopt.storage.opening import open_storage
from schedopt.workers.loop import work

SAMPLERS = known_names("sampler")
PRUNER_OPTIONS = {"percentile": {"percentile": 25.0}}
SAMPLER_OPTIONS = {"PartialFixedSampler": {"fixed_params": {"end": 0.5}, "base_sampler": "TPESampler"}}


def config(sampler: str = "tpe", seed: int = 0, **search: object) -> StudyConfig:
    return make_config(
        {"study": {"name": "s", "seed": seed}, "search": {"sampler": sampler, **search}, "refinement": {"steps": 3}}
    )


def valley(trial: optuna.Trial, settings: StudyConfig) -> float:
    """Best at start 0.3, end 0.7."""
    params = suggest(trial, settings.family(), settings.schedule.resolution)
    return -((params["start"] - 0.3) ** 2) - (params["end"] - 0.7) ** 2


def run(settings: StudyConfig, storage: Path, trials: int, pruner: BasePruner | None = None) -> optuna.Study:
    study = optuna.create_study(
        storage=open_storage(f"sqlite:///{storage}"),
        study_name="s",
        direction="maximize",
        sampler=make_sampler(settings),
        pruner=pruner or optuna.pruners.NopPruner(),
        load_if_exists=True,
    )
    work(study, lambda trial: valley(trial, settings), trials)
    return study


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_sampler_resumes_where_an_undisturbed_study_would_be(sampler: str, tmp_path: Path) -> None:
    settings = config(sampler)
    whole = [t.params for t in run(settings, tmp_path / "whole.db", 14).trials]
    run(settings, tmp_path / "parts.db", 5)
    parts = [t.params for t in run(settings, tmp_path / "parts.db", 14).trials]
    assert parts == whole
    assert len({tuple(params.values()) for params in whole}) > 10


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_another_seed_is_another_study(sampler: str, tmp_path: Path) -> None:
    first = [t.params for t in run(config(sampler, seed=1), tmp_path / "1.db", 4).trials]
    second = [t.params for t in run(config(sampler, seed=2), tmp_path / "2.db", 4).trials]
    assert first != second


@pytest.mark.parametrize("pruner", SHORT["pruner"])
@pytest.mark.parametrize("sampler", ["prefix-gp", "tpe"])
def test_every_sampler_goes_with_every_pruner(sampler: str, pruner: str, tmp_path: Path) -> None:
    """Hyperband hands samplers a view of the study that refuses most questions."""
    settings = config(sampler)
    study = run(settings, tmp_path / "s.db", 4, build("pruner", pruner, PRUNER_OPTIONS.get(pruner, {}), {}))
    assert [t.state for t in study.trials] == [TrialState.COMPLETE] * 4


def every_sampler() -> list[str]:
    found = (getattr(optuna.samplers, name) for name in optuna.samplers.__all__)
    return [one.__name__ for one in found if isinstance(one, type) and not inspect.isabstract(one)]


@pytest.mark.parametrize("sampler", every_sampler())
def test_every_class_of_optuna_finishes_a_study_or_is_refused(sampler: str, tmp_path: Path) -> None:
    options = SAMPLER_OPTIONS.get(sampler, {})
    settings = config(sampler, sampler_options=options)
    if sampler in ("BruteForceSampler", "GridSampler"):
        with pytest.raises(ConfigError, match=r"BruteForceSampler does not go with|needs the option search_space"):
            make_sampler(settings)
        return
    study = run(settings, tmp_path / "s.db", 4)
    assert [t.state for t in study.trials] == [TrialState.COMPLETE] * 4


def test_a_grid_ends_when_it_is_exhausted(tmp_path: Path) -> None:
    settings = config("grid", grid=3)
    study = run(settings, tmp_path / "s.db", 50)
    assert len(study.trials) == 9
    assert {tuple(t.params.values()) for t in study.trials} == {
        (start, end) for start in (0.0, 0.5, 1.0) for end in (0.0, 0.5, 1.0)
    }


def test_grid_values_lie_on_the_resolution() -> None:
    values = grid_values(config().family(), 6, 0.01)
    assert values["start"] == [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    assert all(round(v * 100, 6) % 1 == 0 for v in grid_values(config().family(), 8, 0.01)["end"])


def test_a_range_narrower_than_the_resolution_is_searched() -> None:
    settings = make_config(
        {
            "study": {"name": "s"},
            "schedule": {"family": "free", "space": {"beta_1": [0.0, 1e-320], "beta_2": [0.2, 0.25]}},
        }
    )
    trial = optuna.create_study(sampler=make_sampler(settings)).ask()
    params = suggest(trial, settings.family(), settings.schedule.resolution)
    assert params["beta_1"] <= 1e-320
    assert 0.2 <= params["beta_2"] <= 0.25


def test_a_grid_that_no_list_holds_is_refused() -> None:
    settings = make_config({"study": {"name": "s"}, "search": {"sampler": "grid"}, "schedule": {"family": "free"}})
    make_sampler(settings)
    with pytest.raises(ConfigError, match=r"search\.grid: a grid of 60466176 schedules; at most 100000"):
        make_sampler(settings.model_copy(update={"refinement": RefinementSection(steps=10)}))

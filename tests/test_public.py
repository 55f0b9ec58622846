"""What `import schedopt` offers: one list, examples that run, and studies that their users make themselves."""

from __future__ import annotations

import ast
import doctest
import inspect
import warnings
from pathlib import Path
from typing import Any

import lazy_loader
import optuna
import plotly.graph_objects as go
import pytest
import torch
from optuna.trial import TrialState

import schedopt
from schedopt.cli import call
from schedopt.errors import ConfigError, DataError, StudyError
from schedopt.files.presets import preset_names
from schedopt.metrics import METRICS
from schedopt.outputs import OUTPUTS
from schedopt.registry import Registry
from schedopt.rules import RULES
from schedopt.schedules import FAMILIES
from schedopt.separators import save_safetensors
from schedopt.workers.run import run
from tests.models import RATE, tiny_hdemucs
from tests.proof.schedules import write_schedule
from tests.songs.songs import read_stems, write_song
from tests.studies import make_study, write_study, write_tracks

Patch = pytest.MonkeyPatch
PUBLIC: list[str] = lazy_loader.attach_stub("schedopt", schedopt.__file__)[2]
FUNCTIONS = [name for name in PUBLIC if inspect.isfunction(getattr(schedopt, name))]
REGISTRIES: list[Registry[Any]] = [FAMILIES, RULES, OUTPUTS, METRICS]


def test_there_is_one_list() -> None:
    stub = ast.parse(Path(schedopt.__file__).with_suffix(".pyi").read_text(encoding="utf-8"))
    listed = [alias.name for node in stub.body if isinstance(node, ast.ImportFrom) for alias in node.names]
    assert sorted(listed) == sorted(PUBLIC) == sorted(set(dir(schedopt)) - {"__version__"})
    assert {"objective", "run", "load_schedule", "figures", "register_family"} <= set(PUBLIC)
    source = Path(schedopt.__file__).read_text(encoding="utf-8")
    assert not [name for name in PUBLIC if f'"{name}"' in source]
    with pytest.raises(AttributeError, match="runn"):
        _ = getattr(schedopt, "runn")  # noqa: B009


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_example_of_every_public_function_runs(name: str, tmp_path: Path, monkeypatch: Patch) -> None:
    monkeypatch.chdir(tmp_path)
    for registry in REGISTRIES:
        monkeypatch.setattr(registry, "added", dict(registry.added))
    function = getattr(schedopt, name)
    (example,) = doctest.DocTestFinder(recurse=False).find(
        function, name, globs=dict(vars(inspect.getmodule(function)))
    )
    assert example.examples, f"{name} has no example"
    said: list[str] = []
    options = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    doctest.DocTestRunner(optionflags=options).run(example, out=said.append)
    assert not said, "".join(said)


def test_a_notebook_cell(tmp_path: Path) -> None:
    config, numbers = make_study(tmp_path, refinement={"steps": 2}), list[int]()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)  # of the sampler
        # The cell.
        study = optuna.create_study(direction="maximize", sampler=optuna.samplers.QMCSampler(seed=1))
        study.optimize(
            schedopt.objective(config), n_trials=6, callbacks=[lambda study, trial: numbers.append(trial.number)]
        )
        history = optuna.visualization.plot_optimization_history(study)
        figures = schedopt.figures(study)
    assert numbers == list(range(6))
    assert isinstance(history, go.Figure)
    assert {"schedules", "steps", "progress", "tracks", "passes"} <= set(figures)
    assert [trial.user_attrs.get("role") for trial in study.trials[:4]] == [None, "baseline", "line", None]
    assert study.trials[1].user_attrs["gain"] == pytest.approx(0)
    assert {trial.state for trial in study.trials} <= {TrialState.COMPLETE, TrialState.PRUNED}


def test_values_are_those_of_a_run(tmp_path: Path) -> None:
    """The same parameters have the same value, whoever made the study; a fixed trial needs no study at all."""
    config = make_study(tmp_path, study={"trials": 4}, search={"sampler": "random", "pruner": "none"})
    run(config)
    ran = optuna.load_study(study_name="small", storage=config.study.storage)
    own = optuna.create_study(direction="maximize", pruner=optuna.pruners.NopPruner())
    for trial in ran.trials:
        own.enqueue_trial(trial.params)
    objective = schedopt.objective(config)
    own.optimize(objective, n_trials=len(ran.trials))
    for mine, theirs in zip(own.trials, ran.trials, strict=False):
        assert mine.params == theirs.params
        assert mine.value == pytest.approx(theirs.value, abs=1e-6)
        assert objective(optuna.trial.FixedTrial(mine.params)) == pytest.approx(theirs.value, abs=1e-6)
    for name in ("baseline", "line", "zeros", "tracks", "excerpts", "data", "separator"):
        assert own.user_attrs[name] == ran.user_attrs[name]


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
@pytest.mark.parametrize("pruner", [optuna.pruners.MedianPruner, optuna.pruners.WilcoxonPruner])
def test_own_pruners_are_told_what_they_compare(tmp_path: Path, pruner: type[optuna.pruners.BasePruner]) -> None:
    study = optuna.create_study(direction="maximize", pruner=pruner())
    write_tracks(tmp_path / "music", 4)
    save_safetensors(tiny_hdemucs(), tmp_path / "tiny.safetensors")
    study.optimize(schedopt.objective(make_study(tmp_path)), n_trials=5)
    assert all(trial.intermediate_values for trial in study.trials)
    assert len(study.trials[1].intermediate_values) == 4


def test_threads_take_turns(tmp_path: Path) -> None:
    study = optuna.create_study(direction="maximize")
    study.optimize(schedopt.objective(make_study(tmp_path, refinement={"steps": 1})), n_trials=4, n_jobs=2)
    assert study.user_attrs["baseline"]["value"] == pytest.approx(study.trials[0].user_attrs["by_step"][0])
    assert sum("role" in trial.user_attrs for trial in study.trials) == 2


def test_two_objectives_and_several_targets(tmp_path: Path) -> None:
    config = make_study(tmp_path, refinement={"target": ["drums", "bass"], "steps": 2}, search={"pareto": True})
    with pytest.raises(ConfigError, match=r"target = None: say for which .* drums, bass"):
        schedopt.objective(config)
    objective = schedopt.objective(config, "bass")
    study = optuna.create_study(directions=objective.directions)
    study.optimize(objective, n_trials=3)
    assert {len(trial.values) for trial in study.trials} == {2}


def test_studies_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    objective = schedopt.objective(make_study(tmp_path, refinement={"steps": 1}))
    with pytest.raises(StudyError, match=r"its directions are \['minimize'\]; make it with"):
        optuna.create_study().optimize(objective, n_trials=1)
    other = optuna.create_study(direction="maximize")
    other.add_trial(optuna.trial.create_trial(value=1.0))
    with pytest.raises(StudyError, match="holds trials of another objective"):
        other.optimize(objective, n_trials=1)
    study = optuna.create_study(direction="maximize")
    study.optimize(objective, n_trials=1)
    longer = schedopt.objective(make_study(tmp_path, refinement={"steps": 2}))
    with pytest.raises(StudyError, match=r"refinement.steps: was 1, is 2"):
        study.optimize(longer, n_trials=1)


def test_run_with_own_sampler_pruner_and_callbacks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_study(tmp_path, study={"trials": 9}, refinement={"steps": 1})
    seen: list[int] = []

    def stop_after_five(study: optuna.Study, trial: optuna.trial.FrozenTrial) -> None:
        seen.append(trial.number)
        if len(seen) == 5:
            study.stop()

    own = {"sampler": optuna.samplers.RandomSampler(seed=3), "pruner": optuna.pruners.NopPruner()}
    (summary,) = schedopt.run(schedopt.load_config(path), **own, callbacks=[stop_after_five], progress=True)  # type: ignore[arg-type]
    assert (summary.complete, seen) == (5, [0, 1, 2, 3, 4])
    assert "small: 0 of 9 trials finished" in capsys.readouterr().err
    (summary,) = schedopt.run(schedopt.load_config(path), **own)  # type: ignore[arg-type]
    assert summary.complete == 9
    assert call(["run", str(path)]) == 1
    assert "search.sampler: was 'RandomSampler', is" in capsys.readouterr().err
    with pytest.raises(StudyError, match=r"study\.workers must be 1"):
        schedopt.run(schedopt.load_config(path, ["study.workers=2"]), callbacks=[stop_after_five])


def test_a_schedule_refines_songs(tmp_path: Path) -> None:
    save_safetensors(tiny_hdemucs(), tmp_path / "tiny.safetensors")
    file = write_schedule(tmp_path, "v", vocals={"betas": [0.5, 0.25], "shift": True})
    song = write_song(tmp_path / "song.wav", 0.5)
    schedule = schedopt.load_schedule(file, model=str(tmp_path / "tiny.safetensors"), device="cpu")
    assert schedule.betas == {"vocals": (0.5, 0.25)}
    stems = schedule.refine(song)
    assert list(stems) == list(schedule.separator.stems)
    argv = ["separate", str(song), "--schedule", str(file), "-n", schedule.model, "-o", str(tmp_path / "out")]
    assert call([*argv, "--float32"]) == 0
    written = read_stems(next((tmp_path / "out").rglob("vocals.wav")).parent)
    torch.testing.assert_close(stems["vocals"], torch.as_tensor(written["vocals"]), atol=1e-6, rtol=0)
    audio = torch.zeros(2, RATE // 4).numpy()
    assert schedule.refine(audio, stems=["drums"])["drums"].shape == audio.shape
    with pytest.raises(DataError, match="has no stem 'voice'"):
        schedule.refine(audio, stems=["voice"])
    with pytest.raises(DataError, match=r"shape \(2, samples\)"):
        schedule.refine(audio[0])
    assert {schedopt.load_schedule(name).model for name in preset_names()} == {"demo"}

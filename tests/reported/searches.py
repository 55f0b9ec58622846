"""Small studies on SQLite files, for the tests of storages and of lost trials."""

from __future__ import annotations

import os
import warnings
from pathlib import Path

import optuna

from schedopt.storage.opening import open_storage


def make(path: Path, sampler: optuna.samplers.BaseSampler | None = None) -> optuna.Study:
    return optuna.create_study(
        storage=open_storage(f"sqlite:///{path}"),
        study_name="s",
        direction="maximize",
        sampler=sampler or optuna.samplers.RandomSampler(seed=os.getpid()),
        load_if_exists=True,
    )


def parabola(trial: optuna.Trial) -> float:
    return -((trial.suggest_float("x", 0, 1) - 0.3) ** 2)


def begin(study: optuna.Study) -> optuna.Trial:
    """A running trial, as `optimize` starts one."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return study.ask()

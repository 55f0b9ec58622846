"""The training code on two tiny songs, and the record of the weights that are shipped."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from demucs.hf import load_safetensors_model

from schedopt.demo.seeds import TRAIN_SEEDS, VALIDATION_SEEDS
from schedopt.demo.songs import draw_batch, load_songs
from schedopt.demo.synth import STEMS, synthesize
from schedopt.demo.train import (
    FLOOR,
    Recipe,
    learning_rate,
    restore,
    save_checkpoint,
    separation_error,
    start_run,
    thin,
    train,
    train_step,
)
from schedopt.demo.weights import MODEL_ARGUMENTS, RECORD, WEIGHTS, plain_snr, separate, sha256_of

TINY = Recipe(steps=2, songs=2, song_seconds=1.0, batch=1, crop_seconds=0.5, validation_songs=1, validation_seconds=1.0)
FLOORS = {"drums": 6.0, "bass": 6.0, "other": 3.0, "vocals": 6.0}  # dB, median of plain SNR


def states_equal(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_training_writes_weights_and_record_and_resumes(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    train(TINY, tmp_path, cache, command="first", processes=1)
    resumed = train(replace(TINY, steps=3), tmp_path, cache, resume=True, command="second", processes=1)

    assert resumed["steps"] == 3
    assert resumed["commands"] == ["first", "second"]
    assert resumed == json.loads((tmp_path / RECORD.name).read_text())
    assert resumed["sha256"] == sha256_of(tmp_path / WEIGHTS.name)
    assert set(resumed["snr_median"]) == set(STEMS)
    model = load_safetensors_model(tmp_path / WEIGHTS.name)
    assert list(model.sources) == list(STEMS)
    assert all(parameter.dtype == torch.float32 for parameter in model.parameters())


def test_a_resumed_run_goes_on_as_if_never_cut(tmp_path: Path) -> None:
    songs = load_songs(tmp_path / "songs", TRAIN_SEEDS[:2], TINY.song_seconds, processes=1)
    run = start_run(TINY)
    train_step(TINY, run, songs)
    save_checkpoint(run, tmp_path / "checkpoint.pt")
    train_step(TINY, run, songs)
    again = start_run(replace(TINY, seed=1))
    restore(again, tmp_path / "checkpoint.pt")
    train_step(TINY, again, songs)
    assert states_equal(run.model.state_dict(), again.model.state_dict())
    assert states_equal(run.averaged.state_dict(), again.averaged.state_dict())


def test_batches_differ_and_repeat_with_their_generator() -> None:
    songs = np.random.default_rng(0).standard_normal((2, 4, 2, 1000)).astype(np.float16)
    first, again, other = (draw_batch(songs, np.random.default_rng(seed), 2, 400) for seed in (1, 1, 2))
    assert first.shape == (2, 4, 2, 400)
    assert first.dtype == np.float32
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_the_learning_rate_rises_and_falls() -> None:
    run = start_run(TINY)
    recipe = replace(TINY, steps=1000)
    rates = []
    for run.step in (0, 99, 500, 1000):
        rates.append(learning_rate(recipe, run))
    assert rates[0] < rates[2] < rates[1] <= recipe.learning_rate
    assert rates[3] == pytest.approx(FLOOR * recipe.learning_rate)


def test_robust_training_ignores_how_an_error_is_spread_and_later_training_does_not() -> None:
    even, peaked = torch.full((1, 4, 2, 100), 0.1), torch.zeros(1, 4, 2, 100)
    peaked[..., :10] = 1.0
    silence = torch.zeros_like(even)
    assert separation_error(even, silence, robust=True) == pytest.approx(0.1, rel=1e-4)
    assert separation_error(peaked, silence, robust=True) == pytest.approx(0.1, rel=1e-4)
    assert separation_error(even, silence, robust=False) == pytest.approx(0.1 + 0.1, rel=1e-4)
    assert separation_error(peaked, silence, robust=False) == pytest.approx(0.1 + 0.1**0.5, rel=1e-4)


def test_a_thinned_curve_keeps_its_mean_and_its_end() -> None:
    curve = thin([float(value) for value in range(200)], every=20, points=100)
    assert len(curve) == 100
    assert curve[-1][0] == 200 * 20
    assert np.mean([loss for _, loss in curve]) == pytest.approx(99.5)


def test_plain_snr_of_a_tenth_of_noise() -> None:
    references = torch.ones(4, 2, 100)
    assert plain_snr(references, 1.1 * references) == pytest.approx(20.0, abs=1e-4)


@pytest.fixture(scope="module")
def record() -> dict[str, Any]:
    content: dict[str, Any] = json.loads(RECORD.read_text())
    return content


def test_the_shipped_weights_are_those_of_the_record(record: dict[str, Any]) -> None:
    assert record["sha256"] == sha256_of(WEIGHTS)
    assert record["model"]["arguments"] == dict(MODEL_ARGUMENTS)
    assert WEIGHTS.stat().st_size <= 12e6


def test_the_shipped_record_meets_its_figures(record: dict[str, Any]) -> None:
    assert len(record["snr_songs"]) >= 20
    assert {int(seed) for seed in record["snr_songs"]} <= set(VALIDATION_SEEDS)
    assert record["train_seeds"][1] <= TRAIN_SEEDS[-1]
    for stem, floor in FLOORS.items():
        values = [song[stem] for song in record["snr_songs"].values()]
        assert record["snr_median"][stem] == pytest.approx(np.median(values), abs=2e-3)
        assert record["snr_median"][stem] >= floor


def test_the_shipped_weights_separate_a_short_excerpt() -> None:
    references = torch.from_numpy(synthesize(900_001, 5.0))
    estimates = separate(load_safetensors_model(WEIGHTS).eval(), references.sum(dim=0))
    assert estimates.shape == references.shape
    assert (plain_snr(references, estimates) > 0).all()

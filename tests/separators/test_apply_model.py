"""Our segmentation equals demucs' own, for every class, length and option."""

from __future__ import annotations

import random
from typing import Any

import pytest
import torch

from schedopt.separators import Separator
from tests.separators.networks import (
    NETWORKS,
    RATE,
    SAMPLES,
    as_demucs_does,
    demucs,
    difference,
    hdemucs,
    htdemucs,
    mixture,
    spectrogram_hdemucs,
)

TOLERANCE = 1e-5
# The last is cut so that 3 samples remain for the last segment.
LENGTHS = [1_000, SAMPLES, 3 * SAMPLES]
# A shorter last piece makes apply_model itself fail with this class (torch.stft mirrors half a window).
SPECTROGRAM_LENGTHS = [SAMPLES // 2, SAMPLES, 24_000]


def lengths_for(kind: str) -> list[int]:
    return SPECTROGRAM_LENGTHS if kind in ("hdemucs, spectrogram", "bag") else LENGTHS


@pytest.mark.parametrize("kind", NETWORKS)
def test_equal_to_apply_model(kind: str) -> None:
    model = NETWORKS[kind]()
    separator = Separator.from_model(model, device="cpu")
    for samples in lengths_for(kind):
        wave = mixture(samples)
        assert difference(separator(wave[None])[0], as_demucs_does(model, wave)) < TOLERANCE, samples


@pytest.mark.parametrize("kind", NETWORKS)
def test_segments_of_several_mixtures_in_one_batch(kind: str) -> None:
    model = NETWORKS[kind]()
    waves = torch.stack([mixture(SAMPLES + 500, seed) for seed in range(2)])
    alone = Separator.from_model(model, device="cpu")(waves)
    together = Separator.from_model(model, device="cpu", batch_segments=3)(waves)
    assert difference(together, alone) < TOLERANCE


@pytest.mark.parametrize(
    "options", [{"overlap": 0.5}, {"overlap": 0.0}, {"segment": 0.2}, {"overlap": 0.1, "segment": 0.1}]
)
@pytest.mark.parametrize("kind", ["htdemucs", "hdemucs", "demucs"])
def test_overlap_and_segment(kind: str, options: dict[str, Any]) -> None:
    model, wave = NETWORKS[kind](), mixture(2 * SAMPLES + 321)
    estimates = Separator.from_model(model, device="cpu", **options)(wave[None])[0]
    assert difference(estimates, as_demucs_does(model, wave, **options)) < TOLERANCE


def test_one_mixture_alone_gives_the_same_bits_as_in_a_batch() -> None:
    separator = Separator.from_model(hdemucs(), device="cpu")
    waves = torch.stack([mixture(SAMPLES // 2, seed) for seed in range(3)])
    assert torch.equal(separator(waves)[1:2], separator(waves[1:2]))


@pytest.mark.parametrize("shift", [0, 4_321, RATE // 2])
def test_shift_is_one_term_of_the_shift_trick(shift: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(random, "randint", lambda _, largest: largest - shift)
    model, wave = demucs(), mixture(SAMPLES)
    estimates = Separator.from_model(model, device="cpu")(wave[None], shift=shift)[0]
    assert difference(estimates, as_demucs_does(model, wave, shifts=1)) < TOLERANCE


def test_a_last_piece_too_short_for_the_transform_is_padded() -> None:
    separator = Separator.from_model(spectrogram_hdemucs(), device="cpu")
    for samples in (2, 1_000, SAMPLES + 50):
        assert separator(mixture(samples)[None]).isfinite().all(), samples


def test_bfloat16_runs_and_is_near() -> None:
    waves = mixture(SAMPLES // 2)[None]
    for model in (htdemucs(), hdemucs(), demucs()):
        exact = Separator.from_model(model, device="cpu")(waves)
        rough = Separator.from_model(model, device="cpu", precision="bfloat16")(waves)
        assert rough.dtype == torch.float32
        assert 0 < difference(rough, exact) < 0.05

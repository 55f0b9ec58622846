"""SNR and SI-SDR: by hand, by their properties, and against formulas written out plainly."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from schedopt.metrics import CEILING_DB, FLOOR_DB, si_sdr, snr
from tests.metrics.signals import noise

SEEDS = st.integers(0, 2**32 - 1)


def test_snr_by_hand() -> None:
    reference = torch.tensor([[1.0, -1.0, 1.0, -1.0], [2.0, 0.0, 0.0, 0.0]])
    estimate = torch.tensor([[0.5, -0.5, 0.5, -0.5], [2.0, 0.2, 0.0, 0.0]])
    # 10·log10(4 / 1) and 10·log10(4 / 0.04)
    assert snr(reference, estimate).item() == pytest.approx((6.0206 + 20) / 2, abs=1e-4)


def test_si_sdr_by_hand() -> None:
    reference = torch.tensor([[3.0, 0.0, 4.0, 0.0]])
    estimate = torch.tensor([[3.0, 1.0, 4.0, 2.0]])  # α = 1, distortion (0, 1, 0, 2)
    assert si_sdr(reference, estimate).item() == pytest.approx(10 * math.log10(25 / 5), abs=1e-9)


def test_si_sdr_keeps_the_mean() -> None:
    reference = torch.tensor([[1.0, 1.0, -1.0, -1.0]])
    # the offset is distortion: ‖x‖² / ‖offset‖² = 4 / 1
    assert si_sdr(reference, reference + 0.5).item() == pytest.approx(10 * math.log10(4), abs=1e-6)


@pytest.mark.parametrize("decibels", [-40, 0, 40, 80, 120])
def test_as_written_in_the_papers(decibels: int) -> None:
    reference = noise(2, 4000)
    estimate = reference + 10 ** (-decibels / 20) * noise(2, 4000, seed=1)
    x, y = reference.double().numpy(), estimate.double().numpy()
    scaled = ((y * x).sum(-1) / (x**2).sum(-1))[:, None] * x
    plain_si_sdr = np.mean(10 * np.log10((scaled**2).sum(-1) / ((scaled - y) ** 2).sum(-1)))
    plain_snr = np.mean(10 * np.log10((x**2).sum(-1) / ((x - y) ** 2).sum(-1)))
    assert si_sdr(reference, estimate).item() == pytest.approx(plain_si_sdr, abs=1e-9)
    assert snr(reference, estimate).item() == pytest.approx(plain_snr, abs=1e-9)


@pytest.mark.parametrize("level", [1e3, 1e-6, 1e-15])
def test_the_common_level_does_not_matter(level: float) -> None:
    reference, estimate = noise(2, 1000), noise(2, 1000) + 0.1 * noise(2, 1000, seed=1)
    for metric in (snr, si_sdr):
        expected = metric(reference, estimate).item()
        assert metric(level * reference, level * estimate).item() == pytest.approx(expected, abs=1e-4)


def test_a_silent_estimate_has_an_snr_of_zero_by_the_formula() -> None:
    assert snr(noise(2, 100), torch.zeros(2, 100)).item() == 0


def test_an_estimate_without_the_reference_in_it_gets_the_floor() -> None:
    assert si_sdr(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])).item() == FLOOR_DB


def test_perfect_estimates_reach_the_ceiling() -> None:
    reference = noise(2, 100)
    assert snr(reference, reference).item() == CEILING_DB
    assert si_sdr(reference, -2 * reference).item() == CEILING_DB


@settings(max_examples=30, deadline=None)
@given(seed=SEEDS, gain=st.floats(1e-3, 1e3), sign=st.sampled_from([-1, 1]))
def test_the_gain_of_the_estimate_does_not_matter_to_si_sdr(seed: int, gain: float, sign: int) -> None:
    reference = noise(1, 500, seed=seed)
    estimate = reference + 0.3 * noise(1, 500, seed=seed + 1)
    expected = si_sdr(reference, estimate).item()
    assert si_sdr(reference, sign * gain * estimate).item() == pytest.approx(expected, abs=1e-4)


@settings(max_examples=30, deadline=None)
@given(seed=SEEDS, level=st.floats(1e-3, 1))
def test_noise_lowers(seed: int, level: float) -> None:
    reference, disturbance = noise(1, 500, seed=seed), noise(1, 500, seed=seed + 1)
    disturbance -= (disturbance * reference).sum() / reference.square().sum() * reference  # ⟂ to the reference
    for metric in (snr, si_sdr):
        assert metric(reference, reference + 2 * level * disturbance) < metric(
            reference, reference + level * disturbance
        )

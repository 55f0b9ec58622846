"""SI-SIR and SI-SAR: by hand, by their identities, and against least squares written out."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from schedopt.errors import DataError
from schedopt.metrics import CEILING_DB, FLOOR_DB, si_sar, si_sdr, si_sir
from tests.metrics.signals import noise

SEEDS = st.integers(0, 2**32 - 1)


def share(decibels: Tensor) -> float:
    """Energy over the target's."""
    return float(10 ** (-decibels.item() / 10))


def by_least_squares(references: Tensor, target: int, estimate: Tensor) -> tuple[float, float]:
    """SI-SIR and SI-SAR of one channel: references (stems, samples), estimate (samples,)."""
    x, y = references.double().numpy().T, estimate.double().numpy()
    wanted = (y @ x[:, target]) / (x[:, target] @ x[:, target]) * x[:, target]
    projection = x @ np.linalg.lstsq(x, y, rcond=None)[0]
    energies = [np.sum(part**2) for part in (wanted, projection - wanted, y - projection)]
    with np.errstate(divide="ignore"):  # of one stem the projection may be what is wanted to the last bit
        return tuple(float(10 * np.log10(energies[0] / energy)) for energy in energies[1:])  # type: ignore[return-value]


def test_by_hand() -> None:
    references = torch.tensor([[[3.0, 0, 0]], [[0, 2.0, 0]]])  # (stems, channels, samples)
    estimate = torch.tensor([[3.0, 1.0, 0.5]])
    assert si_sir(references, 0, estimate).item() == pytest.approx(10 * math.log10(9 / 1))
    assert si_sar(references, 0, estimate).item() == pytest.approx(10 * math.log10(9 / 0.25))


@pytest.mark.parametrize("artifacts", [1.0, 1e-3, 1e-6])
@pytest.mark.parametrize("stems", [1, 2, 4, 6])
def test_equal_to_least_squares(stems: int, artifacts: float) -> None:
    references = noise(stems, 2, 3000)
    references[:, 1] += 0.8 * references[0, 0]  # stems correlate in one channel
    mixture = (torch.linspace(1, 0.1, stems)[:, None, None] * references).sum(dim=0)
    estimate = mixture + artifacts * noise(2, 3000, seed=1)
    expected = np.mean([by_least_squares(references[:, c], 0, estimate[c]) for c in range(2)], axis=0)
    assert si_sar(references, 0, estimate).item() == pytest.approx(expected[1], abs=1e-8)
    if stems > 1:
        assert si_sir(references, 0, estimate).item() == pytest.approx(expected[0], abs=1e-8)
    else:
        assert si_sir(references, 0, estimate).item() == CEILING_DB


@settings(max_examples=25, deadline=None)
@given(seed=SEEDS, bleed=st.floats(0, 2), artifacts=st.floats(1e-3, 2), target=st.integers(0, 2))
def test_shares_add_up_to_si_sdr(seed: int, bleed: float, artifacts: float, target: int) -> None:
    references = noise(3, 1, 700, seed=seed)
    estimate = references[target] + bleed * references[target - 1] + artifacts * noise(1, 700, seed=seed + 1)
    parts = share(si_sir(references, target, estimate)) + share(si_sar(references, target, estimate))
    assert parts == pytest.approx(share(si_sdr(references[target], estimate)), rel=1e-9)


@settings(max_examples=25, deadline=None)
@given(seed=SEEDS, gain=st.floats(1e-3, 1e3), sign=st.sampled_from([-1, 1]), level=st.sampled_from([1e-9, 1.0, 1e6]))
def test_gains_do_not_matter(seed: int, gain: float, sign: int, level: float) -> None:
    references = noise(3, 1, 700, seed=seed)
    estimate = references[0] + 0.4 * references[1] + 0.2 * noise(1, 700, seed=seed + 1)
    scaled = references * torch.tensor([1.0, 1e-4, 30.0])[:, None, None] * level
    for metric in (si_sir, si_sar):
        expected = metric(references, 0, estimate).item()
        assert metric(scaled, 0, sign * gain * estimate).item() == pytest.approx(expected, abs=1e-4)


def test_one_kind_of_error_leaves_the_other_at_the_ceiling() -> None:
    references = noise(3, 2, 2000)
    bleeding = references[0] + 0.5 * references[1]
    assert si_sar(references.double(), 0, bleeding.double()) > 100
    assert si_sar(references, 0, references[0]).item() == CEILING_DB
    assert si_sir(references, 0, -3 * references[0]).item() == CEILING_DB
    assert si_sir(references, 0, bleeding).item() == pytest.approx(6.0, abs=0.5)


def test_silent_doubled_and_summed_stems() -> None:
    """Of stems that depend on one another only their span counts."""
    references = noise(2, 2, 2000)
    estimate = references[0] + 0.3 * references[1] + 0.1 * noise(2, 2000, seed=1)
    more = torch.cat([references, torch.zeros(1, 2, 2000), references[1:], references.sum(dim=0, keepdim=True)])
    for metric in (si_sir, si_sar):
        assert metric(more, 0, estimate).item() == pytest.approx(metric(references, 0, estimate).item(), abs=1e-5)


def test_a_channel_without_the_target_does_not_count() -> None:
    references = noise(2, 2, 2000)
    estimate = references[0] + 0.3 * references[1] + 0.1 * noise(2, 2000, seed=1)
    references[0, 1] = 0
    for metric in (si_sir, si_sar):
        left = metric(references[:, :1], 0, estimate[:1]).item()
        assert metric(references, 0, estimate).item() == pytest.approx(left, abs=1e-9)


def test_an_estimate_without_the_target_gets_the_floor() -> None:
    references = torch.tensor([[[1.0, 0, 0]], [[0, 1.0, 0]]])
    estimate = torch.tensor([[0.0, 1, 1]])
    assert si_sir(references, 0, estimate).item() == si_sar(references, 0, estimate).item() == FLOOR_DB


def test_longer_than_a_block(monkeypatch: pytest.MonkeyPatch) -> None:
    references = noise(3, 2, 2000)
    estimates = references[1] + 0.3 * references[0] + 0.1 * noise(2, 2, 2000, seed=1)
    expected = [metric(references, 1, estimates) for metric in (si_sir, si_sar)]
    monkeypatch.setattr("schedopt.metrics._base.BLOCK", 300)
    monkeypatch.setattr("schedopt.metrics._base.MIN_BLOCK", 70)
    for metric, whole in zip((si_sir, si_sar), expected, strict=True):
        assert torch.allclose(metric(references, 1, estimates), whole, rtol=0, atol=1e-9)


def test_other_lengths_are_refused() -> None:
    with pytest.raises(DataError, match="does not fit its reference of shape"):
        si_sir(noise(2, 1, 100), 0, noise(1, 99))

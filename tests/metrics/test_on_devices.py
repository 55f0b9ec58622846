"""Metrics on cuda and mps: the right device, no float64 where there is none, the CPU's scores."""

from __future__ import annotations

from collections import Counter

import pytest
import torch

from schedopt.metrics import METRICS, PreparedReference, frame_scores, scorer, sdr
from tests.devices import DEVICES, Kind, fake_device
from tests.metrics.signals import noise, sines


def signals() -> tuple[torch.Tensor, torch.Tensor]:
    """References (stems, channels, samples), one channel silent, and estimates of the first: bad, good, very good."""
    references = noise(3, 2, 5000)
    references[0, 1] = 0
    errors = torch.tensor([1.0, 1e-2, 1e-5])[:, None, None] * noise(3, 2, 5000, seed=1)
    return references, references[0] + 0.1 * errors[:1] * references[1] + errors


@pytest.mark.slow
@pytest.mark.parametrize("kind", DEVICES)
@pytest.mark.parametrize("metric", METRICS)
def test_scores_are_those_of_the_cpu(metric: str, kind: Kind) -> None:
    references, estimates = signals()
    expected = scorer(metric, references=references, target=0, sample_rate=1000)(estimates)
    with fake_device(kind) as device:
        score = scorer(metric, references=references.to(device), target=0, sample_rate=1000)
        found = score(estimates.to(device))
        assert found.device.type == ("cuda" if kind == "cuda" else "cpu")
        found = found.cpu()
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("metric", METRICS)
def test_scoring_does_not_wait_for_the_gpu(metric: str) -> None:
    references, estimates = signals()
    waits: Counter[str] = Counter()
    with fake_device("cuda", waits) as device:
        score = scorer(metric, references=references.to(device), target=0, sample_rate=1000)
        estimates = estimates.to(device)
        waits.clear()
        score(estimates)
    assert not waits


@pytest.mark.parametrize("kind", DEVICES)
@pytest.mark.parametrize("keep", [True, False])
def test_a_singular_reference(kind: Kind, keep: bool) -> None:
    reference = sines(4000, 100.2) * torch.hann_window(4000)
    estimate = reference + 0.1 * noise(2, 4000)
    expected = sdr(reference, estimate)
    with fake_device(kind) as device:
        prepared = PreparedReference(reference.to(device), keep_transform=keep)
        found = prepared.sdr(estimate.to(device)).cpu()
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("kind", DEVICES)
def test_frames(kind: Kind) -> None:
    references, estimates = signals()
    expected = frame_scores(references, 0, estimates, 1000)
    with fake_device(kind) as device:
        found = frame_scores(references.to(device), 0, estimates.to(device), 1000).cpu()
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-9, equal_nan=True)

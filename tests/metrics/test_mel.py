"""Bleedless and fullness, against their definition written out once more with scipy, and by their limits."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.signal
import stempeg
import torch
from numpy.typing import NDArray
from torch import Tensor

from schedopt.metrics import bleedless, fullness
from schedopt.metrics._mel import mel_bank
from tests.metrics.signals import noise, sines

Array = NDArray[np.float64]


def triangles(rate: int) -> Array:
    """librosa's default filters, band by band and frequency by frequency: (512, 2049)."""

    def hertz(mel: float) -> float:
        return mel * 200 / 3 if mel < 15 else 1000 * float(np.exp((mel - 15) * np.log(6.4) / 27))

    def mel(hertz: float) -> float:
        return hertz * 3 / 200 if hertz < 1000 else 15 + 27 * float(np.log(hertz / 1000) / np.log(6.4))

    edges = [hertz(m) for m in np.linspace(0, mel(rate / 2), 514)]
    weights = np.zeros((512, 2049))
    for band, (left, middle, right) in enumerate(zip(edges[:-2], edges[1:-1], edges[2:], strict=True)):
        for k in range(2049):
            frequency = k * rate / 4096
            if left < frequency <= middle:
                weights[band, k] = (frequency - left) / (middle - left)
            elif middle < frequency < right:
                weights[band, k] = (right - frequency) / (right - middle)
        weights[band] *= 2 / (right - left)
    return weights


def levels(audio: Tensor, weights: Array) -> Array:
    padded = np.pad(audio.double().numpy(), ((0, 0), (2048, 2048)))
    window = scipy.signal.get_window("hann", 4096)
    frames = [padded[:, start : start + 4096] * window for start in range(0, padded.shape[1] - 4095, 1024)]
    spectra = np.abs(scipy.fft.rfft(np.stack(frames, axis=1)))  # (channels, frames, 2049)
    decibels = 20 * np.log10(np.maximum(spectra @ weights.T, 1e-10))
    return np.asarray(np.maximum(decibels, decibels.max() - 80))


def written_out(reference: Tensor, estimate: Tensor, rate: int = 44_100) -> tuple[float, float]:
    weights = triangles(rate)
    difference = levels(estimate, weights) - levels(reference, weights)
    much, little = difference[difference > 0], -difference[difference < 0]
    return 100 / (1 + (much.mean() if much.size else 0)), 100 / (1 + (little.mean() if little.size else 0))


@pytest.mark.parametrize("samples", [1, 700, 4096, 30_000])
@pytest.mark.parametrize("rate", [8000, 44_100])
def test_equal_to_the_definition(samples: int, rate: int) -> None:
    reference = noise(2, samples)
    estimate = 0.7 * reference + 0.2 * noise(2, samples, seed=1)
    expected = written_out(reference, estimate, rate)
    assert bleedless(reference, estimate, rate).item() == pytest.approx(expected[0], abs=1e-8)
    assert fullness(reference, estimate, rate).item() == pytest.approx(expected[1], abs=1e-8)


def test_equal_to_the_definition_on_tones_of_wide_range() -> None:
    reference = torch.cat([sines(20_000, 40.2, 333.3), 1e-7 * sines(20_000, 7.1), torch.zeros(2, 9000)], dim=1)
    reference[1] *= 1e-3
    estimate = reference + 1e-3 * sines(49_000, 12.3)
    expected = written_out(reference, estimate)
    assert bleedless(reference, estimate).item() == pytest.approx(expected[0], abs=1e-8)
    assert fullness(reference, estimate).item() == pytest.approx(expected[1], abs=1e-8)


@pytest.mark.parametrize("rate", [1500, 8000, 44_100, 96_000])
def test_filters(rate: int) -> None:
    np.testing.assert_allclose(mel_bank(rate).T.numpy(), triangles(rate), atol=1e-12)


def test_many_frames_are_transformed_in_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    reference, estimate = noise(1, 40_000), noise(1, 40_000, seed=1)
    whole = bleedless(reference, estimate).item()
    monkeypatch.setattr("schedopt.metrics._mel.FRAMES", 7)
    assert bleedless(reference, estimate).item() == pytest.approx(whole, abs=1e-9)


def test_what_they_tell_apart() -> None:
    reference = noise(2, 20_000)
    assert bleedless(reference, reference).item() == fullness(reference, reference).item() == 100
    assert bleedless(reference, 0.5 * reference).item() == 100
    assert fullness(reference, 0.5 * reference).item() == pytest.approx(100 / (1 + 6.0206), abs=0.01)
    assert fullness(reference, 2 * reference).item() == 100
    assert bleedless(reference, 2 * reference).item() == pytest.approx(100 / (1 + 6.0206), abs=0.01)
    assert bleedless(reference, torch.zeros(2, 20_000)).item() == 100
    assert fullness(reference, torch.zeros(2, 20_000)).item() < 1


@pytest.mark.slow
def test_equal_to_msst_on_a_song() -> None:
    """Values that `bleed_full` of Music-Source-Separation-Training gave (librosa's filters, float32)."""
    stems, _ = stempeg.read_stems(stempeg.example_stem_path(), stem_id=[1, 4], ffmpeg_format="s16le")
    drums, vocals = torch.from_numpy(np.asarray(stems)).float().mT
    assert bleedless(vocals, vocals + 0.1 * drums).item() == pytest.approx(25.6894, abs=1e-3)
    assert fullness(vocals, vocals + 0.1 * drums).item() == pytest.approx(56.6849, abs=1e-3)

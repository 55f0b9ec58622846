"""cSDR: equal to museval's own code, on made signals and on a song of MUSDB18."""

from __future__ import annotations

import museval.metrics
import numpy as np
import pytest
import stempeg
import torch
from numpy.testing import assert_allclose
from torch import Tensor

from schedopt.errors import DataError
from schedopt.metrics import CEILING_DB, FLOOR_DB, METRICS, csdr, frame_scores
from tests.metrics.signals import noise


def by_museval(references: Tensor, estimates: Tensor, rate: int, taps: int = 512) -> np.ndarray:
    """museval's SDR (stems, frames) of (stems, channels, samples) each. `taps` do not enter it, but its time."""
    x, y = (audio.double().mT.numpy() for audio in (references, estimates))
    return np.asarray(museval.metrics.bss_eval(x, y, window=rate, hop=rate, filters_len=taps)[0])


@pytest.mark.parametrize("samples", [900, 1000, 1001, 2500, 5000, 5999])
def test_equal_to_museval(samples: int) -> None:
    references = noise(2, 2, samples)
    estimates = references + 0.3 * references.flip(0) + 0.1 * noise(2, 2, samples, seed=1)
    expected = by_museval(references, estimates, 1000, taps=4)
    for target in range(2):
        frames = frame_scores(references, target, estimates[target], 1000)
        assert_allclose(frames, expected[target], atol=1e-6)
        score = csdr(references, target, estimates[target], 1000).item()
        assert score == pytest.approx(float(np.nanmedian(expected[target])), abs=1e-6)


def test_equal_to_museval_where_stems_pause() -> None:
    references, estimates = noise(2, 2, 8000), noise(2, 2, 8000, seed=1)
    estimates += references
    references[0, :, 1000:2000] = 0
    references[1, :, 3000:4500] = 0
    references[1, 0, 5000:6000] = -references[1, 1, 5000:6000]  # channels that add up to silence, as museval adds them
    estimates[0, :, 6000:7000] = estimates[1, :, 6000:7000] = 0
    expected = by_museval(references, estimates, 1000, taps=4)
    assert np.isnan(expected[0]).tolist() == [False, True, False, True, False, True, True, False]
    for target in range(2):
        assert_allclose(frame_scores(references, target, estimates[target], 1000), expected[target], atol=1e-6)
        score = csdr(references, target, estimates[target], 1000).item()
        assert score == pytest.approx(float(np.nanmedian(expected[target])), abs=1e-6)


@pytest.mark.slow
def test_equal_to_museval_on_a_song() -> None:
    """The excerpt of MUSDB18 that stempeg carries, as museval reads it, with estimates between mixture and truth."""
    stems, rate = stempeg.read_stems(stempeg.example_stem_path(), stem_id=[1, 2, 3, 4], ffmpeg_format="s16le")
    references = torch.from_numpy(np.asarray(stems)).float().mT[:, :, : 3 * rate + 100].contiguous()
    estimates = 0.8 * references + 0.05 * references.sum(dim=0) + 0.001 * noise(*references.shape)
    expected = np.nanmedian(by_museval(references, estimates, rate, taps=1), axis=1)
    scores = [csdr(references, target, estimates[target], rate).item() for target in range(4)]
    assert_allclose(scores, expected, atol=1e-6)


def test_frames_by_hand() -> None:
    """Energy ratio over both channels of each second; seconds in which a stem is silent do not count."""
    references = noise(2, 2, 40)
    references[1, :, 10:20] = 0
    frames = frame_scores(references, 0, references[0] + 0.1, 10)
    energy = references[0].double().reshape(2, 4, 10).square().sum(dim=(0, 2))
    expected = 10 * torch.log10(energy / (20 * 0.1**2))
    assert frames.isnan().tolist() == [False, True, False, False]
    assert_allclose(frames[[0, 2, 3]], expected[[0, 2, 3]], atol=1e-4)
    assert csdr(references, 0, references[0] + 0.1, 10).item() == pytest.approx(
        expected[[0, 2, 3]].median().item(), abs=1e-4
    )


def test_publications_take_the_median_over_songs() -> None:
    assert METRICS["csdr"].over_tracks == "median"


def test_limits() -> None:
    references = noise(2, 2, 3000)
    assert csdr(references, 0, references[0], 1000).item() == CEILING_DB
    assert csdr(references, 0, torch.zeros(2, 3000), 1000).item() == FLOOR_DB
    references[0, :, :1500] = references[1, :, 1000:] = 0
    with pytest.raises(DataError, match="no second in which all stems sound"):
        csdr(references, 0, references[0], 1000)

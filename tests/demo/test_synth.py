"""Generated songs: the same again for the same seed, four stems that sound, and nothing that clips."""

from itertools import combinations

import numpy as np
import pytest

from schedopt.demo import seeds
from schedopt.demo.synth import SAMPLE_RATE, STEMS, synthesize
from schedopt.types import STEMS as EVERYWHERE

# Seeds of no range in schedopt.demo.seeds: tests learn nothing about the songs that figures are stated for.
SEEDS = (900_001, 900_002, 900_003)
SECONDS = 6.0


@pytest.fixture(scope="module")
def songs() -> list[np.ndarray]:
    return [synthesize(seed, SECONDS) for seed in SEEDS]


def test_the_stems_are_in_the_order_of_the_project() -> None:
    assert STEMS == EVERYWHERE


def test_a_song_is_stereo_float32_stems(songs: list[np.ndarray]) -> None:
    for song in songs:
        assert song.shape == (4, 2, round(SECONDS * SAMPLE_RATE))
        assert song.dtype == np.float32
        assert np.isfinite(song).all()


def test_the_same_seed_gives_the_same_samples(songs: list[np.ndarray]) -> None:
    np.random.default_rng(0).standard_normal(1000)  # other generators do not matter
    assert np.array_equal(songs[0], synthesize(SEEDS[0], SECONDS))


def test_the_mixture_stays_below_full_scale(songs: list[np.ndarray]) -> None:
    for song in songs:
        assert 0.3 < np.abs(song.sum(axis=0)).max() < 1


def test_stems_and_songs_differ(songs: list[np.ndarray]) -> None:
    stems = [stem.ravel() for song in songs for stem in song]
    for one, other in combinations(stems, 2):
        likeness = abs(one @ other) / (np.linalg.norm(one) * np.linalg.norm(other))
        assert likeness < 0.3


def test_all_stems_sound_over_most_of_a_song(songs: list[np.ndarray]) -> None:
    for song in songs:
        frames = song.reshape(4, 2, -1, SAMPLE_RATE // 4)  # quarters of a second
        loudness = np.sqrt(np.mean(frames**2, axis=(1, 3)))  # (stems, frames)
        audible = loudness > 0.05 * loudness.max(axis=1, keepdims=True)
        assert (audible.mean(axis=1) > 0.5).all()
        assert audible.all(axis=0).mean() > 0.3  # and together, not in turn


def test_a_channel_is_not_a_copy_of_the_other(songs: list[np.ndarray]) -> None:
    for song in songs:
        left, right = song.sum(axis=0)
        assert np.abs(left - right).max() > 0.01


def test_the_stems_are_of_like_loudness(songs: list[np.ndarray]) -> None:
    for song in songs:
        decibels = 10 * np.log10(np.mean(song**2, axis=(1, 2)))
        assert np.ptp(decibels) < 20


def test_other_lengths_and_rates() -> None:
    assert synthesize(SEEDS[0], 0.5, 48_000).shape == (4, 2, 24_000)


@pytest.mark.parametrize(("seconds", "rate"), [(0.1, 44_100), (float("nan"), 44_100), (2.0, 8_000)])
def test_what_cannot_be_rendered_is_refused(seconds: float, rate: int) -> None:
    with pytest.raises(ValueError, match=str(rate if rate < 44_100 else seconds)):
        synthesize(SEEDS[0], seconds, rate)


def test_no_seed_serves_two_purposes() -> None:
    ranges = [seeds.TRAIN_SEEDS, seeds.SEARCH_SEEDS, seeds.HELD_OUT_SEEDS, seeds.VALIDATION_SEEDS]
    for one, other in combinations(ranges, 2):
        assert not set(one) & set(other)

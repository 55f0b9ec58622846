"""Statistics on made data whose answer is known: false verdicts, coverage, corrections, edges."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
import scipy.stats
from numpy.testing import assert_allclose
from numpy.typing import NDArray

from schedopt.errors import DataError
from schedopt.proof.statistics import ALPHA, MIN_TRACKS, SAFETY, Comparison, Inference, compare, infer

Array = NDArray[np.float64]
Draw = Callable[[np.random.Generator, tuple[int, ...]], Array]

NO_DIFFERENCE: dict[str, Draw] = {
    "normal": lambda rng, shape: rng.standard_normal(shape),
    "heavy tails (Student's t, 3)": lambda rng, shape: rng.standard_t(3, shape),
    "exponential": lambda rng, shape: rng.exponential(1, shape) - 1,
    "exponential, mirrored": lambda rng, shape: 1 - rng.exponential(1, shape),
    "log-normal": lambda rng, shape: rng.lognormal(0, 0.5, shape) - np.exp(0.125),
    "10 % outliers": lambda rng, shape: rng.standard_normal(shape) * np.where(rng.random(shape) < 0.1, 10, 1),
    "a third are ties": lambda rng, shape: rng.standard_normal(shape) * (rng.random(shape) > 1 / 3),
}
"""Differences between tracks, mean 0."""

BENCHMARKS = 400
"""Simulated benchmarks: the standard error of 3 % is 0.9 points."""

RESAMPLES = 1999
"""Fewer than in earnest: errors hardly depend on their number, the seconds do."""


def by_track(values: Any, tracks: range | None = None) -> dict[str, float]:
    return {f"track {k}": float(v) for k, v in zip(tracks or range(len(values)), values, strict=True)}


def made(*differences: Any) -> list[Comparison]:
    return compare([by_track(one) for one in differences], np.random.default_rng(0))


def in_chunks(x: Array, rng: np.random.Generator, **options: Any) -> Inference:
    parts = [infer(x[i : i + 50], rng, resamples=RESAMPLES, **options) for i in range(0, len(x), 50)]
    return Inference(*(np.concatenate(part) for part in zip(*parts, strict=True)))


@pytest.mark.parametrize("tracks", [14, 50])
@pytest.mark.parametrize("kind", list(NO_DIFFERENCE))
def test_of_five_comparisons_none_is_false_in_95_percent(kind: str, tracks: int) -> None:
    rng = np.random.default_rng(tracks)
    found = in_chunks(NO_DIFFERENCE[kind](rng, (BENCHMARKS, 5, tracks)), rng)
    assert ((found.low > 0) | (found.high < 0)).any(axis=-1).mean() <= ALPHA


@pytest.mark.parametrize("tracks", [MIN_TRACKS, 12])
def test_one_comparison_is_rarely_false_and_its_interval_not_idle(tracks: int) -> None:
    rng = np.random.default_rng(tracks)
    found = in_chunks(rng.standard_normal((BENCHMARKS, 1, tracks)), rng)
    assert ((found.low > 0) | (found.high < 0)).mean() <= ALPHA
    assert np.isfinite(found.high - found.low).mean() > 0.99


def test_without_the_safety_skewed_differences_are_called_different() -> None:
    """Why there is one; a test that stays green without it would show nothing."""
    rng = np.random.default_rng(14)
    skewed = rng.lognormal(0, 1, (BENCHMARKS, 5, 50)) - np.exp(0.5)
    found = in_chunks(skewed, rng, safety=1.0)
    assert ((found.low > 0) | (found.high < 0)).any(axis=-1).mean() > ALPHA


def test_p_below_alpha_and_an_interval_without_zero_are_the_same_event() -> None:
    rng = np.random.default_rng(3)
    x = rng.normal(0.3, 0.3, (300, 4, 14)) * (rng.random((300, 4, 14)) > 0.2)
    found = in_chunks(x, rng)
    excluded = (found.low > 0) | (found.high < 0)
    assert 0.2 < excluded.mean() < 0.8, "both must happen"
    assert ((found.p <= ALPHA) == excluded).all()


def test_a_difference_is_found() -> None:
    """+0.2 dB with 0.2 dB of spread over 18 tracks, as in a first look at the demo."""
    rng = np.random.default_rng(5)
    x = rng.normal(0.2, 0.2, (150, 1, 18))
    assert (in_chunks(x, rng).low > 0).mean() > 0.8
    assert (in_chunks(-x, rng).high < 0).mean() > 0.8
    assert (in_chunks(x[:, :, :12] + 0.1, rng).low > 0).mean() > 0.8


def test_p_is_safety_times_students_for_many_normal_tracks() -> None:
    x = np.random.default_rng(1).normal(0.15, 1, 400) + 0.05
    expected = SAFETY * scipy.stats.ttest_1samp(x, 0).pvalue
    assert expected < 0.2
    assert made(x)[0].p == pytest.approx(expected, rel=0.3)


def test_independent_comparisons_cost_and_equal_ones_do_not() -> None:
    rng = np.random.default_rng(6)
    x = rng.normal(0.25, 0.4, 20)
    alone = made(x)[0]
    same = made(x, x, x, 2 * x)
    assert [one.p for one in same] == pytest.approx([alone.p] * 4)
    assert same[0].low == pytest.approx(alone.low)
    others = rng.normal(0, 0.4, (7, 20))
    beside = made(x, *others)[0]
    assert beside.p == pytest.approx(8 * alone.p, rel=0.4)
    assert beside.low is not None
    assert alone.low is not None
    assert beside.low < alone.low
    assert beside.mean == alone.mean


def test_the_interval_is_never_shorter_than_students() -> None:
    x = np.random.default_rng(6).normal(0.3, 1, 20)
    (one,) = made(x)
    low, high = scipy.stats.t.interval(1 - ALPHA / SAFETY, 19, loc=x.mean(), scale=x.std(ddof=1) / np.sqrt(20))
    assert one.low is not None
    assert one.high is not None
    assert one.low <= low + 1e-9 < high - 1e-9 <= one.high
    assert one.high - one.low < 1.4 * (high - low)


def test_leading_indices_equal_one_by_one() -> None:
    x = np.random.default_rng(7).normal(size=(2, 3, 9))
    together = infer(x, np.random.default_rng(0), resamples=999)
    assert together.low.shape == together.p.shape == (2, 3)
    for part, one in zip(together, infer(x[1], np.random.default_rng(0), resamples=999), strict=True):
        assert_allclose(part[1], one)


def test_comparisons_over_different_tracks() -> None:
    """A stem that is silent in some tracks is compared on the others; what it lacks changes nothing by itself."""
    rng = np.random.default_rng(9)
    x, y = rng.normal(0.3, 0.4, 20), rng.normal(0.1, 0.2, 15)
    both = compare([by_track(x), by_track(y, range(5, 20))], np.random.default_rng(0))
    assert [one.tracks for one in both] == [20, 15]
    assert both[1].mean == pytest.approx(y.mean())
    alone = made(y)[0]
    assert alone.low is not None
    assert both[1].low is not None
    assert both[1].low == pytest.approx(alone.low, abs=0.06)
    shuffled = dict(sorted(by_track(x).items(), key=lambda item: item[1]))
    again = compare([by_track(x), shuffled], np.random.default_rng(0))
    assert again[0] == again[1]


def test_the_same_generator_gives_the_same_comparison_and_units_do_not_matter() -> None:
    x = np.random.default_rng(8).normal(0.1, 0.2, 14)
    first, again = made(x), made(x)
    assert first == again
    (large,) = made(1e3 * x)
    assert large.low == pytest.approx(1e3 * (first[0].low or 0))


def test_counts_and_verdicts() -> None:
    (better,) = made(np.linspace(0.1, 0.3, 12))
    assert (better.wins, better.losses, better.ties, better.verdict) == (12, 0, 0, "better")
    assert better.mean == pytest.approx(0.2)
    assert made(-np.linspace(0.1, 0.3, 12))[0].verdict == "worse"
    (mixed,) = made([0.1, -0.1, 0.0, 1e-9, 0.2, -0.2])
    assert (mixed.wins, mixed.losses, mixed.ties) == (2, 2, 2)
    assert mixed.verdict == "no measurable difference"


def test_differences_below_the_resolution_are_no_gain() -> None:
    (one,) = made(np.linspace(1e-8, 9e-7, 20))
    assert (one.ties, one.verdict, one.p) == (20, "no measurable difference", 1)


def test_one_track_and_other_too_few() -> None:
    for tracks in (1, 2, MIN_TRACKS - 1):
        (few,) = made([0.5] * tracks)
        assert few.low is few.high is None
        assert few.verdict == "too few tracks"
        assert few.document()["interval"] == [None, None]
    few, enough = made([0.5] * 3, np.linspace(0.1, 0.3, 12))
    assert (few.verdict, enough.verdict) == ("too few tracks", "better")
    assert enough == made(np.linspace(0.1, 0.3, 12))[0]


def test_all_ties_and_all_equal() -> None:
    (ties,) = made(np.zeros(8))
    assert (ties.low, ties.high, ties.p, ties.ties) == (0, 0, 1, 8)
    assert ties.verdict == "no measurable difference"
    (equal,) = made(np.full(8, 0.1))
    assert equal.low == equal.high == pytest.approx(0.1)
    assert equal.verdict == "better"


def test_one_outlier_among_ties_gives_an_open_interval_and_no_verdict() -> None:
    (lonely,) = made([0.0] * 7 + [5.0])
    assert lonely.high == np.inf
    assert lonely.document()["interval"][1] is None
    assert lonely.verdict == "no measurable difference"


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_not_finite_is_refused(bad: float) -> None:
    with pytest.raises(DataError, match="1 of 7 differences are not finite"):
        made([0.1] * 6 + [bad])


def test_nothing_to_compare_is_refused() -> None:
    nothing: Mapping[str, float] = {}
    with pytest.raises(DataError, match="no track"):
        compare([nothing], np.random.default_rng(0))
    with pytest.raises(DataError, match="at least two"):
        infer([[1.0]], np.random.default_rng(0))
    assert compare([], np.random.default_rng(0)) == []

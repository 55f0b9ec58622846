"""Statistics on made data whose answer is known: coverage, false alarms, Holm by hand, edges."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import scipy.stats
from numpy.testing import assert_allclose
from numpy.typing import NDArray

from schedopt.errors import DataError
from schedopt.proof.statistics import (
    ALPHA,
    MIN_TRACKS,
    Comparison,
    bootstrap_interval,
    compare,
    corrected,
    holm,
    signed_rank_p,
)

Array = NDArray[np.float64]
Draw = Callable[[np.random.Generator, tuple[int, int]], Array]

NO_DIFFERENCE: dict[str, Draw] = {
    "normal": lambda rng, shape: rng.standard_normal(shape),
    "heavy tails (Student's t, 3)": lambda rng, shape: rng.standard_t(3, shape),
    "skewness 1 (gamma 4)": lambda rng, shape: rng.gamma(4, 1, shape) - 4,
    "skewness 1.75 (log-normal)": lambda rng, shape: rng.lognormal(0, 0.5, shape) - np.exp(0.125),
    "skewness −1.75": lambda rng, shape: np.exp(0.125) - rng.lognormal(0, 0.5, shape),
    "a third are ties": lambda rng, shape: rng.standard_normal(shape) * (rng.random(shape) > 1 / 3),
}
"""Differences between tracks, mean 0."""

STUDIES = 2000
"""Simulated benchmarks: the standard error of a coverage of 95 % is 0.5 points, so 93 and 97 % lie 4 of them away."""


RESAMPLES = 399
"""Fewer than in earnest: coverage hardly depends on their number, the seconds do."""


@pytest.mark.parametrize("tracks", [12, 18, 30, 50])
@pytest.mark.parametrize("kind", list(NO_DIFFERENCE))
def test_the_interval_covers_the_true_mean(kind: str, tracks: int) -> None:
    rng = np.random.default_rng(tracks)
    low, high = bootstrap_interval(NO_DIFFERENCE[kind](rng, (STUDIES, tracks)), rng, resamples=RESAMPLES)
    covered = float(((low <= 0) & (high >= 0)).mean())
    assert 0.93 <= covered <= 0.97


def verdicts(differences: Array, rng: np.random.Generator, family: int = 1) -> Array:
    """+1 better, −1 worse, 0 neither, by `Comparison`'s own rule: (studies, tracks) → (studies,)."""
    low, high = bootstrap_interval(differences, rng, resamples=RESAMPLES)
    p = np.ones(len(differences))
    decided = (low > 0) | (high < 0)
    # The test decides only where the interval leaves out zero; elsewhere p may be anything.
    p[decided] = [signed_rank_p(row) for row in differences[decided]]
    made = [Comparison(MIN_TRACKS, 0.0, a, b, c, c, 0, 0, 0) for a, b, c in zip(low, high, p, strict=True)]
    fixed = [one for first in range(0, len(made), family) for one in corrected(made[first : first + family])]
    signs = {"better": 1, "worse": -1}
    return np.array([signs.get(one.verdict, 0) for one in fixed])


@pytest.mark.parametrize("tracks", [MIN_TRACKS, 12, 50])
@pytest.mark.parametrize("kind", list(NO_DIFFERENCE))
def test_without_a_difference_better_is_said_in_at_most_5_percent(kind: str, tracks: int) -> None:
    rng = np.random.default_rng(tracks)
    said = verdicts(NO_DIFFERENCE[kind](rng, (STUDIES, tracks)), rng)
    assert (said == 1).mean() <= ALPHA


def test_without_a_difference_any_of_four_is_better_in_at_most_5_percent() -> None:
    rng = np.random.default_rng(4)
    said = verdicts(rng.standard_normal((2 * STUDIES, 18)), rng, family=4)
    assert (said.reshape(-1, 4) == 1).any(axis=1).mean() <= ALPHA


def test_a_difference_is_found() -> None:
    """+0.2 dB with 0.2 dB of spread over 18 tracks, as in a first look at the demo, is found nine times in ten."""
    rng = np.random.default_rng(5)
    found = rng.normal(0.2, 0.2, (150, 18))
    assert (verdicts(found, rng) == 1).mean() > 0.9
    assert (verdicts(-found, rng) == -1).mean() > 0.9


def test_holm_by_hand() -> None:
    assert_allclose(holm([0.01, 0.04, 0.03, 0.005]), [0.03, 0.06, 0.06, 0.02])
    assert_allclose(holm([0.6, 0.9]), [1.0, 1.0])
    assert_allclose(holm([0.2]), [0.2])
    assert holm([]) == []


def test_signed_rank_by_hand() -> None:
    """Six wins of six: only 2 of 2⁶ signs are as extreme. With one loss of the smallest rank, 4 of them are."""
    assert signed_rank_p([1, 2, 3, 4, 5, 6]) == pytest.approx(2 / 64)
    assert signed_rank_p([-1, 2, 3, 4, 5, 6]) == pytest.approx(4 / 64)
    assert signed_rank_p([1, 2, 3, 4, 5, 6, 0, 0, 0]) == pytest.approx(2 / 64)
    assert signed_rank_p([0.0, 0.0]) == 1.0


def test_the_interval_is_never_shorter_than_students() -> None:
    rng = np.random.default_rng(6)
    x = rng.normal(0.3, 1, 20)
    low, high = bootstrap_interval(x, rng)
    student = scipy.stats.t.interval(0.95, 19, loc=x.mean(), scale=x.std(ddof=1) / np.sqrt(20))
    assert low <= student[0] < student[1] <= high
    assert high - low < 1.2 * (student[1] - student[0])


def test_many_at_once_equal_one_by_one() -> None:
    x = np.random.default_rng(7).normal(size=(2, 3, 9))
    low, high = bootstrap_interval(x, np.random.default_rng(0), resamples=999)
    assert low.shape == high.shape == (2, 3)
    one = bootstrap_interval(x[1, 2], np.random.default_rng(0), resamples=999)
    assert_allclose((low[1, 2], high[1, 2]), one)


def test_the_same_generator_gives_the_same_comparison_and_units_do_not_matter() -> None:
    x = np.random.default_rng(8).normal(0.1, 0.2, 14)
    first, again = (compare(x, np.random.default_rng(0)) for _ in range(2))
    assert first == again
    large = compare(1e3 * x, np.random.default_rng(0))
    assert large.low is not None
    assert first.low is not None
    assert large.low == pytest.approx(1e3 * first.low)


def made(differences: Any) -> Comparison:
    return compare(differences, np.random.default_rng(0))


def test_counts_and_verdicts() -> None:
    better = made(np.linspace(0.1, 0.3, 12))
    assert (better.wins, better.losses, better.ties, better.verdict) == (12, 0, 0, "better")
    assert better.mean == pytest.approx(0.2)
    assert made(-np.linspace(0.1, 0.3, 12)).verdict == "worse"
    mixed = made([0.1, -0.1, 0.0, 1e-9, 0.2, -0.2])
    assert (mixed.wins, mixed.losses, mixed.ties) == (2, 2, 2)
    assert mixed.verdict == "no measurable difference"


def test_a_correction_can_take_a_verdict_back() -> None:
    one = made(np.linspace(0.1, 0.3, 6))
    assert one.verdict == "better"
    both = corrected([one, one])
    assert both[0].p_holm == pytest.approx(2 * one.p)
    assert both[0].verdict == "no measurable difference"
    assert replace(one, p_holm=ALPHA).verdict == "no measurable difference"


def test_one_track_and_other_too_few() -> None:
    for tracks in (1, 2, MIN_TRACKS - 1):
        few = made([0.5] * tracks)
        assert few.low is few.high is None
        assert few.verdict == "too few tracks"
        assert few.document()["interval"] == [None, None]


def test_all_ties_and_all_equal() -> None:
    ties = made(np.zeros(8))
    assert (ties.low, ties.high, ties.p, ties.ties) == (0, 0, 1, 8)
    assert ties.verdict == "no measurable difference"
    equal = made(np.full(8, 0.1))
    assert equal.low == equal.high == pytest.approx(0.1)
    assert equal.verdict == "better"


def test_one_outlier_among_ties_gives_an_open_interval_and_no_verdict() -> None:
    lonely = made([0.0] * 7 + [5.0])
    assert lonely.high == np.inf
    assert lonely.document()["interval"][1] is None
    assert lonely.verdict == "no measurable difference"


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_not_finite_is_refused(bad: float) -> None:
    with pytest.raises(DataError, match="1 of 7 differences are not finite"):
        made([0.1] * 6 + [bad])
    with pytest.raises(DataError, match="not finite"):
        signed_rank_p([bad])


def test_nothing_to_compare_is_refused() -> None:
    with pytest.raises(DataError, match="no track"):
        made([])
    with pytest.raises(DataError, match="at least two"):
        bootstrap_interval([1.0], np.random.default_rng(0))

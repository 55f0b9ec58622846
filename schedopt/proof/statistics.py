"""Is one method better than another? Statistics of paired differences, one a track, in dB.

Tracks are the unit: excerpts of one track are averaged first, since they are not independent. Test and interval are
about the same thing, the mean difference, and both are corrected for all comparisons that are made at once: a p below
0.05 and an interval that leaves out zero are the same event. All functions are pure; generators are passed in.

    t* = (m* − m) / s* of every resample of the tracks (bootstrap-t: Efron and Tibshirani, "An Introduction to the
         Bootstrap", 1993, section 12.5), all comparisons with the same resamples
    p of one comparison: the share of |t*| on the side of its t = m / s, twice; at least Student's
    p of all at once: the share of resamples whose smallest p over the comparisons is as small (single-step minP:
         Westfall and Young, "Resampling-Based Multiple Testing", 1993), so that what moves together costs little

Of a mean nothing can be said without a word about the tails (Bahadur and Savage, 1956): a skewed difference whose rare
large values are missing from the sample looks like a gain or a loss. Both p and the interval's error are therefore
multiplied by `SAFETY`, chosen by measurement: `python -m benchmarks.intervals` prints how often any of five verdicts is
false. At 14 and 50 tracks that is at most 5 % for normal, heavy-tailed, exponential, log-normal (σ 0.5) differences and
10 % of outliers on both sides; log-normal with σ = 1 (skewness 6) and outliers on one side need the 50 (14: 7.5, 40 %).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np
import scipy  # its parts are loaded at their first use
from numpy.typing import ArrayLike, NDArray

from schedopt.errors import DataError

Array = NDArray[np.float64]

BETTER, WORSE, EQUAL, FEW = "better", "worse", "no measurable difference", "too few tracks"

ALPHA = 0.05
SAFETY = 4
"""What p and the interval's error are multiplied by; see above."""

RESAMPLES = 19_999
"""Enough for 190 comparisons at once; above that no verdict is possible."""

MIN_TRACKS = 6
"""With fewer the resamples are too few and too alike (5 tracks: 126 different ones): no verdict is possible."""

TIE_DB = 1e-6
"""Scores that are closer are equal: equal inputs may differ by so much in another batch (promise 1 of the design)."""


@dataclass(frozen=True)
class Comparison:
    """One method against another over tracks: mean difference in dB (above 0: the first is better).

    `low` and `high` bound the mean: with 95 % confidence all intervals made at once hold their means. None below
    `MIN_TRACKS`, and infinite where the differences are so uneven that resamples have no spread. `p` is that of the
    mean being 0, corrected for the number of comparisons like the interval.
    """

    tracks: int
    mean: float
    low: float | None
    high: float | None
    p: float
    wins: int
    losses: int
    ties: int

    @property
    def verdict(self) -> str:
        """`better` or `worse` only where the interval leaves out zero."""
        if self.low is None or self.high is None:
            return FEW
        return BETTER if self.low > 0 else WORSE if self.high < 0 else EQUAL

    def document(self) -> dict[str, Any]:
        """For JSON, which has no infinity: an unbounded side is null."""
        low, high = (b if b is not None and np.isfinite(b) else None for b in (self.low, self.high))
        fields = {name: value for name, value in asdict(self).items() if name not in ("low", "high")}
        return {**fields, "interval": [low, high], "verdict": self.verdict}


class Inference(NamedTuple):
    """p and bounds in dB of each mean, (…, comparisons), all made at once."""

    p: Array
    low: Array
    high: Array


def compare(differences: Sequence[Mapping[str, float]], rng: np.random.Generator) -> list[Comparison]:
    """One comparison for each of `differences` (dB by track), all made at once.

    Raises:
        DataError: no difference at all, or one that is not finite.
    """
    values = [_checked(list(by_track.values())) for by_track in differences]
    enough = [index for index, x in enumerate(values) if len(x) >= MIN_TRACKS]
    found: dict[int, tuple[float, float, float]] = {}
    if enough:
        tracks = sorted({track for index in enough for track in differences[index]})
        x = np.array([[differences[index].get(track, np.nan) for track in tracks] for index in enough])
        counted = ~np.isnan(x)
        made = infer(np.where(counted, x, 0.0), rng, counted=counted)
        found = dict(zip(enough, zip(*(part.tolist() for part in made), strict=True), strict=True))
    return [_comparison(x, *found.get(index, (1.0, None, None))) for index, x in enumerate(values)]


def infer(
    differences: ArrayLike,
    rng: np.random.Generator,
    *,
    counted: NDArray[np.bool_] | None = None,
    resamples: int = RESAMPLES,
    safety: float = SAFETY,
) -> Inference:
    """p and bounds of the means of differences (…, comparisons, tracks) in dB; the module says how.

    One set of resamples serves all leading indices.

    Args:
        counted: which tracks each comparison has, (comparisons, tracks); default: all.

    Raises:
        DataError: fewer than two tracks, or a difference that is not finite.
    """
    x = _checked(differences)
    x = np.where(np.abs(x) <= TIE_DB, 0.0, x)
    kept = np.ones(x.shape[-2:], bool) if counted is None else counted
    n = kept.sum(axis=-1)
    if n.min() < 2:
        raise DataError("an interval needs at least two tracks")
    mean = np.where(kept, x, 0.0).sum(axis=-1) / n
    deviation = np.where(kept, x - mean[..., None], 0.0)
    error = np.sqrt(np.square(deviation).sum(axis=-1) / (n - 1) / n)
    even = error <= 1e-12 * np.abs(x).max(axis=-1)  # all differences equal up to rounding
    total = x.shape[-1]
    resampled = _studentised(deviation, kept, rng.multinomial(total, np.full(total, 1 / total), size=resamples))
    with np.errstate(divide="ignore", invalid="ignore"):  # 0 / 0 and x / 0, replaced
        t = np.where(even, np.where(np.abs(mean) > 0, np.copysign(np.inf, mean), 0.0), mean / error)
    step = 2 / (resamples + 1)  # of a two-sided p
    above = (resampled >= t[..., None]).sum(axis=-1)
    below = (resampled <= t[..., None]).sum(axis=-1)
    single = np.maximum(step * (np.minimum(above, below) + 1), 2 * scipy.special.stdtr(n - 1, -np.abs(t)))
    smallest = np.sort(step * _tail_ranks(resampled).min(axis=-2), axis=-1)  # (…, resamples)
    together = (_count_up_to(smallest, single) + 1) / (resamples + 1)
    level = smallest[..., round(ALPHA / safety * (resamples + 1)) - 1, None]  # p of one comparison must be below this
    low_t, high_t = _quantiles(resampled, np.round(level / step).astype(int) - 1)
    student = -scipy.special.stdtrit(n - 1, np.minimum(level, 1.0) / 2)
    with np.errstate(invalid="ignore"):  # ∞·0, replaced
        low = np.where(even, mean, mean - np.maximum(high_t, student) * error)
        high = np.where(even, mean, mean - np.minimum(low_t, -student) * error)
    return Inference(np.minimum(1.0, safety * together), low, high)


def _studentised(deviation: Array, kept: NDArray[np.bool_], counts: NDArray[np.int64]) -> Array:
    """t* of every resample, (…, comparisons, resamples).

    deviation: from the mean, (…, comparisons, tracks), 0 where not `kept` (comparisons, tracks); counts: how often
    each track is drawn, (resamples, tracks). A resample without spread has t* = ±∞ (0 if its mean is the sample's).
    """
    drawn = kept @ counts.T  # (comparisons, resamples)
    some, more = np.maximum(drawn, 1), np.maximum(drawn - 1, 1)
    means = deviation @ counts.T / some
    variances = (np.square(deviation) @ counts.T / some - np.square(means)) * drawn / more
    spread = (drawn > 1) & (variances > 1e-12 * np.square(deviation).max(axis=-1, keepdims=True))
    errors = np.sqrt(np.where(spread, variances, 1.0) / some)
    return np.where(spread, means / errors, np.where(means == 0, 0.0, np.copysign(np.inf, means)))


def _tail_ranks(resampled: Array) -> Array:
    """How many resamples are at least as far out on its side as each one, itself included: (…, resamples)."""
    below = scipy.stats.rankdata(resampled, method="max", axis=-1)
    above = scipy.stats.rankdata(-resampled, method="max", axis=-1)
    return np.asarray(np.minimum(below, above), dtype=np.float64)


def _count_up_to(ordered: Array, values: Array) -> Array:
    """How many of `ordered` (…, resamples) are at most each of `values` (…, comparisons); rounding aside."""
    count = ordered.shape[-1]
    flat = zip(ordered.reshape(-1, count), values.reshape(-1, values.shape[-1]), strict=True)
    return np.array([np.searchsorted(a, v * (1 + 1e-9), side="right") for a, v in flat]).reshape(values.shape)


def _quantiles(resampled: Array, rank: NDArray[np.int64]) -> tuple[Array, Array]:
    """The values of `rank` (…, 1) from below and from above of (…, comparisons, resamples); rank 0: ∓∞."""
    ordered = np.sort(resampled, axis=-1)
    at = np.broadcast_to(rank, resampled.shape[:-1])[..., None]
    low = np.take_along_axis(ordered, np.maximum(at - 1, 0), axis=-1)[..., 0]
    high = np.take_along_axis(ordered, np.minimum(ordered.shape[-1] - at, ordered.shape[-1] - 1), axis=-1)[..., 0]
    return np.where(rank > 0, low, -np.inf), np.where(rank > 0, high, np.inf)


def _comparison(x: Array, p: float, low: float | None, high: float | None) -> Comparison:
    wins, losses = int((x > TIE_DB).sum()), int((x < -TIE_DB).sum())
    return Comparison(len(x), float(x.mean()), low, high, p, wins, losses, len(x) - wins - losses)


def _checked(differences: ArrayLike) -> Array:
    x = np.asarray(differences, dtype=np.float64)
    if x.size == 0:
        raise DataError("there is no track to compare on")
    bad = int((~np.isfinite(x)).sum())
    if bad:
        raise DataError(f"{bad} of {x.size} differences are not finite, so they cannot be compared")
    return x

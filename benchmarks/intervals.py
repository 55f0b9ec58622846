"""How often four 95 % intervals of a mean over few tracks cover it: why `schedopt.proof.statistics` uses its own.

    python -m benchmarks.intervals [--studies 4000] [--json [FILE]]

Differences are made, with mean 0: normal, heavy-tailed, skewed, and with ties. Figures are percent of the simulated
benchmarks whose interval holds 0; 95 is right. `combined` is the one in use. `better` is how often it, together with
Wilcoxon's p < 0.05, says "better" where there is no difference: at most 5 is right.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import scipy.stats
from numpy.typing import NDArray

from benchmarks._harness import table, write_result
from schedopt.proof.statistics import ALPHA, bootstrap_interval, signed_rank_p

Array = NDArray[np.float64]
Bounds = tuple[Array, Array]

RESAMPLES = 999
TRACKS = (6, 12, 18, 30, 50)

DIFFERENCES: dict[str, Callable[[np.random.Generator, tuple[int, int]], Array]] = {
    "normal": lambda rng, shape: rng.standard_normal(shape),
    "Student's t, 5": lambda rng, shape: rng.standard_t(5, shape),
    "Student's t, 3": lambda rng, shape: rng.standard_t(3, shape),
    "gamma 4 (skewness 1)": lambda rng, shape: rng.gamma(4, 1, shape) - 4,
    "log-normal (skewness 1.75)": lambda rng, shape: rng.lognormal(0, 0.5, shape) - np.exp(0.125),
    "exponential (skewness 2)": lambda rng, shape: rng.exponential(1, shape) - 1,
    "normal, 30 % ties": lambda rng, shape: rng.standard_normal(shape) * (rng.random(shape) > 0.3),
}


def resampled_means(x: Array, rng: np.random.Generator) -> Array:
    """Sorted means of resamples of (studies, tracks): (studies, RESAMPLES)."""
    n = x.shape[-1]
    return np.sort(x @ rng.multinomial(n, np.full(n, 1 / n), size=RESAMPLES).T / n, axis=-1)


def percentile(x: Array, rng: np.random.Generator) -> Bounds:
    """Quantiles of the resampled means (Efron and Tibshirani 1993, section 13.3)."""
    means, rank = resampled_means(x, rng), round(ALPHA / 2 * (RESAMPLES + 1))
    return means[:, rank - 1], means[:, -rank]


def bca(x: Array, rng: np.random.Generator) -> Bounds:
    """Bias-corrected and accelerated (Efron and Tibshirani 1993, section 14.3)."""
    means, mean = resampled_means(x, rng), x.mean(axis=-1, keepdims=True)
    below = (means < mean).mean(axis=-1) + (means == mean).mean(axis=-1) / 2
    bias = scipy.stats.norm.ppf(np.clip(below, 1 / RESAMPLES, 1 - 1 / RESAMPLES))
    squares = np.maximum(np.square(x - mean).sum(axis=-1), 1e-30)
    acceleration = ((x - mean) ** 3).sum(axis=-1) / (6 * squares**1.5)
    bounds = []
    for z in scipy.stats.norm.ppf([ALPHA / 2, 1 - ALPHA / 2]):
        level = scipy.stats.norm.cdf(bias + (bias + z) / (1 - acceleration * (bias + z)))
        rank = np.clip(np.round(level * (RESAMPLES + 1)).astype(int), 1, RESAMPLES)
        bounds.append(means[np.arange(len(means)), rank - 1])
    return bounds[0], bounds[1]


def student(x: Array, _: np.random.Generator) -> Bounds:
    """m ± t·s/√n."""
    n = x.shape[-1]
    half = scipy.stats.t.ppf(1 - ALPHA / 2, n - 1) * x.std(axis=-1, ddof=1) / np.sqrt(n)
    return x.mean(axis=-1) - half, x.mean(axis=-1) + half


def combined(x: Array, rng: np.random.Generator) -> Bounds:
    """The one in use."""
    return bootstrap_interval(x, rng, resamples=RESAMPLES)


def measure(kind: str, tracks: int, studies: int) -> dict[str, Any]:
    """One line of the table."""
    rng = np.random.default_rng(tracks)
    x = DIFFERENCES[kind](rng, (studies, tracks))
    row: dict[str, Any] = {"tracks": tracks, "differences": kind}
    for interval in (percentile, bca, student, combined):
        low, high = interval(x, rng)
        row[interval.__name__] = 100 * float(((low <= 0) & (high >= 0)).mean())
    above = x[low > 0]
    row["better"] = 100 * sum(signed_rank_p(one) < ALPHA for one in above) / studies
    return row


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.intervals", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--studies", type=int, default=4000, help="simulated benchmarks a line (default 4000)")
    parser.add_argument("--json", type=Path, nargs="?", const=Path(), help="keep the result (default results/)")
    arguments = parser.parse_args()
    rows = [measure(kind, tracks, arguments.studies) for tracks in TRACKS for kind in DIFFERENCES]
    print(table(rows))
    if arguments.json is not None:
        path = arguments.json if arguments.json.name else None
        print(f"\nwritten: {write_result('intervals', rows, path, studies=arguments.studies, resamples=RESAMPLES)}")


if __name__ == "__main__":
    main()

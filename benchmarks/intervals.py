"""How often a verdict is false where there is no difference: why `schedopt.proof.statistics` is as it is.

    python -m benchmarks.intervals [--benchmarks 2000] [--json [FILE]]

A made benchmark compares five methods at once; every mean difference is 0, so each "better" or "worse" is false.
Figures are percent of the made benchmarks with at least one such verdict: at most 5 is right (standard error 0.5).
`in use` is that of `schedopt benchmark`; beside it Wilcoxon's signed-rank test with Holm's correction, Student's t with
Bonferroni's, and the bootstrap-t as it comes (`SAFETY` 1). What is missing to 100 is how often all five intervals hold
the true means. `found`: how often a true mean of one standard deviation at 14 tracks (0.53 at 50) is called better.

Where it cannot hold: with one-sided outliers in one track of ten, 23 % of the samples of 14 tracks have none, and
nothing in such a sample tells that its mean is off; likewise the far tail of the log-normal with σ = 1.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import scipy.stats
from numpy.typing import NDArray

from benchmarks._harness import machine, table, write_result
from schedopt.proof.statistics import ALPHA, infer

Array = NDArray[np.float64]
Draw = Callable[[np.random.Generator, tuple[int, ...]], Array]

RESAMPLES = 3999
TRACKS = (14, 50)
COMPARISONS = 5
CHUNK = 50
"""Benchmarks at a time: 50 · 5 · 3999 resamples are 8 MB an array."""


def _outliers(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    return rng.standard_normal(shape) * np.where(rng.random(shape) < 0.1, 10, 1)


def _one_sided(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    return rng.standard_normal(shape) + 10 * (rng.random(shape) < 0.1) - 1


DIFFERENCES: dict[str, Draw] = {
    "normal": lambda rng, shape: rng.standard_normal(shape),
    "Student's t, 3": lambda rng, shape: rng.standard_t(3, shape) / np.sqrt(3),
    "exponential": lambda rng, shape: rng.exponential(1, shape) - 1,
    "log-normal, σ 0.5": lambda rng, shape: rng.lognormal(0, 0.5, shape) - np.exp(0.125),
    "log-normal, σ 1": lambda rng, shape: rng.lognormal(0, 1, shape) - np.exp(0.5),
    "10 % outliers": _outliers,
    "10 % outliers, one side": _one_sided,
    "a third are ties": lambda rng, shape: rng.standard_normal(shape) * (rng.random(shape) > 1 / 3),
}
"""Differences between tracks with mean 0; `10 % outliers` have ten times the spread, those of one side are at +10."""


def wilcoxon_holm(x: Array) -> Array:
    """Whether any of (benchmarks, comparisons, tracks) is called different."""
    p = scipy.stats.wilcoxon(x, axis=-1).pvalue
    return np.asarray(p.min(axis=-1) * COMPARISONS < ALPHA)  # Holm rejects something if its first step does


def student_bonferroni(x: Array) -> Array:
    p = scipy.stats.ttest_1samp(x, 0, axis=-1).pvalue
    return np.asarray(p.min(axis=-1) * COMPARISONS < ALPHA)


def decided(x: Array, rng: np.random.Generator, **options: Any) -> tuple[Array, Array]:
    """Whether each of (benchmarks, comparisons, tracks) is better, and whether it is worse: (benchmarks, comparisons).

    The resamples are drawn anew for each chunk, so that their luck is averaged out too.
    """
    parts = [infer(x[i : i + CHUNK], rng, resamples=RESAMPLES, **options) for i in range(0, len(x), CHUNK)]
    return np.concatenate([part.low > 0 for part in parts]), np.concatenate([part.high < 0 for part in parts])


def measure(kind: str, tracks: int, benchmarks: int) -> dict[str, Any]:
    """One line of the table."""
    rng = np.random.default_rng(tracks)
    x = DIFFERENCES[kind](rng, (benchmarks, COMPARISONS, tracks))
    plain = [np.asarray(part.any(axis=-1)) for part in decided(x, rng, safety=1.0)]
    better, worse = decided(x, rng)
    false = np.logical_or(better, worse).any(axis=-1)
    shifted, _ = decided(x[: benchmarks // 4] + x.std() * np.sqrt(TRACKS[0] / tracks), rng)
    return {
        "tracks": tracks,
        "differences": kind,
        "Wilcoxon, Holm": 100 * float(wilcoxon_holm(x).mean()),
        "Student, Bonferroni": 100 * float(student_bonferroni(x).mean()),
        "bootstrap-t": 100 * float(np.logical_or(plain[0], plain[1]).mean()),
        "in use": 100 * float(false.mean()),
        "of which better": 100 * float(better.any(axis=-1).mean()),
        "found": 100 * float(shifted.mean()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.intervals", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--benchmarks", type=int, default=2000, help="made benchmarks a line (default 2000)")
    parser.add_argument("--json", type=Path, nargs="?", const=Path(), help="keep the result (default results/)")
    arguments = parser.parse_args()
    rows = [measure(kind, tracks, arguments.benchmarks) for tracks in TRACKS for kind in DIFFERENCES]
    print(table(rows))
    here = machine()
    print(f"\n{arguments.benchmarks} benchmarks a line; {here['cores']} cores of {here['cpu']}")
    if arguments.json is not None:
        path = arguments.json if arguments.json.name else None
        facts = {"benchmarks": arguments.benchmarks, "comparisons": COMPARISONS, "resamples": RESAMPLES}
        print(f"written: {write_result('intervals', rows, path, **facts)}")


if __name__ == "__main__":
    main()

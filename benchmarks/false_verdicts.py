"""How often a search in which there is nothing to be found ends in "better": `python -m benchmarks.false_verdicts`.

    python -m benchmarks.false_verdicts [--benchmark FILE] [--searches 1000] [--candidates 40] [--json [FILE]]

Gains by track over the shift trick in SDR, SI-SDR and SNR are taken from a benchmark's document, stem by stem. Each
search flips every track's sign at random, so that all mean gains are 0 by construction, and makes candidates of them:
the recorded gains plus noise of their own covariance between metrics. On 20 search tracks it selects the candidate with
the highest lower bound (as `schedopt run` does) or the highest mean in the benchmark's metric; the other tracks give
its verdict. Figures are percent of the searches in which any stem is called better: on the tracks that selected it
(`claimed`), on the others (`gain`), and there without a fall in SI-SDR or SNR (`verdict`, as `schedopt benchmark` has
it). At most 5 is right for the last two (standard error 0.7 with 1,000 searches).
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks._harness import RESULTS, table, write_result
from schedopt.files.benchmark_file import BenchmarkFile, StemScores, load_benchmark
from schedopt.proof.findings import GUARDS
from schedopt.proof.statistics import Inference, infer
from schedopt.search.selection import lower_bound
from schedopt.types import CORE

Array = NDArray[np.float64]

RECORDED = RESULTS / "demo-held-out.json"
SEARCH_TRACKS = 20
RESAMPLES = 3999


def recorded_gains(file: BenchmarkFile) -> tuple[tuple[str, ...], Array]:
    """The metrics, the benchmark's own first, and the first schedule's gains over the shift trick at as many passes.

    dB: (metrics, stems, tracks), tracks in which every stem sounds.
    """
    metrics = tuple(dict.fromkeys((file.metric, *CORE)))
    ours = next(method for method in file.methods if method.kind == "schedule").stems
    theirs = {stem: _shift_trick(file, stem, scores.passes) for stem, scores in ours.items()}
    shared = sorted(set.intersection(*(set(scores.tracks) for scores in ours.values())))

    def last(scores: StemScores, metric: str) -> Array:
        return np.array([scores.tracks[track][metric][-1] for track in shared])

    gains = [[last(ours[stem], metric) - last(theirs[stem], metric) for stem in ours] for metric in metrics]
    return metrics, np.array(gains)


def _shift_trick(file: BenchmarkFile, stem: str, passes: int) -> StemScores:
    tricks = [method.stems[stem] for method in file.methods if method.kind == "shift" and stem in method.stems]
    return next(scores for scores in tricks if scores.passes == passes)


def candidates_of(gains: Array, count: int, rng: np.random.Generator) -> Array:
    """Candidates whose mean gains are 0: (metrics, stems, count, tracks) of gains (metrics, stems, tracks)."""
    metrics, stems, tracks = gains.shape
    flipped = gains * rng.choice([-1.0, 1.0], tracks)
    noise = [
        rng.multivariate_normal(np.zeros(metrics), np.cov(gains[:, stem]), (count, tracks), method="svd")
        for stem in range(stems)
    ]  # (count, tracks, metrics) a stem
    return np.asarray(flipped[:, :, None] + np.moveaxis(np.array(noise), -1, 0))


def better(found: Inference, metrics: Sequence[str]) -> tuple[Array, Array]:
    """Which of (metrics, comparisons) gain in the first metric, and which of these have no guard that falls."""
    gain = found.low[0] > 0
    falls = [found.high[n] < 0 for n, metric in enumerate(metrics) if n > 0 and metric in GUARDS]
    return gain, gain & ~np.any(falls, axis=0)


def search(
    gains: Array, metrics: Sequence[str], candidates: int, choose: str, rng: np.random.Generator
) -> tuple[bool, bool, bool]:
    """Whether any stem's selected candidate is `claimed`, a `gain` and a `verdict`: see the module."""
    null = candidates_of(gains, candidates, rng)
    order = rng.permutation(gains.shape[-1])
    seen, fresh = null[..., order[:SEARCH_TRACKS]], null[..., order[SEARCH_TRACKS:]]
    worth = lower_bound(seen[0]) if choose == "selected trial" else seen[0].mean(axis=-1)
    best = worth.argmax(axis=-1)[None, :, None, None]
    on_seen, on_fresh = (
        infer(np.take_along_axis(part, best, axis=2)[:, :, 0], rng, resamples=RESAMPLES) for part in (seen, fresh)
    )
    gain, verdict = better(on_fresh, metrics)
    return bool(better(on_seen, metrics)[0].any()), bool(gain.any()), bool(verdict.any())


def measure(file: BenchmarkFile, choose: str, searches: int, candidates: int) -> dict[str, Any]:
    """One line of the table."""
    rng = np.random.default_rng(0)
    metrics, gains = recorded_gains(file)
    found = np.array([search(gains, metrics, candidates, choose, rng) for _ in range(searches)])
    claimed, gain, verdict = 100 * found.mean(axis=0)
    shares = {"claimed": float(claimed), "gain": float(gain), "verdict": float(verdict)}
    return {"chosen": choose, "searches": searches, **shares}


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.false_verdicts", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--benchmark", type=Path, default=RECORDED, help="a benchmark's JSON (default the demo's)")
    parser.add_argument("--searches", type=int, default=1000, help="replayed searches (default 1000)")
    parser.add_argument("--candidates", type=int, default=40, help="trials of each search (default 40)")
    parser.add_argument("--json", type=Path, nargs="?", const=Path(), help="keep the result (default results/)")
    arguments = parser.parse_args(argv)
    file = load_benchmark(arguments.benchmark)
    rows = [measure(file, c, arguments.searches, arguments.candidates) for c in ("selected trial", "highest trial")]
    print(table(rows))
    if arguments.json is not None:
        path = arguments.json if arguments.json.name else None
        print(f"\nwritten: {write_result('false_verdicts', rows, path, candidates=arguments.candidates)}")


if __name__ == "__main__":
    main()

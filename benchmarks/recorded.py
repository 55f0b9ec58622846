"""Scores of the demo model on its search tracks, recorded once: `python -m benchmarks.recorded`.

For each stem a table `results/scores-STEM.npz`: every schedule of the linear family at resolution 0.1 (121) and
`FREE` Sobol points of the free family, five steps, rule remix, excerpts of 3 s. `schedules` is (schedules, 5);
`scores` is (tracks, schedules, 6), dB after each step. The other benchmarks play studies on these tables.
"""

from __future__ import annotations

import argparse
import itertools
from pathlib import Path

import numpy as np
import scipy.stats
from numpy.typing import NDArray

from benchmarks._harness import RESULTS
from schedopt.config import make_config
from schedopt.evaluation import Scores
from schedopt.schedules import DEFAULT_RESOLUTION, Schedule, family, round_betas
from schedopt.search.prepared import PreparedSearch

STEPS = 5
SECONDS = 3.0
FREE = 128
"""Schedules of the free family: six times the coefficients of a quadratic of five variables."""


def path_of(stem: str) -> Path:
    return RESULTS / f"scores-{stem}.npz"


def linear_schedules() -> list[Schedule]:
    """Every schedule of the linear family."""
    points = np.linspace(0, 1, round(1 / DEFAULT_RESOLUTION) + 1)
    made = family("linear", STEPS)
    return sorted({made.make({"start": a, "end": b}) for a, b in itertools.product(points, points)})


def free_schedules() -> list[Schedule]:
    return sorted({round_betas(point) for point in scipy.stats.qmc.Sobol(STEPS, rng=0).random(FREE)})


def record(stem: str, tracks: int, path: Path) -> None:
    """Score all schedules on `tracks` excerpts, one after the other, and keep the table after each."""
    config = make_config(
        {"study": {"name": "s"}, "data": {"tracks": tracks, "excerpt": SECONDS}, "store": {"disk": 0, "memory": 0.25}}
    )
    (evaluator,) = PreparedSearch.prepare(config).objective(stem).evaluators
    schedules = sorted({*linear_schedules(), *free_schedules()})
    scores: list[Scores] = []
    for index, name in enumerate(evaluator.tracks):
        # Excerpt by excerpt, so that the store holds all prefixes of one.
        scores.append(np.stack([evaluator.scores(betas, [index])[0] for betas in schedules]))
        np.savez_compressed(path, schedules=np.array(schedules), scores=np.stack(scores).astype(np.float32))
        print(f"{stem}, {name}: {evaluator.passes}", flush=True)


def load(stem: str) -> tuple[NDArray[np.float64], Scores]:
    """Schedules (schedules, 5) and their scores (tracks, schedules, 6), dB."""
    with np.load(path_of(stem)) as table:
        return table["schedules"], table["scores"].astype(np.float64)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stems", nargs="+", default=["vocals", "drums"])
    parser.add_argument("--tracks", type=int, default=12)
    options = parser.parse_args()
    for stem in options.stems:
        record(stem, options.tracks, path_of(stem))


if __name__ == "__main__":
    main()

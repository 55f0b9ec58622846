"""How often a search in which there is nothing to be found ends in "better": `python -m benchmarks.false_verdicts`.

    python -m benchmarks.false_verdicts [--searches 1000] [--candidates 40] [--json [FILE]]

Gains by track over the shift trick are taken from a kept benchmark (`results/demo-held-out.json`), stem by stem. Each
search flips every track's sign at random, so that the mean gain is 0 by construction, and makes candidates of them: the
recorded gains plus noise of their own spread. On 20 search tracks it selects the candidate with the highest lower
bound (as `schedopt run` does) or the highest mean; the other tracks give its verdict. Figures are percent of the
searches in which any stem is called better: on the tracks that selected it (`claimed`), and on the others (`verdict`).
At most 5 is right for the latter (standard error 0.7 with 1,000 searches).
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks._harness import RESULTS, table, write_result
from schedopt.proof.statistics import infer
from schedopt.search.selection import lower_bound

Array = NDArray[np.float64]

RECORDED = RESULTS / "demo-held-out.json"
SEARCH_TRACKS = 20
RESAMPLES = 3999


def recorded_gains(path: Path = RECORDED) -> Array:
    """SDR of the schedule minus the shift trick's, dB: (stems, tracks), tracks in which every stem sounds."""
    document = json.loads(path.read_text(encoding="utf-8"))
    ours, theirs = (next(m for m in document["methods"] if m["kind"] == kind) for kind in ("schedule", "shift"))
    shared = set.intersection(*(set(part["tracks"]) for part in ours["stems"].values()))
    return np.array(
        [
            [part["tracks"][t]["sdr"][-1] - theirs["stems"][stem]["tracks"][t]["sdr"][-1] for t in sorted(shared)]
            for stem, part in ours["stems"].items()
        ]
    )


def search(gains: Array, candidates: int, choose: str, rng: np.random.Generator) -> tuple[bool, bool]:
    """Whether any stem's selected candidate is better on the tracks that selected it, and on the others."""
    stems, tracks = gains.shape
    spread = gains.std(axis=-1, keepdims=True)[:, None]
    null = (gains * rng.choice([-1.0, 1.0], tracks))[:, None] + spread * rng.standard_normal(
        (stems, candidates, tracks)
    )
    seen = rng.permutation(tracks)
    chosen, fresh = null[..., seen[:SEARCH_TRACKS]], null[..., seen[SEARCH_TRACKS:]]
    worth = lower_bound(chosen) if choose == "selected trial" else chosen.mean(axis=-1)
    best = worth.argmax(axis=-1)[:, None, None]
    low = [
        infer(np.take_along_axis(part, best, axis=1)[:, 0], rng, resamples=RESAMPLES).low for part in (chosen, fresh)
    ]
    return bool((low[0] > 0).any()), bool((low[1] > 0).any())


def measure(choose: str, searches: int, candidates: int) -> dict[str, Any]:
    """One line of the table."""
    rng, gains = np.random.default_rng(0), recorded_gains()
    found = np.array([search(gains, candidates, choose, rng) for _ in range(searches)])
    claimed, verdict = 100 * found.mean(axis=0)
    return {"chosen": choose, "searches": searches, "claimed": float(claimed), "verdict": float(verdict)}


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.false_verdicts", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--searches", type=int, default=1000, help="replayed searches (default 1000)")
    parser.add_argument("--candidates", type=int, default=40, help="trials of each search (default 40)")
    parser.add_argument("--json", type=Path, nargs="?", const=Path(), help="keep the result (default results/)")
    arguments = parser.parse_args()
    rows = [measure(c, arguments.searches, arguments.candidates) for c in ("selected trial", "highest trial")]
    print(table(rows))
    if arguments.json is not None:
        path = arguments.json if arguments.json.name else None
        print(f"\nwritten: {write_result('false_verdicts', rows, path, candidates=arguments.candidates)}")


if __name__ == "__main__":
    main()

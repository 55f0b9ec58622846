"""What a study with default settings costs as it grows, and what pruning saves: `python -m benchmarks.search`.

A two-parameter family on the demo model: the same study with 10 and 100 trials, pruner `none` and the default. The
best schedule of each is scored again on all excerpts. Nothing is kept on disk between runs.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks._harness import table, write_result
from schedopt.config import SearchSection, make_config
from schedopt.search.run import run
from schedopt.search.workbench import Workbench

DEFAULT_PRUNER = SearchSection().pruner


def study(family: str, pruner: str, trials: int, tracks: int, seed: int) -> dict[str, Any]:
    """One row: passes and seconds of a fresh study, and what its best schedule is worth."""
    with tempfile.TemporaryDirectory() as folder:
        config = make_config(
            {
                "study": {"name": "s", "storage": f"sqlite:///{folder}/s.db", "trials": trials, "seed": seed},
                "data": {"tracks": tracks},
                "schedule": {"family": family},
                "search": {"pruner": pruner},
                "store": {"disk": 0},
            }
        )
        began = time.perf_counter()
        (summary,) = run(config)
        seconds = time.perf_counter() - began
    assert summary.best is not None
    outcome = Workbench.prepare(config).objective("vocals").outcome(summary.best.betas)
    return {
        "family": family,
        "pruner": pruner,
        "seed": seed,
        "trials": trials,
        "pruned": summary.pruned,
        "passes": summary.passes_run,
        "saved": summary.passes_saved,
        "seconds": round(seconds, 1),
        "best": " ".join(f"{beta:g}" for beta in summary.best.betas),
        "gain dB": outcome.gain,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--families", nargs="+", default=["linear"])
    parser.add_argument("--trials", nargs="+", type=int, default=[10, 100])
    parser.add_argument("--tracks", type=int, default=12)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--json", type=Path, help="file of the result; default: benchmarks/results/search.json")
    options = parser.parse_args()
    rows = []
    for family in options.families:
        for seed in options.seeds:
            for pruner in ("none", DEFAULT_PRUNER):
                for trials in options.trials:
                    rows.append(study(family, pruner, trials, options.tracks, seed))
                    print(rows[-1], flush=True)
    print(table(rows))
    write_result("search", rows, options.json)


if __name__ == "__main__":
    main()

"""What a study with default settings costs as it grows, and what pruning saves: `python -m benchmarks.search`.

A two-parameter family on the demo model, pruner `none` and the default: passes and seconds that its first 10 and all
its trials cost. The best schedule of each is scored again on all excerpts. Nothing is kept from before.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import TrialState

from benchmarks._harness import table, write_result
from schedopt.config import make_config
from schedopt.search.prepared import PreparedSearch
from schedopt.search_options import SearchOptions
from schedopt.workers.run import run

DEFAULT_PRUNER = SearchOptions().pruner


def study(family: str, pruner: str, marks: Sequence[int], data: dict[str, Any], seed: int) -> list[dict[str, Any]]:
    """A row for each number of trials: passes and seconds so far, and what the best schedule so far is worth."""
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{folder}/s.db"
        config = make_config(
            {
                "study": {"name": "s", "storage": url, "trials": max(marks), "seed": seed},
                "data": data,
                "schedule": {"family": family},
                "search": {"pruner": pruner},
                "store": {"disk": 0},
            }
        )
        run(config)
        kept = optuna.load_study(study_name="s", storage=url)
    objective = PreparedSearch.prepare(config).objective("vocals")
    rows = []
    for count in marks:
        first = kept.trials[:count]
        spent = [kept.user_attrs["references"], *(t.user_attrs for t in first)]
        best = max((t for t in first if t.state == TrialState.COMPLETE), key=lambda t: t.value or 0)
        rows.append(
            {
                "family": family,
                "pruner": pruner,
                "seed": seed,
                "trials": count,
                "pruned": sum(t.state == TrialState.PRUNED for t in first),
                "passes": sum(one["passes_run"] for one in spent),
                "saved": sum(one["passes_saved"] for one in spent),
                "seconds": round(sum(one["seconds"] for one in spent), 1),
                "highest": " ".join(f"{beta:g}" for beta in best.user_attrs["betas"]),
                "gain dB": objective.outcome(tuple(best.user_attrs["betas"])).gain,
            }
        )
        print(rows[-1], flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--families", nargs="+", default=["linear"])
    parser.add_argument("--trials", nargs="+", type=int, default=[10, 100])
    parser.add_argument("--tracks", type=int, help="default: that of study files")
    parser.add_argument("--excerpt", type=float, help="seconds; default: that of study files")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--json", type=Path, help="file of the result; default: benchmarks/results/search.json")
    options = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.CRITICAL)
    given = {"tracks": options.tracks, "excerpt": options.excerpt}
    data = {key: value for key, value in given.items() if value is not None}
    rows = []
    for family in options.families:
        for seed in options.seeds:
            for pruner in ("none", DEFAULT_PRUNER):
                rows += study(family, pruner, options.trials, data, seed)
    print(table(rows))
    write_result("search", rows, options.json)


if __name__ == "__main__":
    main()

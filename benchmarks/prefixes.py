"""What β's resolution, the order of proposals and the store's size do to the passes: `python -m benchmarks.prefixes`.

Studies of the default sampler on the stand-in of `benchmarks.samplers`, no pruner. `batch` proposals are drawn before
any of them is evaluated; one at a time is how studies run. A batch is evaluated as a tree: excerpt by excerpt, its
schedules in order, so that no prefix is met again once it is left, and what the store holds then outlives the batch.
Columns: the share of the possible gain that the best trial has; passes an excerpt where the store holds so many states
an excerpt (the plain pass and the first two steps last on disk besides). Medians over seeds.
"""

from __future__ import annotations

import argparse
import itertools
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import optuna

from benchmarks._harness import table, write_result
from benchmarks.samplers import CASES, STEPS, Made, config, possible
from schedopt.evaluation import LASTING_STEPS
from schedopt.schedules import Schedule
from schedopt.search.samplers import make_sampler
from schedopt.search.space import suggest

STATES = (None, 30, 6)
"""States an excerpt that the store holds; None: all. A demo study holds about 40, one of 50 × 30 s two."""


def proposals(case: str, resolution: float, batch: int, seed: int, trials: int) -> tuple[list[list[Schedule]], float]:
    """The schedules of each batch, and the share (%) of the possible gain that the best has."""
    settings, stand_in = config(case, "tpe", "none", resolution, seed), Made(seed)
    family = settings.family()
    study = optuna.create_study(direction="maximize", sampler=make_sampler(settings))
    batches = []
    for first in range(0, trials, batch):
        drawn = [study.ask() for _ in range(min(batch, trials - first))]
        schedules = [family.make(suggest(trial, family, resolution), resolution) for trial in drawn]
        for trial, betas in zip(drawn, schedules, strict=True):
            study.tell(trial, stand_in.value(betas))
        batches.append(schedules)
    baseline = stand_in.value((0.0,) * STEPS)
    share = (study.best_value - baseline) / (possible(stand_in, settings) - baseline)
    return batches, 100 * share


def passes(batches: Sequence[Sequence[Schedule]], states: int | None) -> int:
    """Passes an excerpt with a store that keeps the latest `states` of it, and everything while a batch lasts."""
    kept: OrderedDict[Schedule, None] = OrderedDict()
    lasting: set[Schedule] = set()
    run = 0
    for batch in batches:
        for betas in sorted(batch):
            for n in range(STEPS + 1):
                prefix = betas[:n]
                run += prefix not in kept and prefix not in lasting
                kept[prefix] = None
                kept.move_to_end(prefix)
                if n <= LASTING_STEPS:
                    lasting.add(prefix)
        while states is not None and len(kept) > states:
            kept.popitem(last=False)
    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--trials", type=int, default=100)
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 5, 20])
    parser.add_argument("--resolutions", type=float, nargs="+", default=[0.01, 0.05, 0.1])
    parser.add_argument("--json", type=Path, help="file of the result; default: benchmarks/results/prefixes.json")
    options = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.CRITICAL)
    rows = []
    for case, resolution, batch in itertools.product(list(CASES)[1:], options.resolutions, options.batches):
        studies = [proposals(case, resolution, batch, seed, options.trials) for seed in range(options.seeds)]
        row: dict[str, Any] = {"family": case, "resolution": resolution, "batch": batch}
        row["gain %"] = round(float(np.median([share for _, share in studies])), 1)
        for states in STATES:
            column = "all states" if states is None else f"{states} states"
            row[column] = int(np.median([passes(batches, states) for batches, _ in studies]))
        rows.append(row)
        print(row, flush=True)
    print(table(rows))
    write_result("prefixes", rows, options.json, seeds=options.seeds, trials=options.trials)


if __name__ == "__main__":
    main()

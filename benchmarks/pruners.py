"""What pruners save and what they lose, on scores of the demo model: `python -m benchmarks.pruners`.

Whole studies of the family linear are played on the recorded table (`benchmarks.recorded`), with schedopt's own
objective, sampler and pruners: each with a seed of its own, on excerpts drawn from those there are. Columns: passes an
excerpt, how many trials were pruned, and what the best trial's gain lacks to that of the best schedule there is, in
dB: mean and worst of the seeds.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import optuna
from joblib import Parallel, delayed
from optuna.pruners import BasePruner

from benchmarks._harness import table, write_result
from benchmarks.recorded import STEPS, linear_schedules
from benchmarks.samplers import RECORDED
from benchmarks.stand_ins import Replayed
from schedopt.config import StudyConfig, make_config
from schedopt.evaluation import Evaluator
from schedopt.search.objective import Objective
from schedopt.search.pruners import PairedPruner, PredictivePruner, make_pruner
from schedopt.search.samplers import make_sampler
from schedopt.search_options import SearchOptions

VARIANTS: dict[str, tuple[str, Callable[[Sequence[str]], BasePruner]]] = {
    "none": ("none", lambda tracks: make_pruner(SearchOptions(pruner="none"), tracks)),
    "wilcoxon": ("wilcoxon", PairedPruner),
    "predictive": ("predictive", PredictivePruner),
    "chance 0.1": ("predictive", partial(PredictivePruner, chance=0.1)),
    "chance 0.3": ("predictive", partial(PredictivePruner, chance=0.3)),
    "learn from 5": ("predictive", partial(PredictivePruner, learn_from=5)),
    "learn from 8": ("predictive", partial(PredictivePruner, learn_from=8)),
}
"""Its name in study files and how it is made for so many excerpts; the last four differ in one argument."""


def config(seed: int, **sections: Any) -> StudyConfig:
    return make_config({"study": {"name": "s", "seed": seed}, "refinement": {"steps": STEPS}, **sections})


def study(stem: str, variant: str, excerpts: int, trials: int, seed: int) -> tuple[float, int, float]:
    """Passes an excerpt, pruned trials, and the loss in dB of one study."""
    optuna.logging.set_verbosity(optuna.logging.CRITICAL)
    evaluator = Replayed(stem, np.random.default_rng(seed).permutation(RECORDED)[:excerpts].tolist())
    name, make = VARIANTS[variant]
    settings = config(seed, search={"pruner": name})
    objective = Objective(
        [cast(Evaluator, evaluator)],
        settings.family(),
        resolution=settings.schedule.resolution,
        pruner=name,
        seed=seed,
    )
    made = optuna.create_study(direction="maximize", sampler=make_sampler(settings), pruner=make(objective.unit_tracks))
    made.optimize(objective, n_trials=trials)
    pruned = sum(trial.state == optuna.trial.TrialState.PRUNED for trial in made.trials)
    scores = evaluator.table(np.array(linear_schedules()))[evaluator.searched]
    best = scores.mean(axis=0)[:, 1:].max()
    return evaluator.passes.run / excerpts, pruned, float(best - made.best_value)


def played(options: argparse.Namespace) -> list[dict[str, Any]]:
    """A row for each number of excerpts and pruner."""
    rows: list[dict[str, Any]] = []
    for excerpts, variant in itertools.product(options.excerpts, VARIANTS):
        studies = Parallel(n_jobs=options.jobs)(
            delayed(study)(options.stem, variant, excerpts, options.trials, seed) for seed in range(options.seeds)
        )
        passes, pruned, lost = np.array(studies).T
        rows.append(
            {
                "excerpts": excerpts,
                "pruner": variant,
                "passes": round(float(passes.mean())),
                "pruned": round(float(pruned.mean())),
                "lost dB": round(float(lost.mean()), 4),
                "worst dB": round(float(lost.max()), 4),
            }
        )
        print(rows[-1], flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=16)
    parser.add_argument("--trials", type=int, default=100)
    parser.add_argument("--excerpts", type=int, nargs="+", default=[8, 12], help="so many of them in a study")
    parser.add_argument("--stem", default="vocals")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--json", type=Path, help="file of the result; default: benchmarks/results/pruners.json")
    options = parser.parse_args()
    rows = played(options)
    print(table(rows))
    write_result("pruners", rows, options.json, seeds=options.seeds, trials=options.trials, stem=options.stem)


if __name__ == "__main__":
    main()

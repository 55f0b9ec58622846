"""What pruners save and what they lose, on scores of the demo model: `python -m benchmarks.pruners`.

Every schedule of the family linear on the default resolution is scored on every excerpt (a quarter of an hour). Then
whole studies are played on that table, with schedopt's own objective, sampler and pruners: each with a seed of its own,
on excerpts drawn from those there are. Columns: passes an excerpt, how many trials were pruned, and what the best
trial's gain lacks to that of the best schedule there is, in dB: mean and worst of the seeds.
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import optuna
from joblib import Parallel, delayed
from numpy.typing import NDArray
from optuna.pruners import BasePruner

from benchmarks._harness import table, write_result
from benchmarks.samplers import StandIn
from schedopt.config import StudyConfig, make_config
from schedopt.evaluation import Evaluator, Scores
from schedopt.schedules import Schedule
from schedopt.search.objective import Objective
from schedopt.search.prepared import PreparedSearch
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


class Recorded(StandIn):
    """Plays a table of scores (excerpts, schedules, N+1)."""

    def __init__(self, schedules: NDArray[np.float64], scores: Scores) -> None:
        super().__init__(len(scores))
        self.table = {tuple(betas): scores[:, row] for row, betas in enumerate(schedules.tolist())}

    def by_step(self, betas: Schedule) -> Scores:
        return self.table[betas]


def config(seed: int, **sections: Any) -> StudyConfig:
    return make_config({"study": {"name": "s", "seed": seed}, **sections})


def record(path: Path, tracks: int | None, stem: str) -> None:
    """Score all schedules on all excerpts and keep the table."""
    settings = config(0, data={} if tracks is None else {"tracks": tracks}, store={"disk": 0})
    objective = PreparedSearch.prepare(settings).objective(stem)
    family, resolution = objective.family, objective.resolution
    points = np.linspace(0, 1, round(1 / resolution) + 1)
    params = [dict(zip(family.space, point, strict=True)) for point in itertools.product(points, points)]
    schedules = sorted({family.make(chosen, resolution) for chosen in params})
    (evaluator,) = objective.evaluators
    scores = []
    for excerpt, name in enumerate(evaluator.tracks):
        # Excerpt by excerpt, so that the store holds all prefixes of one.
        scores.append(np.stack([evaluator.scores(betas, [excerpt])[0] for betas in schedules]))
        print(f"{name}: {evaluator.passes}", flush=True)
    np.savez(path, schedules=np.array(schedules), scores=np.stack(scores))


def study(path: Path, variant: str, excerpts: int, trials: int, seed: int) -> tuple[float, int, float]:
    """Passes an excerpt, pruned trials, and the loss in dB of one study."""
    optuna.logging.set_verbosity(optuna.logging.CRITICAL)
    recorded = np.load(path)
    drawn = np.random.default_rng(seed).permutation(len(recorded["scores"]))[:excerpts]
    scores: Scores = recorded["scores"][drawn]
    evaluator = Recorded(recorded["schedules"], scores)
    name, make = VARIANTS[variant]
    settings = config(seed, search={"pruner": name})
    objective = Objective(
        [cast(Evaluator, evaluator)],
        settings.family(),
        resolution=settings.schedule.resolution,
        pruner=name,
        seed=seed,
    )
    made = optuna.create_study(
        direction="maximize", sampler=make_sampler(settings), pruner=make([str(one) for one in range(excerpts)])
    )
    made.optimize(objective, n_trials=trials)
    pruned = sum(trial.state == optuna.trial.TrialState.PRUNED for trial in made.trials)
    best = scores.mean(axis=0)[:, 1:].max()
    return evaluator.passes.run / excerpts, pruned, float(best - made.best_value)


def played(path: Path, options: argparse.Namespace) -> list[dict[str, Any]]:
    """A row for each number of excerpts and pruner."""
    rows: list[dict[str, Any]] = []
    for excerpts, variant in itertools.product(options.excerpts, VARIANTS):
        studies = Parallel(n_jobs=options.jobs)(
            delayed(study)(path, variant, excerpts, options.trials, seed) for seed in range(options.seeds)
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
    parser.add_argument("--tracks", type=int, help="default: that of study files")
    parser.add_argument("--excerpts", type=int, nargs="+", default=[8, 12], help="so many of them in a study")
    parser.add_argument("--stem", default="vocals")
    parser.add_argument(
        "--scores", type=Path, help="file of the table, made where it is missing; default: a temporary one"
    )
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--json", type=Path, help="file of the result; default: benchmarks/results/pruners.json")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        scores = options.scores or Path(folder) / "scores.npz"
        if not scores.exists():
            record(scores, options.tracks, options.stem)
        rows = played(scores, options)
    print(table(rows))
    write_result("pruners", rows, options.json, seeds=options.seeds, trials=options.trials, stem=options.stem)


if __name__ == "__main__":
    main()

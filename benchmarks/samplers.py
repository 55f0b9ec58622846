"""Which sampler and pruner find a good schedule in the fewest passes: `python -m benchmarks.samplers`.

Whole studies with schedopt's own objective, samplers and pruners; only the evaluator is a stand-in whose best
schedule is known: excerpt e scores base_e + Σ_n w_n·(1 − ((β_n − o_en)/s)²) after its steps, with a base that
differs between excerpts by several dB, optima o_en scattered around a common curve, and gains of tenths of a dB, as
real excerpts do.
A figure is the number of passes (prefixes shared) until the first complete trial that has 95 % of the gain that
the family can reach on these excerpts: median over seeds; "–" where most seeds did not get there.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import optuna
from joblib import Parallel, delayed
from scipy.optimize import differential_evolution

from benchmarks._harness import table, write_result
from schedopt.config import StudyConfig, make_config
from schedopt.evaluation import Evaluator, Passes, Scores
from schedopt.schedules import DEFAULT_RESOLUTION, Schedule
from schedopt.search.objective import Objective
from schedopt.search.pruners import make_pruner
from schedopt.search.samplers import make_sampler

STEPS = 5
EXCERPTS = 16
WIDTH = 0.5
"""Distance from the optimum at which a step gains nothing: SDR is that flat in β (FACTS, section 4)."""

CASES: dict[str, dict[str, Any]] = {
    "1 parameter": {"family": "cosine", "space": {"offset": [0.008, 0.008]}},
    "linear (2)": {"family": "linear"},
    "free (5)": {"family": "free"},
}


class StandIn:
    """An evaluator whose scores cost nothing; the same interface as `Evaluator` as far as `Objective` looks.

    It counts the passes that the separator would have run. `excerpts`: their number, of one track each.
    """

    def __init__(self, excerpts: int) -> None:
        self.passes = Passes()
        self.tracks = [f"track {e}" for e in range(excerpts)]
        self.tasks = [SimpleNamespace(excerpt=SimpleNamespace(fingerprint=name)) for name in self.tracks]
        self._seen: set[tuple[int, Schedule]] = set()

    def by_step(self, betas: Schedule) -> Scores:
        """(excerpts, N+1)."""
        raise NotImplementedError

    def scores(self, betas: Schedule, indices: Sequence[int] | None = None) -> Scores:
        chosen = list(range(len(self.tracks))) if indices is None else list(indices)
        for e in chosen:
            fresh = [n for n in range(len(betas) + 1) if (e, betas[:n]) not in self._seen]
            self._seen |= {(e, betas[:n]) for n in fresh}
            self.passes.run += len(fresh)
        return self.by_step(betas)[chosen]


class Made(StandIn):
    """Made scores whose best schedule is known."""

    def __init__(self, seed: int) -> None:
        super().__init__(EXCERPTS)
        rng = np.random.default_rng(seed)
        curve = np.linspace(rng.uniform(0.1, 0.7), rng.uniform(0.1, 0.7), STEPS) + rng.normal(0, 0.05, STEPS)
        self.base = rng.normal(8, 3, EXCERPTS)
        self.optima = np.clip(curve + rng.normal(0, 0.15, (EXCERPTS, STEPS)), 0, 1)
        self.weights = rng.gamma(4, 0.02, EXCERPTS)[:, None] * np.linspace(1, 0.6, STEPS)

    def by_step(self, betas: Schedule) -> Scores:
        """(excerpts, N+1): gains add up over the steps; β = 0 gains nothing."""
        gain = self.weights * (self.optima**2 - (np.asarray(betas) - self.optima) ** 2) / WIDTH**2
        steps = np.concatenate([np.zeros((EXCERPTS, 1)), np.cumsum(gain, axis=1)], axis=1)
        return np.asarray(self.base[:, None] + steps)

    def value(self, betas: Schedule) -> float:
        return float(self.by_step(betas)[:, -1].mean())


def config(case: str, sampler: str, pruner: str, resolution: float, seed: int) -> StudyConfig:
    return make_config(
        {
            "study": {"name": "s", "seed": seed},
            "refinement": {"steps": STEPS, "choose_steps": False},
            "schedule": {**CASES[case], "resolution": resolution},
            "search": {"sampler": sampler, "pruner": pruner},
        }
    )


def possible(stand_in: Made, settings: StudyConfig) -> float:
    """The best value in the family."""
    family = settings.family()
    names = list(family.space)
    bounds = [(family.space[name].low, max(family.space[name].high, family.space[name].low + 1e-9)) for name in names]

    def loss(x: Any) -> float:
        params = {name: float(np.clip(value, *bound)) for name, value, bound in zip(names, x, bounds, strict=True)}
        return -stand_in.value(family.make(params, 0))

    return -float(differential_evolution(loss, bounds, seed=0, maxiter=60, tol=1e-8).fun)


def passes_needed(case: str, sampler: str, pruner: str, resolution: float, seed: int, trials: int) -> float:
    """Passes until 95 % of the possible gain, or infinity."""
    optuna.logging.set_verbosity(optuna.logging.CRITICAL)
    settings, stand_in = config(case, sampler, pruner, resolution, seed), Made(seed)
    baseline = stand_in.value((0.0,) * STEPS)
    goal = baseline + 0.95 * (possible(stand_in, settings) - baseline)
    objective = Objective(
        [cast(Evaluator, stand_in)],
        settings.family(),
        resolution=settings.schedule.resolution,
        choose_steps=False,
        pruner=pruner,
        seed=seed,
    )
    study = optuna.create_study(
        direction="maximize",
        sampler=make_sampler(settings),
        pruner=make_pruner(settings.search, [str(one) for one in range(EXCERPTS)]),
    )
    for _ in range(trials):
        study.optimize(objective, n_trials=1)
        trial = study.trials[-1]
        if trial.state == optuna.trial.TrialState.COMPLETE and cast(float, trial.value) >= goal:
            return float(stand_in.passes.run)
    return float("inf")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--trials", type=int, default=60)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--resolutions", type=float, nargs="+", default=[DEFAULT_RESOLUTION])
    parser.add_argument("--samplers", nargs="+", default=["tpe", "random", "qmc", "cmaes", "grid", "gp"])
    parser.add_argument(
        "--pruners",
        nargs="+",
        default=["none", "predictive", "wilcoxon", "median", "percentile", "hyperband", "successive-halving"],
        help="the first two with every sampler, the others with the first sampler",
    )
    parser.add_argument("--json", type=Path, help="file of the result; default: benchmarks/results/samplers.json")
    options = parser.parse_args()
    rows = []
    for sampler in options.samplers:
        pruners = options.pruners if sampler == options.samplers[0] else options.pruners[:2]
        for pruner, resolution in itertools.product(pruners, options.resolutions):
            row: dict[str, Any] = {"sampler": sampler, "pruner": pruner, "resolution": resolution}
            for case in CASES:
                needed = Parallel(n_jobs=options.jobs)(
                    delayed(passes_needed)(case, sampler, pruner, resolution, seed, options.trials)
                    for seed in range(options.seeds)
                )
                median = float(np.median(needed))
                row[case] = round(median) if np.isfinite(median) else None
                row[f"{case}: reached"] = f"{int(np.isfinite(needed).sum())}/{options.seeds}"
            rows.append(row)
            print(row, flush=True)
            write_result("samplers", rows, options.json, seeds=options.seeds, trials=options.trials)
    print(table(rows))


if __name__ == "__main__":
    main()

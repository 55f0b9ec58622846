"""What pruners save and what they lose: `python -m benchmarks.pruners`.

Whole studies with schedopt's own objective, references, sampler and pruners on stand-ins for the evaluator
(`benchmarks.stand_ins`): recorded scores of the demo model, each seed on other tracks of the twelve, and made ones of
many tracks. The highest mean is selected. Columns: passes an excerpt, how many trials were pruned, and what the best
trial's gain on the searched tracks lacks to that of the best schedule there is, in dB: mean and worst of the seeds.

`race 4` and `race 8` are SMAC's intensification (Hutter, Hoos & Leyton-Brown, LION 2011, section 3.1): a trial is
compared with the selected one on the same 4, 8, 16 … tracks and ends as soon as it is not better there. They are here
to be compared with, not for studies.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Callable, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from joblib import Parallel, delayed
from optuna.pruners import BasePruner
from optuna.study import Study
from optuna.trial import FrozenTrial

from benchmarks._harness import table, write_result
from benchmarks.recorded import STEPS
from benchmarks.samplers import drawn, reachable, study_of
from benchmarks.stand_ins import Made, Mixed, Replayed, StandIn
from schedopt.config import make_config
from schedopt.search.pruners import PairedPruner, PredictivePruner, make_pruner
from schedopt.search_options import SearchOptions


class Race(PairedPruner):
    """Ends a trial that is not better than the selected one on the same `first`, 2 · `first`, … excerpts."""

    def __init__(self, tracks: Sequence[str], first: int) -> None:
        super().__init__(tracks)
        self._first = first

    def prune(self, study: Study, trial: FrozenTrial) -> bool:
        self._read_once(study, trial)
        seen = sorted(trial.intermediate_values)
        laps = len(seen) / self._first
        if self._rival is None or laps < 1 or not np.log2(laps).is_integer() or not {*seen} <= {*self._rival.values}:
            return False
        mine, others = (np.array([some[e] for e in seen]) for some in (trial.intermediate_values, self._rival.values))
        among = self._rival.among(seen)
        return not among.worth(mine) > among.worth(others)


VARIANTS: dict[str, tuple[str, Callable[[Sequence[str]], BasePruner]]] = {
    "none": ("none", lambda tracks: make_pruner(SearchOptions(pruner="none"), tracks)),
    "wilcoxon": ("wilcoxon", PairedPruner),
    "predictive": ("predictive", PredictivePruner),
    "chance 0.1": ("predictive", partial(PredictivePruner, chance=0.1)),
    "chance 0.3": ("predictive", partial(PredictivePruner, chance=0.3)),
    "learn from 8": ("predictive", partial(PredictivePruner, learn_from=8)),
    "race 4": ("predictive", partial(Race, first=4)),
    "race 8": ("predictive", partial(Race, first=8)),
}
"""The name in study files after which trials report, and how it is made for so many excerpts."""

SURFACES: dict[str, Callable[[int, int], StandIn]] = {
    "vocals": lambda seed, tracks: Replayed("vocals", drawn(tracks, seed)),
    "drums": lambda seed, tracks: Replayed("drums", drawn(tracks, seed)),
    "made": Made,
    "mixed": Mixed,
}


def play(scores: str, tracks: int, family: str, variant: str, trials: int, seed: int) -> tuple[float, int, float]:
    """Passes an excerpt, pruned trials, and the loss in dB of one study."""
    optuna.logging.set_verbosity(optuna.logging.CRITICAL)
    stand_in = SURFACES[scores](seed, tracks)
    name, make = VARIANTS[variant]
    settings = make_config(
        {
            "study": {"name": "s", "seed": seed},
            "refinement": {"steps": STEPS, **({} if stand_in.chained else {"shift": True})},
            "schedule": {"family": family},
            "search": {"pruner": name, "choose": "highest"},
        }
    )
    study, objective = study_of(stand_in, settings)
    study.pruner = make(objective.unit_tracks)
    study.optimize(objective, n_trials=trials)
    pruned = sum(trial.state == optuna.trial.TrialState.PRUNED for trial in study.get_trials(deepcopy=False))
    return stand_in.passes.run / tracks, pruned, best_score(scores, tracks, family, seed) - study.best_value


@cache
def best_score(scores: str, tracks: int, family: str, seed: int) -> float:
    return reachable(SURFACES[scores](seed, tracks), family)


def played(options: argparse.Namespace) -> list[dict[str, Any]]:
    """A row for each kind of scores, family and pruner."""
    rows: list[dict[str, Any]] = []
    for scores, family, variant in itertools.product(options.scores, options.families, VARIANTS):
        tracks = options.recorded if scores in ("vocals", "drums") else options.made
        studies = Parallel(n_jobs=options.jobs)(
            delayed(play)(scores, tracks, family, variant, options.trials, seed) for seed in range(options.seeds)
        )
        passes, pruned, lost = np.array(studies).T
        rows.append(
            {
                "scores": scores,
                "tracks": tracks,
                "family": family,
                "pruner": variant,
                "passes": round(float(passes.mean()), 1),
                "pruned": round(float(pruned.mean()), 1),
                "lost dB": round(float(lost.mean()), 4),
                "worst dB": round(float(lost.max()), 4),
            }
        )
        print(rows[-1], flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--trials", type=int, default=60)
    parser.add_argument("--scores", nargs="+", default=list(SURFACES), choices=list(SURFACES))
    parser.add_argument("--families", nargs="+", default=["linear", "free"])
    parser.add_argument("--recorded", type=int, default=8, help="tracks of a study on recorded scores, of 12")
    parser.add_argument("--made", type=int, default=48, help="tracks of a study on made scores")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--json", type=Path, help="file of the result; default: benchmarks/results/pruners.json")
    options = parser.parse_args()
    rows = played(options)
    print(table(rows))
    write_result("pruners", rows, options.json, seeds=options.seeds, trials=options.trials)


if __name__ == "__main__":
    # By its name, since other processes must find what they are sent.
    from benchmarks import pruners

    pruners.main()

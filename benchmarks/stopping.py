"""Whether `[search] stop` ends studies in time, and only then: `python -m benchmarks.stopping`.

Whole studies of the linear family with schedopt's own objective, samplers and pruner on recorded scores of the demo
model (`benchmarks.recorded`), changed so that it is known what is to be found: of each track's gain over one pass the
mean over the tracks is taken away and given back so many times that the best schedule gains so many dB (with 0 every
schedule gains nothing in the mean, and on each track what it did more or less than the mean).
`choose` is how the trial is selected: by the lower bound, which is often β = 0 for so few tracks, or by the mean.
Columns: studies that ended early and said so, those of them whose sentence was false (a schedule gains more than `stop`
over the selected one on these tracks), and finished trials (mean).
"""

from __future__ import annotations

import argparse
import itertools
from pathlib import Path

import numpy as np
import optuna
from joblib import Parallel, delayed
from numpy.typing import NDArray

from benchmarks._harness import table, write_result
from benchmarks.recorded import STEPS, linear_schedules
from benchmarks.samplers import drawn, study_of
from benchmarks.stand_ins import Replayed
from schedopt.config import make_config
from schedopt.evaluation import Scores
from schedopt.search.summary import selected_trial
from schedopt.workers.loop import ending

EXCERPTS = 8


class Changed(Replayed):
    """Recorded scores of some tracks with the mean gain over them changed, so that the best schedule gains `reach`."""

    def __init__(self, stem: str, tracks: list[int], reach: float) -> None:
        super().__init__(stem, tracks)
        self._factor = 1.0
        best = float(self.mean_gains(np.array(linear_schedules())).max())
        self._factor = reach / best if best > 0 else 0.0

    def table(self, schedules: NDArray[np.float64]) -> Scores:
        scores = super().table(schedules)
        mean = (scores - scores[..., :1])[self.searched].mean(axis=0)
        return np.asarray(scores + (self._factor - 1) * mean)

    def mean_gains(self, schedules: NDArray[np.float64]) -> NDArray[np.float64]:
        """(schedules, N): mean gain over the searched tracks after each step, dB."""
        scores = self.table(schedules)[self.searched]
        return np.asarray((scores - scores[..., :1]).mean(axis=0)[:, 1:])


def play(
    stem: str, reach: float, sampler: str, pruner: str, choose: str, stop: float, trials: int, seed: int
) -> tuple[bool, bool, int]:
    """Whether a study ended early, whether its sentence was false, and its finished trials."""
    optuna.logging.set_verbosity(optuna.logging.CRITICAL)
    stand_in = Changed(stem, drawn(EXCERPTS, seed), reach)
    settings = make_config(
        {
            "study": {"name": "s", "seed": seed},
            "refinement": {"steps": STEPS},
            "search": {"sampler": sampler, "pruner": pruner, "choose": choose, "stop": stop},
        }
    )
    study, objective = study_of(stand_in, settings)
    done, told = 0, None
    while done < trials and told is None:
        study.optimize(objective, n_trials=1)
        done += 1
        told = ending(study)
    selected = selected_trial(study, study.get_trials(deepcopy=False))
    assert selected is not None
    gains = stand_in.mean_gains(np.array(linear_schedules()))
    missed = gains.max() - selected.user_attrs["gain"]
    early = told is not None and "no schedule" in told
    return early, early and missed > stop, done


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=40)
    parser.add_argument("--trials", type=int, default=60)
    parser.add_argument("--stop", type=float, default=0.02)
    parser.add_argument("--samplers", nargs="+", default=["prefix-gp", "tpe"])
    parser.add_argument("--pruner", default="predictive")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--json", type=Path, help="file of the result; default: benchmarks/results/stopping.json")
    options = parser.parse_args()
    rows = []
    cases = itertools.product(("vocals", "drums"), (0.0, 0.01, 0.05), ("lower-bound", "highest"), options.samplers)
    for stem, reach, choose, sampler in cases:
        played = Parallel(n_jobs=options.jobs)(
            delayed(play)(stem, reach, sampler, options.pruner, choose, options.stop, options.trials, seed)
            for seed in range(options.seeds)
        )
        early, false, trials = np.array(played).T
        rows.append(
            {
                "scores": stem,
                "to be found dB": reach,
                "choose": choose,
                "sampler": sampler,
                "ended early": f"{int(early.sum())}/{options.seeds}",
                "falsely": f"{int(false.sum())}/{options.seeds}",
                "trials": round(float(trials.mean()), 1),
            }
        )
        print(rows[-1], flush=True)
        write_result("stopping", rows, options.json, seeds=options.seeds, trials=options.trials, stop=options.stop)
    print(table(rows))


if __name__ == "__main__":
    main()

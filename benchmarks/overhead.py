"""What a study costs beside its passes: `python -m benchmarks.overhead`.

- `start`: CPU time of the command `schedopt run` from the start of Python to its first pass, caches warm.
- `trial`: CPU time of a trial whose scores cost nothing (16 excerpts, default sampler and pruner, SQLite), where the
  study holds so many trials already; the median of `--trials`. `% of a trial` compares it with one that runs one pass
  an excerpt at htdemucs' size (`results/separate.json`).
- `memory`: resident memory of one process after so many trials of the demo model, excerpts of 0.5 s.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any, cast

import optuna
import psutil

from benchmarks._harness import RESULTS, table, write_result
from benchmarks.stand_ins import EXCERPTS, Made
from schedopt import make_config, run
from schedopt.config import StudyConfig
from schedopt.evaluation import Evaluator
from schedopt.search.objective import Objective
from schedopt.search.pruners import make_pruner
from schedopt.search.samplers import make_sampler
from schedopt.storage.opening import open_storage
from schedopt.workers.loop import work

PARTS = ("start", "trial", "memory")

STARTED = """
import os, sys, time
from schedopt.cli import main
from schedopt.separators import Separator

def first(*_, **__):
    print(time.process_time())
    sys.stdout.flush()
    os._exit(0)

Separator.__call__ = first
sys.argv = ["schedopt", "run", "study.toml"]
main()
"""
"""A run that ends at its first pass and prints the CPU time up to then."""

STUDY = """
[study]
name = "start"
[data]
tracks = 4
"""


def started() -> float:
    """CPU seconds from the start of Python to the first pass of the demo study; the second run finds warm caches."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "study.toml").write_text(STUDY, encoding="utf-8")
        for _ in range(2):
            ended = subprocess.run(
                [sys.executable, "-c", STARTED], cwd=folder, check=True, stdout=subprocess.PIPE, text=True
            )
    return float(ended.stdout.split()[-1])


def settings(trials: int) -> StudyConfig:
    return make_config({"study": {"name": "s", "trials": trials}, "schedule": {"family": "free"}})


class Free(Made):
    """Scores that cost nothing, one excerpt at a time as on a CPU."""

    batch_size = 1


def objective_of(config: StudyConfig) -> Objective:
    """The objective of `config` whose scores cost nothing."""
    return Objective(
        [cast(Evaluator, Free(0))], config.family(), resolution=config.schedule.resolution, pruner=config.search.pruner
    )


def earlier_trials(count: int) -> list[optuna.trial.FrozenTrial]:
    """Trials of random schedules, as a study of ours keeps them."""
    config = settings(count)
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.RandomSampler(seed=0))
    study.optimize(objective_of(config), n_trials=count)
    return study.get_trials(deepcopy=False)


def cost_of_trials(stored: int, trials: int) -> float:
    """CPU seconds of a trial in a study that holds `stored` trials: the median of `trials`."""
    config = settings(stored + trials)
    objective = objective_of(config)
    found: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        study = optuna.create_study(
            storage=open_storage(f"sqlite:///{folder}/s.db"),
            direction="maximize",
            sampler=make_sampler(config),
            pruner=make_pruner(config.search, objective.unit_tracks),
        )
        study.add_trials(earlier_trials(stored))
        began = time.process_time()

        def note() -> None:
            nonlocal began
            found.append(time.process_time() - began)
            began = time.process_time()

        work(study, objective, stored + trials, on_trial=note)
    return median(found)


def memory_after(counts: Sequence[int]) -> list[float]:
    """MiB of this process after so many trials of the demo model."""
    config = make_config(
        {
            "study": {"name": "s", "trials": max(counts)},
            "data": {"tracks": 2, "excerpt": 0.5},
            "refinement": {"steps": 2},
            "schedule": {"family": "free", "resolution": 0.01},
            "store": {"memory": 0.1, "disk": 0.0},
        }
    )
    found: list[float] = []

    def note(study: optuna.Study, trial: optuna.trial.FrozenTrial) -> None:
        if trial.number + 1 in counts:
            found.append(psutil.Process(os.getpid()).memory_info().rss / 2**20)

    with tempfile.TemporaryDirectory() as folder:
        config = config.model_copy(
            update={"study": config.study.model_copy(update={"storage": f"sqlite:///{folder}/s.db"})}
        )
        run(config, sampler=optuna.samplers.RandomSampler(seed=0), callbacks=[note])
    return found


def htdemucs_trial() -> float:
    """CPU seconds of the passes of a trial that runs one pass an excerpt at htdemucs' size."""
    rows = json.loads((RESULTS / "separate.json").read_text(encoding="utf-8"))["rows"]
    (row,) = [row for row in rows if row["model"] == "htdemucs size" and row["way"] == "ours, target only"]
    return float(EXCERPTS * row["CPU s"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stored", type=int, nargs="+", default=[100, 1000, 5000])
    parser.add_argument("--trials", type=int, default=15)
    parser.add_argument("--memory", type=int, nargs="+", default=[100, 500, 1000], help="numbers of trials")
    parser.add_argument("--json", type=Path, help="file of the result; default: benchmarks/results/overhead.json")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    options = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.CRITICAL)
    rows: list[dict[str, Any]] = []

    def add(**row: Any) -> None:
        rows.append({"what": None, "trials": None, "CPU s": None, "% of a trial": None, "MiB": None} | row)
        print(rows[-1], flush=True)

    if "start" in options.parts:
        add(what="start", **{"CPU s": started()})
    for stored in options.stored if "trial" in options.parts else ():
        cpu = cost_of_trials(stored, options.trials)
        add(what="trial", trials=stored, **{"CPU s": cpu, "% of a trial": 100 * cpu / htdemucs_trial()})
    if "memory" in options.parts:
        for count, size in zip(options.memory, memory_after(options.memory), strict=True):
            add(what="memory", trials=count, MiB=round(size))
    print(table(rows))
    write_result("overhead", rows, options.json)


if __name__ == "__main__":
    main()

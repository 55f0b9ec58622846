"""What an answer costs: whole searches against the best plain way, at what they gain on held-out tracks:
`python -m benchmarks.search`.

The demo model, free family of 4 steps; the selected schedules are scored on held-out tracks. The ways:
- `best plain way`: Optuna's TPE, all trials on all tracks, the highest mean wins, as a script would do it; SDR by
  torchmetrics of the target alone, repeated schedules and plain passes remembered, the allocator's settings
  (`benchmarks.study`). Its scores come from schedopt's engine, which is faster and equal; its cost is the median of
  `--plain` trials timed in a process of its own, times the distinct schedules. TPE's own time is not counted.
- `ours`: `schedopt run` with the default sampler and pruner and `--few` trials, as many as README's study has;
  the highest mean wins here as well, so that searches are compared and not ways to choose. All its CPU time, with
  loading, proposals, references, scores and storage.
- `ours, by default`: the same with as many trials as the plain way, and the schedule that the lower bound selects,
  which is β = 0 unless some other one surely gains: with few tracks it gives up gains for the promise not to harm.

Columns: trials, those of them that were pruned, passes an excerpt, CPU seconds of one core, how many times less than
the best plain way, gain over one pass on the held-out tracks, and that less the plain way's, with its 95 % interval
over the tracks, dB.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import optuna
import torch

from benchmarks._harness import fresh_process, seconds_of, table, write_result
from benchmarks.study import Case, plain_trial
from schedopt import make_config, run
from schedopt.data import cut_excerpts, load_tracks
from schedopt.evaluation import Evaluator
from schedopt.proof.statistics import compare
from schedopt.refinement import Refinement
from schedopt.schedules import Schedule
from schedopt.search.summary import Summary
from schedopt.separators import load_separator
from schedopt.types import STEMS

STEPS = 4
SECONDS = 5.3
PLAIN, OURS = "best plain way", "ours"
WAYS: dict[str, dict[str, Any]] = {
    PLAIN: {
        "search": {"sampler": "tpe", "pruner": "none", "choose": "highest"},
        "refinement": {"choose_steps": False},
    },
    OURS: {"search": {"choose": "highest"}},
    "ours, by default": {},
}


@dataclass(frozen=True)
class Searched:
    """What a way found in a study, and its CPU time in seconds."""

    summary: Summary
    betas: Schedule
    schedules: list[Schedule]
    cpu: float


def search(way: str, stem: str, trials: int, tracks: int, seed: int) -> Searched:
    """A new study of `way` in a database of its own; nothing is kept from before but the demo's songs."""
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{folder}/s.db"
        settings = {
            "study": {"name": "s", "storage": url, "trials": trials, "seed": seed},
            "data": {"tracks": tracks, "excerpt": SECONDS},
            "schedule": {"family": "free"},
            "store": {"disk": 0},
            **WAYS[way],
        }
        settings["refinement"] = {"target": stem, "steps": STEPS, **settings.get("refinement", {})}
        config = make_config(settings)
        made: list[Summary] = []
        cpu, _ = seconds_of(lambda: made.extend(run(config)))
        study = optuna.load_study(study_name="s", storage=url)
        # Whole, as a plain way runs them: trials do not keep the steps that a later β = 0 makes vain.
        tried = [trial.params for trial in study.get_trials(deepcopy=False)]
        schedules = [config.family().make(params, config.schedule.resolution) for params in tried]
    (summary,) = made
    assert summary.selected is not None
    return Searched(summary, tuple(summary.selected.betas), schedules, cpu)


def plain_cost(stem: str, schedules: Sequence[Schedule], tracks: int, plain: int) -> float:
    """CPU seconds of the best plain way for these trials, scaled from `plain` of them."""
    case = Case("demo", tracks, SECONDS, improved=True)
    distinct = list(dict.fromkeys(schedules))
    chosen = {round(place) for place in np.linspace(0, len(distinct) - 1, plain)}
    with fresh_process() as process:
        timed = [process.submit(plain_trial, case, distinct[place], stem).result() for place in sorted(chosen)]
    return len(distinct) * median(one[1] for one in timed) + median(one[0] for one in timed)


def held_out_gains(stem: str, betas: Schedule, tracks: int) -> dict[str, float]:
    """Gain over one pass on held-out tracks, dB by track."""
    excerpts = cut_excerpts(load_tracks("demo", "held-out", tracks), SECONDS)
    evaluator = Evaluator(load_separator("demo", device="cpu"), excerpts, Refinement(stem))
    scores = evaluator.scores(betas)
    return dict(zip(evaluator.tracks, (scores[:, -1] - scores[:, 0]).tolist(), strict=True))


def rows_of(stem: str, options: argparse.Namespace) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    rival: dict[str, float] = {}
    plain = 0.0
    for way in WAYS:
        found = search(way, stem, options.few if way == OURS else options.trials, options.tracks, options.seed)
        gains = held_out_gains(stem, found.betas, options.held_out)
        cpu, apart = found.cpu, "–"
        if way == PLAIN:
            cpu = plain = plain_cost(stem, found.schedules, options.tracks, options.plain)
            passes, rival = (1 + STEPS * len(set(found.schedules))) * options.tracks, gains
        else:
            passes = found.summary.passes_run
            (difference,) = compare([{name: gains[name] - rival[name] for name in gains}], np.random.default_rng(0))
            apart = f"{difference.mean:+.4f}"
            if difference.low is not None and difference.high is not None:
                apart += f" [{difference.low:+.4f}, {difference.high:+.4f}]"
        rows.append(
            {
                "target": stem,
                "way": way,
                "trials": found.summary.finished,
                "pruned": found.summary.pruned,
                "passes": round(passes / options.tracks, 1),
                "CPU s": round(cpu, 1),
                "ratio": round(plain / cpu, 2),
                "selected": " ".join(f"{beta:g}" for beta in found.betas),
                "held-out gain": round(float(np.mean(list(gains.values()))), 4),
                "less the plain way's": apart,
            }
        )
        print(rows[-1], flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--targets", nargs="+", default=list(STEMS), choices=STEMS)
    parser.add_argument("--trials", type=int, default=100)
    parser.add_argument("--few", type=int, default=30, help="trials of `ours`")
    parser.add_argument("--tracks", type=int, default=8, help="searched on")
    parser.add_argument("--held-out", type=int, default=48, help="tracks that the selected schedules are scored on")
    parser.add_argument("--plain", type=int, default=3, help="trials on which the plain way is timed")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="file of the result; default: benchmarks/results/search.json")
    options = parser.parse_args()
    torch.set_num_threads(1)
    optuna.logging.set_verbosity(optuna.logging.CRITICAL)
    rows: list[dict[str, Any]] = []
    for stem in options.targets:
        rows += rows_of(stem, options)
        write_result("search", rows, options.json)
    print(table(rows))


if __name__ == "__main__":
    main()

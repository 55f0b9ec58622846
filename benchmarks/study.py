"""What a study of distinct schedules costs, from the report's way to the least possible: `python -m benchmarks.study`.

The ways of the ladder, each on top of the one before:
- `the report's way`: per trial and excerpt mix, normalise, `apply_model` N+1 times, mir_eval on all four stems;
- `target only`: SDR by torchmetrics of the target alone, and the allocator's settings of `schedopt.memory`;
- `best plain way`: repeated schedules are not run again, and the plain pass of each excerpt is remembered;
- `ours`: the evaluator of a study, without pruning, with `[separator] optimise = true`;
- `least possible`: the passes that ours ran, at the fastest rate of a matrix product or a convolution here.

The plain ways' cost grows with the number of trials exactly: they are timed on `--plain` trials, spread over ours and
in processes of their own, and the median is scaled; ours is timed on every trial, since what it shares depends on how
many there are. Costs are CPU time of one core, without loading model and excerpts; `ratio` compares with the best
plain way. `max |Δ| dB` is the largest difference of a trial's score from the report's way. `hashing %` is the part of
our CPU time that hashing the inputs of passes takes.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from statistics import median
from typing import Any

import mir_eval
import numpy as np
import optuna
import torch
from demucs.apply import Model
from torch import Tensor
from torchmetrics.functional.audio import signal_distortion_ratio

from benchmarks._harness import fresh_process, seconds_of, table, write_result
from benchmarks._models import MODELS, excerpts, operations, peak_rate, plain_pass
from benchmarks.samplers import study_of
from benchmarks.stand_ins import Mixed
from schedopt.config import StudyConfig, make_config
from schedopt.data import mix
from schedopt.evaluation import Evaluator
from schedopt.memory import keep_freed_memory
from schedopt.refinement import Refinement
from schedopt.schedules import Schedule
from schedopt.separators import Separator
from schedopt.store import Store, digest
from schedopt.types import STEMS, Excerpt


@dataclass(frozen=True)
class Case:
    """A model and its excerpts; small, as it goes to another process."""

    name: str
    count: int
    seconds: float
    improved: bool = False  # the plain way with torchmetrics, the target alone, and the allocator's settings


def propose(family: str, steps: int, trials: int, seed: int = 0) -> list[Schedule]:
    """The schedules that a study of the family tries, in its order; no sampler of a study repeats one.

    It is a whole study by default settings without pruning; only its scores are made up (`benchmarks.stand_ins.Mixed`),
    so that proposing costs no pass.
    """
    settings: StudyConfig = make_config(
        {
            "study": {"name": "benchmark", "trials": trials, "seed": seed},
            "refinement": {"steps": steps},
            "schedule": {"family": family},
            "search": {"pruner": "none"},
        }
    )
    study, objective = study_of(Mixed(seed), settings)
    study.optimize(objective, n_trials=trials)
    tried = study.get_trials(deepcopy=False)
    return [objective.family.make(trial.params, objective.resolution) for trial in tried]


@lru_cache(maxsize=1)
def _at_hand(case: Case) -> tuple[Model, Sequence[Excerpt]]:
    """Model and excerpts of a process that runs a plain way."""
    torch.set_num_threads(1)
    if case.improved:
        keep_freed_memory()
    return MODELS[case.name](), excerpts(case.count, case.seconds)


def plain_trial(case: Case, betas: Schedule, target: str) -> tuple[float, float, float]:
    """CPU time of the plain passes of a trial, CPU time of all the rest, and its value in dB."""
    model, music = _at_hand(case)
    first = rest = 0.0
    scores = []
    k = STEMS.index(target)
    for excerpt in music:
        began = time.process_time()
        mixture = mix(excerpt.references)
        estimates = plain_pass(model, mixture)
        middle = time.process_time()
        for beta in betas:
            estimates = plain_pass(model, (1 - beta) * mixture + beta * estimates[k])
        scores.append((_torchmetrics_sdr if case.improved else _mir_eval_sdr)(excerpt, estimates, k))
        first, rest = first + middle - began, rest + time.process_time() - middle
    return first, rest, float(np.mean(scores))


def _torchmetrics_sdr(excerpt: Excerpt, estimates: Tensor, k: int) -> float:
    return float(signal_distortion_ratio(estimates[k].double(), excerpt.references[k].double()).mean())


def _mir_eval_sdr(excerpt: Excerpt, estimates: Tensor, k: int) -> float:
    """SDR of stem k, channels averaged, by mir_eval on all four stems as the report does."""
    by_channel = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        for channel in range(2):
            sdr, *_ = mir_eval.separation.bss_eval_sources(
                excerpt.references[:, channel].double().numpy(),
                estimates[:, channel].double().numpy(),
                compute_permutation=False,
            )
            by_channel.append(float(sdr[k]))
    return float(np.mean(by_channel))


def ladder(
    case: Case, family: str, schedules: Sequence[Schedule], targets: Sequence[str], plain: int
) -> list[dict[str, Any]]:
    """The rows of one model and one list of trials, each evaluated for every target."""
    separator = Separator.from_model(MODELS[case.name](), device="cpu", optimise=True)
    music, store = excerpts(case.count, case.seconds), Store()
    shared = tuple(targets) if len(targets) > 1 else ()
    evaluators = {
        target: Evaluator(separator, music, Refinement(target), store=store, shared_stems=shared) for target in targets
    }
    pairs = [(betas, target) for target in targets for betas in schedules]
    among = {round(place) for place in np.linspace(0, len(pairs) - 1, plain)}
    ours, apart, report, better = 0.0, 0.0, [], []
    improved = Case(case.name, case.count, case.seconds, improved=True)
    with fresh_process() as bare, fresh_process() as kept:
        for number, (betas, target) in enumerate(pairs):
            values: list[float] = []
            evaluator = evaluators[target]
            cpu, _ = seconds_of(
                lambda e=evaluator, b=betas, v=values: v.append(e.scores(b, every_step=False).mean())  # type: ignore[misc]
            )
            ours += cpu
            if number in among:
                report.append(bare.submit(plain_trial, case, betas, target).result())
                better.append(kept.submit(plain_trial, improved, betas, target).result())
                apart = max(apart, abs(values[0] - report[-1][2]))
    distinct, steps, count = len(set(pairs)), len(schedules[0]), len(music)
    passes = sum(evaluator.passes.run for evaluator in evaluators.values())
    mixture = mix(music[0].references)
    hashing = median(seconds_of(lambda: digest(mixture))[0] for _ in range(9)) * count * len(pairs) * (steps + 1)
    least = passes * sum(operations(lambda: separator(mixture[None], stems=targets[:1])).values())
    ways = {
        "the report's way": (len(pairs) * (steps + 1) * count, len(pairs) * median(sum(one[:2]) for one in report)),
        "target only": (len(pairs) * (steps + 1) * count, len(pairs) * median(sum(one[:2]) for one in better)),
        "best plain way": (
            (distinct * steps + 1) * count,
            distinct * median(one[1] for one in better) + median(one[0] for one in better),
        ),
        "ours": (passes, ours),
        "least possible": (passes, least / peak_rate(torch.device("cpu"), torch.float32)),
    }
    return [
        {
            "model": case.name,
            "family": family,
            "targets": len(targets),
            "trials": len(pairs),
            "distinct": distinct,
            "way": way,
            "passes": run,
            "CPU s": round(cpu, 1),
            "ratio": round(ways["best plain way"][1] / cpu, 2),
            "hashing %": round(100 * hashing / ours, 3) if way == "ours" else None,
            "max |Δ| dB": apart if way == "ours" else None,
        }
        for way, (run, cpu) in ways.items()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["demo"], choices=list(MODELS))
    parser.add_argument("--families", nargs="+", default=["linear", "free"])
    parser.add_argument("--targets", nargs="+", default=["vocals"], choices=STEMS)
    parser.add_argument("--trials", type=int, default=100)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--excerpts", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=5.3, help="length of an excerpt")
    parser.add_argument("--plain", type=int, default=5, help="trials on which the plain ways are timed")
    parser.add_argument("--json", type=Path, help="file of the result; default: benchmarks/results/study.json")
    options = parser.parse_args()
    torch.set_num_threads(1)
    optuna.logging.set_verbosity(optuna.logging.CRITICAL)
    rows: list[dict[str, Any]] = []
    for name in options.models:
        case = Case(name, options.excerpts, options.seconds)
        for family in options.families:
            schedules = propose(family, options.steps, options.trials)
            rows += ladder(case, family, schedules, options.targets, options.plain)
            print(table(rows[-5:]), flush=True)
    write_result("study", rows, options.json)


if __name__ == "__main__":
    main()

"""A list of trials evaluated by schedopt and by the straightforward way: `python -m benchmarks.study`.

The straightforward way is what the method's report describes: per trial and excerpt mix, normalise, `apply_model`
N+1 times, `bss_eval_sources` of mir_eval on all four stems; in a process of its own, as a script would be. Both get
all cores and the same trials; their values are compared. The straightforward way's cost grows with the number of trials
exactly, so it is timed on `--plain` of them, spread over ours, and scaled; ours is timed on all, since what it shares
depends on how many there are. `least s`: the passes that no sharing saves, at the rate of a plain matrix product.
"""

from __future__ import annotations

import argparse
import itertools
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import mir_eval
import numpy as np
import optuna
import torch
from demucs.apply import Model, apply_model

from benchmarks._harness import fresh_process, table, write_result
from benchmarks._models import MODELS, excerpts, operations, product_rate
from schedopt.config import StudyConfig, make_config
from schedopt.data import mix
from schedopt.evaluation import Evaluator
from schedopt.refinement import Refinement
from schedopt.schedules import Schedule
from schedopt.search.samplers import make_sampler
from schedopt.search.space import suggest
from schedopt.separators import Separator
from schedopt.store import Store
from schedopt.types import STEMS, Excerpt

TARGET = "vocals"


@dataclass(frozen=True)
class Case:
    """A model with the excerpts and the number of trials it is timed on; small, as it goes to another process."""

    name: str
    count: int
    seconds: float
    plain_trials: int

    def model(self) -> Model:
        return MODELS[self.name]()

    def excerpts(self) -> Sequence[Excerpt]:
        return excerpts(self.count, self.seconds)


def config(trials: int, **sections: dict[str, Any]) -> StudyConfig:
    return make_config({"study": {"name": "benchmark", "trials": trials}, **sections})


def propose(settings: StudyConfig, trials: int) -> list[Schedule]:
    """The schedules that a study with default settings tries, in its order.

    What it maximises is a smooth stand-in (a best β of 0.4 at every step), so that proposing costs no pass.
    """
    family, resolution = settings.family(), settings.schedule.resolution
    study = optuna.create_study(direction="maximize", sampler=make_sampler(settings))
    schedules: list[Schedule] = []

    def value(trial: optuna.Trial) -> float:
        schedules.append(family.make(suggest(trial, family, resolution), resolution))
        return -sum((beta - 0.4) ** 2 for beta in schedules[-1])

    study.optimize(value, n_trials=trials)
    return schedules


def plain_trial(case: Case, betas: Schedule, every_step: bool) -> tuple[float, Any]:
    """Seconds and value of one trial in the straightforward way; model and excerpts are at hand."""
    model, music = _at_hand(case)
    began = time.perf_counter()
    value = np.mean([_plain_scores(model, excerpt, betas, every_step) for excerpt in music], axis=0)
    return time.perf_counter() - began, value


@lru_cache(maxsize=1)
def _at_hand(case: Case) -> tuple[Model, Sequence[Excerpt]]:
    return case.model(), case.excerpts()


def _plain_scores(model: Model, excerpt: Excerpt, betas: Schedule, every_step: bool) -> list[float]:
    y = mix(excerpt.references)
    k = STEMS.index(TARGET)
    estimates = _plain_pass(model, y)
    scores = [_plain_sdr(excerpt, estimates, k)] if every_step else []
    for beta in betas:
        estimates = _plain_pass(model, (1 - beta) * y + beta * estimates[k])
        if every_step:
            scores.append(_plain_sdr(excerpt, estimates, k))
    return scores if every_step else [_plain_sdr(excerpt, estimates, k)]


def _plain_pass(model: Model, y: torch.Tensor) -> torch.Tensor:
    mono = y.mean(0)
    with torch.no_grad():
        out = apply_model(model, ((y - mono.mean()) / (mono.std() + 1e-8))[None], shifts=0, overlap=0.25)[0]
    estimates: torch.Tensor = out * (mono.std() + 1e-8) + mono.mean()
    return estimates


def _plain_sdr(excerpt: Excerpt, estimates: torch.Tensor, k: int) -> float:
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


def compare(case: Case, separator: Separator, trials: Sequence[int], every_step: bool) -> list[dict[str, Any]]:
    """A row for each number of trials; `separator` is the case's model."""
    model, music = case.model(), case.excerpts()
    schedules = propose(config(max(trials)), max(trials))
    # Bound by the operations of the passes that no sharing saves, at the rate of a plain matrix product.
    flops, rate = operations(model, mix(music[0].references)), product_rate(torch.device("cpu"), torch.float32)
    # Machines are faster and slower by the minute: the plain trials lie among ours.
    among = {round(place) for place in np.linspace(1, len(schedules), case.plain_trials)}
    evaluator = Evaluator(separator, music, Refinement(TARGET), store=Store())
    seconds, plain, apart, after = 0.0, [], 0.0, {}
    with fresh_process() as process:
        for count, betas in enumerate(schedules, 1):
            began = time.perf_counter()
            value = evaluator.scores(betas, every_step=every_step).mean(axis=0)
            seconds += time.perf_counter() - began
            if count in trials:
                after[count] = (seconds, evaluator.passes.run)
            if count in among:
                took, plain_value = process.submit(plain_trial, case, betas, every_step).result()
                plain.append(took)
                apart = max(apart, float(np.abs(value - plain_value).max()))
    rows = []
    for count, (seconds, passes) in after.items():
        plainly = float(np.mean(plain)) * count
        rows.append(
            {
                "model": case.name,
                "precision": separator.precision,
                "scored": "every step" if every_step else "last step",
                "trials": count,
                "plain s": round(plainly, 1),
                "ours s": round(seconds, 1),
                "ratio": round(plainly / seconds, 2),
                "plain passes": 6 * count * len(music),
                "passes": passes,
                "least s": round(passes * flops / rate, 1),
                "max |Δ| dB": apart,
            }
        )
        print(rows[-1], flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=list(MODELS), choices=list(MODELS))
    parser.add_argument("--trials", nargs="+", type=int, default=[1, 10, 100])
    parser.add_argument("--excerpts", type=int, default=2, help="excerpts of the demo model (htdemucs size: 1)")
    parser.add_argument("--seconds", type=float, default=10.0, help="length of an excerpt")
    parser.add_argument("--plain", type=int, default=4, help="trials on which the straightforward way is timed")
    parser.add_argument("--scored", nargs="+", default=["last", "every"], choices=["last", "every"])
    parser.add_argument("--precisions", nargs="+", default=["float32", "auto"])
    parser.add_argument("--json", type=Path, help="file of the result; default: benchmarks/results/study.json")
    options = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.CRITICAL)
    rows: list[dict[str, Any]] = []
    for name in options.models:
        case = Case(name, options.excerpts if name == "demo" else 1, options.seconds, options.plain)
        found = [Separator.from_model(case.model(), device="cpu", precision=kind) for kind in options.precisions]
        # What `auto` stands for may be among them already.
        separators = {separator.precision: separator for separator in found}
        for separator, scored in itertools.product(separators.values(), options.scored):
            rows += compare(case, separator, options.trials, scored == "every")
    print(table(rows))
    write_result("study", rows, options.json)


if __name__ == "__main__":
    main()

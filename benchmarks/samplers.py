"""Which sampler finds a good schedule in the fewest passes: `python -m benchmarks.samplers`.

Whole studies with schedopt's own objective, references, samplers and pruners; only the evaluator is a stand-in
(`benchmarks.stand_ins`): made scores whose steps add up (`made`), remix as arithmetic (`mixed`), and recorded scores
of the demo model (`vocals`, `drums`). Half of the tracks are searched, the other half is held out; each seed has
another surface or draws another half. Passes count as in a study: the references first, equal inputs once.

Columns: passes per excerpt until the first complete trial with 95 % of the gain over one pass that the best schedule
of the family has on the searched tracks (median over seeds, "–" where most did not get there), that median over TPE's
("<": over the passes until which TPE was waited for, where most of its studies did not get there), the same without
the passes of the references, how many seeds got there, passes per excerpt of a whole study, the gain of its selected
trial on the held-out tracks, and that less TPE's with the same pruner, paired by seed: mean and 95 % interval, dB. A
study that has not reached the goal by then goes on for a while to see when it does. Constants of schedopt's sampler
were chosen on other seeds (100 and up).
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import itertools
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, cast

import numpy as np
import optuna
import scipy.special
from joblib import Parallel, delayed
from numpy.typing import NDArray

import schedopt
from benchmarks._harness import RESULTS, table, write_result
from benchmarks.recorded import STEPS
from benchmarks.stand_ins import EXCERPTS, Made, Mixed, Replayed, StandIn, left_out_error
from schedopt.config import StudyConfig, make_config
from schedopt.evaluation import Evaluator
from schedopt.schedules import DEFAULT_RESOLUTION, family
from schedopt.search.objective import Objective
from schedopt.search.pruners import make_pruner
from schedopt.search.references import measure_references
from schedopt.search.samplers import make_sampler
from schedopt.search.summary import selected_trial
from schedopt.workers.loop import is_exhausted

RECORDED = 12
"""Tracks of the recorded tables."""

SHARE = 0.95
LEAST = 0.01
"""Gain in dB that a family must reach on the searched tracks for a seed to count: else there is nothing to find."""


def drawn(tracks: int, seed: int) -> list[int]:
    """The numbers of so many recorded tracks."""
    return sorted(np.random.default_rng(seed).permutation(RECORDED)[:tracks].tolist())


SURFACES: dict[str, Callable[[int], StandIn]] = {
    "made": lambda seed: Made(seed, 2 * EXCERPTS, range(EXCERPTS)),
    "mixed": lambda seed: Mixed(seed, 2 * EXCERPTS, range(EXCERPTS)),
    "vocals": lambda seed: Replayed("vocals", drawn(RECORDED // 2, seed)),
    "drums": lambda seed: Replayed("drums", drawn(RECORDED // 2, seed)),
}


@dataclass(frozen=True)
class Case:
    """What is searched, and how."""

    surface: str
    family: str
    pruner: str
    sampler: str


@dataclass(frozen=True)
class Played:
    """One study: passes per excerpt until the goal (infinite where it was not reached), in all its trials, and until
    the goal was no longer waited for; gain, dB."""

    needed: float
    passes: float
    held_out: float
    waited: float


@cache
def schedules_of(name: str) -> NDArray[np.float64]:
    """Every schedule of a family at the default resolution, (schedules, N)."""
    made = family(name, STEPS)
    points = np.linspace(0, 1, round(1 / DEFAULT_RESOLUTION) + 1)
    grid = itertools.product(points, repeat=len(made.space))
    return np.array(
        sorted({made.make(dict(zip(made.space, point, strict=True)), DEFAULT_RESOLUTION) for point in grid})
    )


def reachable(stand_in: StandIn, name: str) -> float:
    """The highest mean score of a family's schedules and their prefixes on the searched tracks, dB."""
    schedules = schedules_of(name)
    parts = [schedules[first : first + 8192] for first in range(0, len(schedules), 8192)]
    return max(float(stand_in.table(part)[stand_in.searched].mean(axis=0)[:, 1:].max()) for part in parts)


@cache
def goal(surface: str, name: str, seed: int) -> float | None:
    """The score with `SHARE` of the gain that the family can reach on the searched tracks; None where that is nil."""
    stand_in = SURFACES[surface](seed)
    best = reachable(stand_in, name)
    start = float(stand_in.by_step((0.0,) * STEPS)[:, 0].mean())
    return start + SHARE * (best - start) if best - start >= LEAST else None


def config(case: Case, seed: int) -> StudyConfig:
    return make_config(
        {
            "study": {"name": "s", "seed": seed},
            "refinement": {"steps": STEPS, **({} if SURFACES[case.surface](seed).chained else {"shift": True})},
            "schedule": {"family": case.family},
            "search": {"sampler": case.sampler, "pruner": case.pruner},
        }
    )


def study_of(stand_in: StandIn, settings: StudyConfig) -> tuple[optuna.Study, Objective]:
    """A new study in memory with its references measured, as `schedopt run` makes it."""
    objective = Objective(
        [cast(Evaluator, stand_in)],
        settings.family(),
        resolution=settings.schedule.resolution,
        choose_steps=settings.refinement.choose_steps,
        pruner=settings.search.pruner,
        seed=settings.study.seed,
    )
    study = optuna.create_study(
        direction="maximize",
        sampler=make_sampler(settings),
        pruner=make_pruner(settings.search, objective.unit_tracks),
    )
    study.set_user_attr("schedopt", schedopt.__version__)  # else it counts as another program's
    study.set_user_attr("config", settings.model_dump(mode="json"))
    measure_references(study, objective, contextlib.nullcontext)
    return study, objective


def play(case: Case, seed: int, trials: int, limit: int) -> Played | None:
    """A study of `trials`, or up to `limit` until the goal is reached; None where nothing is to be found."""
    optuna.logging.set_verbosity(optuna.logging.CRITICAL)
    wanted = goal(case.surface, case.family, seed)
    if wanted is None:
        return None
    stand_in = SURFACES[case.surface](seed)
    study, objective = study_of(stand_in, config(case, seed))
    needed, passes, held_out = np.inf, 0.0, 0.0
    for number in range(limit):
        if (number > trials and np.isfinite(needed)) or is_exhausted(study):
            break
        study.optimize(objective, n_trials=1)
        trial = study.get_trials(deepcopy=False)[-1]
        if trial.state == optuna.trial.TrialState.COMPLETE and cast(float, trial.value) >= wanted:
            needed = min(needed, stand_in.passes.run / len(stand_in.tracks))
        if number < trials:
            passes, held_out = stand_in.passes.run / len(stand_in.tracks), held_out_gain(stand_in, study)
    return Played(needed, passes, held_out, stand_in.passes.run / len(stand_in.tracks))


def held_out_gain(stand_in: StandIn, study: optuna.Study) -> float:
    """Gain in dB over one pass of the selected trial on the tracks that were not searched on."""
    selected = selected_trial(study, study.get_trials(deepcopy=False))
    assert selected is not None
    scores = stand_in.table(np.array([selected.user_attrs["betas"]]))[stand_in.held_out, 0].mean(axis=0)
    return float(scores[-1] - scores[0])


def share_of(median: float, other: float, waited: float) -> float | str | None:
    """`median` over `other`, or, where that was not reached, below which it must lie: `other` is above `waited`."""
    if not np.isfinite(median):
        return None
    return round(median / other, 2) if np.isfinite(other) else f"< {median / waited:.2f}"


def reference_passes(surface: str) -> int:
    """Passes per excerpt of the references, which no sampler has a say in: the plain pass, the line, and where β = 0 is
    another pass its steps."""
    return 1 + STEPS * (1 if SURFACES[surface](0).chained else 2)


def row(case: Case, played: Sequence[Played | None], rivals: Sequence[Played | None]) -> dict[str, Any]:
    """A line of the table; `rivals` are the same seeds with TPE."""
    found = [one for one in played if one is not None]
    median, other = (float(np.median([one.needed for one in some if one])) for some in (played, rivals))
    apart = np.array([a.held_out - b.held_out for a, b in zip(played, rivals, strict=True) if a and b])
    error = apart.std(ddof=1) / np.sqrt(len(apart)) * scipy.special.stdtrit(len(apart) - 1, 0.975)
    waited = float(np.median([min(one.needed, one.waited) for one in rivals if one]))
    first = reference_passes(case.surface)
    reached = sum(bool(np.isfinite(one.needed)) for one in found)
    return {
        "scores": case.surface,
        "family": case.family,
        "pruner": case.pruner,
        "sampler": case.sampler,
        "passes to 95 %": round(median, 1) if np.isfinite(median) else None,
        "of TPE's": share_of(median, other, waited),
        "beyond references": share_of(median - first, other - first, waited - first),
        "reached": f"{reached}/{len(found)}",
        "passes": round(float(np.mean([one.passes for one in found])), 1),
        "held-out gain": round(float(np.mean([one.held_out for one in found])), 4),
        "less TPE's": None if case.sampler == "tpe" else f"{apart.mean():+.4f} ± {error:.4f}",
    }


def kept(path: Path, cases: Sequence[Case]) -> dict[str, list[Played | None]]:
    """What a result file holds of earlier runs, by case."""
    studies = json.loads(path.read_text(encoding="utf-8")).get("studies", {}) if path.exists() else {}
    names = {name_of(case) for case in cases}
    return {
        name: [one and Played(**{key: float(value) for key, value in one.items()}) for one in some]
        for name, some in studies.items()
        if name in names
    }


def name_of(case: Case) -> str:
    return "/".join(dataclasses.astuple(case))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--trials", type=int, default=60)
    parser.add_argument("--limit", type=int, default=120, help="trials until which the goal is waited for")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--scores", nargs="+", default=list(SURFACES), choices=list(SURFACES))
    parser.add_argument("--families", nargs="+", default=["linear", "free"])
    parser.add_argument("--samplers", nargs="+", default=["prefix-gp", "cmaes", "gp"], help="beside tpe")
    parser.add_argument("--pruners", nargs="+", default=["none", "predictive"])
    parser.add_argument("--json", type=Path, default=RESULTS / "samplers.json", help="file of the result")
    parser.add_argument(
        "--again",
        nargs="*",
        help="run these samplers (none: only write the table anew); what others did is taken from the file",
    )
    options = parser.parse_args()
    grid = itertools.product(options.scores, options.families, options.pruners, ["tpe", *options.samplers])
    cases = [Case(*one) for one in grid]
    known = {} if options.again is None else kept(options.json, [c for c in cases if c.sampler not in options.again])
    rows: list[dict[str, Any]] = []
    for case in cases:
        if name_of(case) not in known and options.again == []:
            continue
        if name_of(case) not in known:
            known[name_of(case)] = Parallel(n_jobs=options.jobs)(
                delayed(play)(case, seed, options.trials, options.limit) for seed in range(options.seeds)
            )
        rows.append(row(case, known[name_of(case)], known[name_of(dataclasses.replace(case, sampler="tpe"))]))
        print(rows[-1], flush=True)
        write(options, rows, known)
    print(table(rows))


def write(options: argparse.Namespace, rows: list[dict[str, Any]], known: dict[str, list[Played | None]]) -> None:
    studies = {
        name: [one and {**dataclasses.asdict(one), "needed": str(one.needed)} for one in some]
        for name, some in known.items()
    }
    error = {stem: left_out_error(stem, every=8) for stem in ("vocals", "drums") if stem in options.scores}
    facts = {"seeds": options.seeds, "trials": options.trials, "limit": options.limit}
    write_result("samplers", rows, options.json, **facts, interpolation_error=error, studies=studies)


if __name__ == "__main__":
    # By its name, since other processes must find what they are sent.
    from benchmarks import samplers

    samplers.main()

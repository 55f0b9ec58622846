"""The bleed dial: the front of a study of two metrics (interference against artifacts), and its three named points.

Every complete trial is compared with β = 0 (the same rule and options) track by track, in both metrics, by the lower
bounds of its gains (`schedopt.search.selection.lower_bound`; with `[search] choose = "highest"` by their means). The
*front* are the trials that no other one matches or beats in both bounds. On it

    full      has the highest bound in the second metric (SI-SAR: the fewest artifacts)
    clean     has the highest bound in the first metric (SI-SIR: the least bleed) of those whose bound in the second is
              at most `COLLAPSE_DB` below that of `full`
    balanced  of those between the two, the one whose smaller share is largest; its shares are how far it is from
              `full` to `clean` in the first metric, and from `clean` to `full` in the second (0 to 1)

Where nothing lies between `full` and `clean`, `balanced` is the one of them with the larger sum of bounds. Names may so
fall on one trial, and where β = 0 is beaten in neither metric all three do. Costs no pass.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import optuna
from optuna.trial import FrozenTrial, TrialState

from schedopt.search.selection import lower_bound
from schedopt.search_options import dial

POINTS = ("clean", "balanced", "full")

COLLAPSE_DB = 1.0
"""What `clean` may lose of the second metric against `full`, dB."""


@dataclass(frozen=True)
class Candidate:
    """A trial with what it is worth in both metrics: (mean or bound, likewise) over β = 0 in dB."""

    trial: FrozenTrial
    worth: tuple[float, float]


@dataclass(frozen=True)
class Point:
    """A trial of the front as summaries show it: its names, if any; scores and gains over one pass in dB by metric."""

    names: tuple[str, ...]
    trial: int
    passes: int
    values: Mapping[str, float]
    gains: Mapping[str, float]
    betas: tuple[float, ...]


def front(trials: Sequence[FrozenTrial], zeros: Mapping[str, Any], *, by_bound: bool = True) -> list[Candidate]:
    """The candidates that no other one matches or beats in both metrics, from `full` to `clean`.

    Args:
        trials: of the study; complete ones of two metrics count; of equal ones the first with the fewest steps.
        zeros: the study's attribute of this name: gains by track of β = 0.
        by_bound: compare lower bounds, else means.
    """
    # Sorted so that whatever beats or matches a candidate stands before it.
    found = sorted(
        (_candidate(trial, zeros, by_bound=by_bound) for trial in trials if _counts(trial)),
        key=lambda one: (-one.worth[1], -one.worth[0], len(one.trial.user_attrs["betas"]), one.trial.number),
    )
    kept: list[Candidate] = []
    for one in found:
        if not kept or one.worth[0] > kept[-1].worth[0]:
            kept.append(one)
    return kept


def points(candidates: Sequence[Candidate]) -> dict[str, FrozenTrial]:
    """The trials of `POINTS` on a `front`; none of an empty one."""
    if not candidates:
        return {}
    full = candidates[0]
    within = [one for one in candidates if one.worth[1] >= full.worth[1] - COLLAPSE_DB]
    clean, between = within[-1], within[1:-1]
    if between:
        balanced = max(between, key=lambda one: _smaller_share(one, clean, full))
    else:
        balanced = max(full, clean, key=lambda one: sum(one.worth))
    return {"clean": clean.trial, "balanced": balanced.trial, "full": full.trial}


def search_of(study: optuna.Study) -> Mapping[str, Any]:
    """The section `[search]` that a study was made with; empty for one of another program."""
    return section_of(study, "search")


def section_of(study: optuna.Study, name: str) -> Mapping[str, Any]:
    """A section of the study file that a study was made with; empty for one of another program."""
    config = study.user_attrs.get("config") if "schedopt" in study.user_attrs else None
    found = config.get(name) if isinstance(config, Mapping) else None
    return found if isinstance(found, Mapping) else {}


def dial_front(study: optuna.Study, trials: Sequence[FrozenTrial]) -> list[Candidate]:
    """The front of a study of two metrics, see `schedopt.search.dial`; empty before its references are measured."""
    zeros = study.user_attrs.get("zeros", {})
    by_bound = search_of(study).get("choose") == "lower-bound"
    return front(trials, zeros, by_bound=by_bound) if "other" in zeros else []


def dial_points(study: optuna.Study, trials: Sequence[FrozenTrial]) -> dict[str, FrozenTrial]:
    """The named points of a study of two metrics by name; none of any other study."""
    return points(dial_front(study, trials)) if dial(search_of(study)) else {}


def would_be_an_end(complete: Sequence[FrozenTrial], values: tuple[float, float]) -> bool:
    """Whether a trial that ends with these scores would be the highest in one of both metrics."""
    before = [trial.values for trial in complete]
    return any(value > max((one[index] for one in before), default=-np.inf) for index, value in enumerate(values))


def shown(candidates: Sequence[Candidate], metrics: tuple[str, str]) -> tuple[Point, ...]:
    """The front for summaries, from `full` to `clean`."""
    named = points(candidates)
    return tuple(_shown(one.trial, metrics, named) for one in candidates)


def _shown(trial: FrozenTrial, metrics: tuple[str, str], named: Mapping[str, FrozenTrial]) -> Point:
    attrs = trial.user_attrs
    return Point(
        names=tuple(name for name, its in named.items() if its.number == trial.number),
        trial=trial.number,
        passes=len(attrs["betas"]) + 1,
        values=dict(zip(metrics, trial.values, strict=True)),
        gains={metrics[0]: attrs["gain"], metrics[1]: attrs["other"]["gain"]},
        betas=tuple(attrs["betas"]),
    )


def _counts(trial: FrozenTrial) -> bool:
    return trial.state == TrialState.COMPLETE and "other" in trial.user_attrs


def _candidate(trial: FrozenTrial, zeros: Mapping[str, Any], *, by_bound: bool) -> Candidate:
    attrs = trial.user_attrs
    worth = lower_bound if by_bound else np.mean
    first = worth(np.subtract(attrs["gain_by_track"], zeros["gain_by_track"]))
    second = worth(np.subtract(attrs["other"]["gain_by_track"], zeros["other"]["gain_by_track"]))
    # Rounded, so that schedules that are equal but for float32 noise do not stand on the front side by side.
    return Candidate(trial, (round(float(first), 6), round(float(second), 6)))


def _smaller_share(one: Candidate, clean: Candidate, full: Candidate) -> float:
    first = (one.worth[0] - full.worth[0]) / (clean.worth[0] - full.worth[0])
    second = (one.worth[1] - clean.worth[1]) / (full.worth[1] - clean.worth[1])
    return min(first, second)

"""A study in numbers, as commands and reports show it: read from its storage alone."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from schedopt.errors import DeletedError, printable
from schedopt.outputs import Weights
from schedopt.search.dial import Point, dial_front, dial_points, search_of, shown
from schedopt.search.selection import chosen, highest, reason
from schedopt.search.study import is_ours
from schedopt.search_options import PASSES, criteria, dial

log = logging.getLogger("schedopt")


@dataclass(frozen=True)
class NamedTrial:
    """The selected trial, which is exported, or the highest one (`schedopt.search.selection`): score and gain in dB.

    `weights`: those of a mixer by target, where they are not the mean output's. `output`: the chosen one, of several.
    """

    number: int
    value: float
    gain: float
    betas: tuple[float, ...]
    params: dict[str, float]
    weights: dict[str, Weights] = field(default_factory=dict)
    output: str | None = None

    @classmethod
    def of(cls, trial: FrozenTrial | None) -> NamedTrial | None:
        if trial is None:
            return None
        attrs = trial.user_attrs
        return cls(
            trial.number,
            trial.values[0],
            attrs["gain"],
            tuple(attrs["betas"]),
            dict(trial.params),
            weights_of(trial),
            attrs.get("output"),
        )

    def document(self) -> dict[str, Any]:
        """Its numbers; weights and output only where there are some."""
        found = asdict(self) | {"betas": list(self.betas)}
        return {name: value for name, value in found.items() if name not in ("weights", "output") or value}


def weights_of(trial: FrozenTrial) -> dict[str, Weights]:
    """Those of a mixer by target; none where the mean output is as good, or the output takes none."""
    return {stem: tuple(map(tuple, rows)) for stem, rows in trial.user_attrs.get("weights", {}).items()}


@dataclass(frozen=True)
class Trade:
    """A point of the Pareto front: the highest score (dB) that so many passes have bought."""

    passes: int
    value: float
    gain: float
    betas: tuple[float, ...]


@dataclass(frozen=True)
class Summary:
    """A study in numbers, read from its storage alone: no model, no data.

    `baseline` is the score of one pass, `line` that of the authors' straight line; dB. `passes_run` were run for
    these references and by the trials, `passes_saved` were shared with earlier ones; `seconds` likewise. `reason`: why
    the highest trial is not selected, where it is not. `ending`: why a study has ended before it had the trials asked
    for. Of a `foreign` study, which another program made, the trials are counted, and nothing else is known.
    """

    study: str
    storage: str
    complete: int
    pruned: int
    failed: int
    running: int
    selected: NamedTrial | None
    highest: NamedTrial | None
    baseline: float | None
    line: float | None
    passes_run: int
    passes_saved: int
    seconds: float
    front: tuple[Trade, ...] = ()
    dial: tuple[Point, ...] = ()
    foreign: bool = False
    reason: str | None = None
    ending: str | None = None

    @property
    def finished(self) -> int:
        return self.complete + self.pruned

    def document(self) -> dict[str, Any]:
        """The document of `--json` (its keys are a contract)."""
        return {
            "study": self.study,
            "storage": self.storage,
            "trials": {
                "complete": self.complete,
                "pruned": self.pruned,
                "failed": self.failed,
                "running": self.running,
            },
            "best": self.selected and self.selected.document(),
            "highest": self.highest and self.highest.document(),
            **({"reason": self.reason} if self.reason else {}),
            "baseline": {"value": self.baseline},
            "line": {"value": self.line},
            "passes": {"run": self.passes_run, "saved": self.passes_saved},
            "seconds": self.seconds,
            **({"front": [asdict(trade) for trade in self.front]} if self.front else {}),
            **({"dial": [asdict(point) for point in self.dial]} if self.dial else {}),
            **({"foreign": True} if self.foreign else {}),
            **({"ending": self.ending} if self.ending else {}),
        }


EDITED = (KeyError, TypeError, AttributeError, ValueError, IndexError)
"""What comes of attributes that somebody edited in the database."""


def summarize(study: optuna.Study, storage: str) -> Summary:
    """Read a study's numbers; `storage` is the URL to show (without a password).

    A study whose attributes were edited so that they cannot be read is shown like one of another program, with a note.
    """
    ours = is_ours(study)
    try:
        return _summary(study, storage, ours)
    except EDITED as error:
        if not ours or isinstance(error, DeletedError):
            raise
        log.warning("study %s: its attributes are not as schedopt wrote them: %r", printable(study.study_name), error)
        return _summary(study, storage, False)


def _summary(study: optuna.Study, storage: str, ours: bool) -> Summary:
    trials = study.get_trials(deepcopy=False)
    attrs = study.user_attrs if ours else {}

    metrics = dial(search_of(study)) if ours else None
    # What the references cost is part of the study's cost, though no trial paid it.
    spent = [attrs.get("references", {}), *(trial.user_attrs for trial in trials)] if ours else []

    def count(state: TrialState) -> int:
        return sum(trial.state == state for trial in trials)

    return Summary(
        study=study.study_name,
        storage=storage,
        complete=count(TrialState.COMPLETE),
        pruned=count(TrialState.PRUNED),
        failed=count(TrialState.FAIL),
        running=count(TrialState.RUNNING),
        selected=NamedTrial.of(selected_trial(study, trials)) if ours else None,
        highest=NamedTrial.of(highest(trials)) if ours else None,
        baseline=attrs.get("baseline", {}).get("value"),
        line=attrs.get("line", {}).get("value"),
        passes_run=_total(spent, "passes_run"),
        passes_saved=_total(spent, "passes_saved"),
        seconds=round(_total(spent, "seconds"), 3),
        front=_front(trials) if ours and PASSES in criteria(search_of(study)) else (),
        dial=shown(dial_front(study, trials), metrics) if metrics else (),
        foreign=not ours,
        reason=None if metrics or not ours else reason(trials, zeros_by_track(study)),
        ending=attrs.get("ending") or None,
    )


def zeros_by_track(study: optuna.Study) -> list[float] | None:
    """Gain of each track with β = 0, dB, where the study selects by the lower bound of the gain over it."""
    search = search_of(study)
    by_bound = search.get("choose") == "lower-bound" and PASSES not in criteria(search)
    return study.user_attrs.get("zeros", {}).get("gain_by_track") if by_bound else None


def selected_trial(study: optuna.Study, trials: Sequence[FrozenTrial]) -> FrozenTrial | None:
    """The selected one of all complete `trials` of `study`: of a dial, its point `balanced`."""
    if dial(search_of(study)):
        return dial_points(study, trials).get("balanced")
    return chosen(trials, zeros_by_track(study))


def _front(trials: Sequence[FrozenTrial]) -> tuple[Trade, ...]:
    """What one more pass buys: for every number of passes the highest trial, where it beats all with fewer."""
    points = sorted(
        (t for t in trials if t.state == TrialState.COMPLETE), key=lambda t: (t.values[1], -t.values[0], t.number)
    )
    front: list[Trade] = []
    for trial in points:
        if not front or trial.values[0] > front[-1].value:
            attrs = trial.user_attrs
            front.append(Trade(int(trial.values[1]), trial.values[0], attrs["gain"], tuple(attrs["betas"])))
    return tuple(front)


def _total(spent: Sequence[Mapping[str, Any]], key: str) -> Any:
    return sum(attributes.get(key, 0) for attributes in spent)

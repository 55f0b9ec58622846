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
from schedopt.search.dial import Point, dial_front, dial_points, search_of, section_of, shown
from schedopt.search.selection import chosen, highest, reason
from schedopt.search.study import is_ours
from schedopt.search_options import PASSES, criteria, dial
from schedopt.storage.owners import was_cut_off

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

    `failed` trials have failed by a fault of their own, the last of them with `failure`; `interrupted` ones (Ctrl-C, a
    process that was killed or silent) were tried again.

    `baseline` is the score of one pass, `zeros` that of β = 0 and `line` that of β_n = n/N with the study's options;
    dB. `line_name`: what the latter is called. `passes_run` were run for
    these references and by the trials, `passes_saved` were shared with earlier ones; `seconds` likewise. `reason`: why
    the highest trial is not selected, where it is not. `ending`: why a study has ended before it had the trials asked
    for. Of a `foreign` study, which another program made, the trials are counted, and nothing else is known.
    """

    study: str
    storage: str
    complete: int
    pruned: int
    failed: int
    interrupted: int
    running: int
    selected: NamedTrial | None
    highest: NamedTrial | None
    baseline: float | None
    zeros: float | None
    line: float | None
    line_name: str
    passes_run: int
    passes_saved: int
    seconds: float
    front: tuple[Trade, ...] = ()
    dial: tuple[Point, ...] = ()
    foreign: bool = False
    reason: str | None = None
    ending: str | None = None
    failure: str | None = None

    @property
    def finished(self) -> int:
        return self.complete + self.pruned

    @property
    def not_complete(self) -> str:
        """How many trials are not: `19 pruned, 0 failed, 2 interrupted`; the last where there are some."""
        counts = f"{self.pruned} pruned, {self.failed} failed"
        return f"{counts}, {self.interrupted} interrupted" if self.interrupted else counts

    @property
    def gain_over_zeros(self) -> float | None:
        """Of the selected trial in dB, where β = 0 with the study's options is not the plain pass itself."""
        if self.selected is None or self.zeros is None or self.baseline is None:
            return None
        return None if abs(self.zeros - self.baseline) < SAME_DB else self.selected.value - self.zeros

    @property
    def doubts(self) -> list[str]:
        """What a user should know of the selected trial before its schedule is used; sentences."""
        if self.selected is None or self.highest is None or self.dial:
            return []
        found = []
        if self.selected.gain <= 0:
            surely = "surely " if self.highest.gain > 0 else ""
            found.append(f"no schedule of this study is {surely}better than one pass on the search excerpts")
        if self.line is not None and self.line > self.highest.value + SAME_DB:
            higher = self.line - self.highest.value
            found.append(
                f"{self.line_name} scores {higher:.3f} dB higher than every trial; the family does not hold it"
            )
        return found

    def document(self) -> dict[str, Any]:
        """The document of `--json` (its keys are a contract)."""
        return {
            "study": self.study,
            "storage": self.storage,
            "trials": {
                "complete": self.complete,
                "pruned": self.pruned,
                "failed": self.failed,
                "interrupted": self.interrupted,
                "running": self.running,
            },
            "best": self.selected and self.selected.document(),
            "highest": self.highest and self.highest.document(),
            **({"reason": self.reason} if self.reason else {}),
            "baseline": {"value": self.baseline},
            "zeros": {"value": self.zeros},
            "line": {"value": self.line},
            "passes": {"run": self.passes_run, "saved": self.passes_saved},
            "seconds": self.seconds,
            **({"front": [asdict(trade) for trade in self.front]} if self.front else {}),
            **({"dial": [asdict(point) for point in self.dial]} if self.dial else {}),
            **({"foreign": True} if self.foreign else {}),
            **({"ending": self.ending} if self.ending else {}),
            **({"failure": self.failure} if self.failure else {}),
        }


SAME_DB = 1e-6
"""Scores that differ by less are of the same estimates, up to rounding."""

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

    failed = [trial for trial in trials if trial.state == TrialState.FAIL]
    own = [trial for trial in failed if not ours or not was_cut_off(trial, trials)]

    return Summary(
        study=study.study_name,
        storage=storage,
        complete=count(TrialState.COMPLETE),
        pruned=count(TrialState.PRUNED),
        failed=len(own),
        interrupted=len(failed) - len(own),
        running=count(TrialState.RUNNING),
        selected=NamedTrial.of(selected_trial(study, trials)) if ours else None,
        highest=NamedTrial.of(highest(trials)) if ours else None,
        baseline=attrs.get("baseline", {}).get("value"),
        zeros=attrs.get("zeros", {}).get("value"),
        line=attrs.get("line", {}).get("value"),
        line_name=line_name(study),
        passes_run=_total(spent, "passes_run"),
        passes_saved=_total(spent, "passes_saved"),
        seconds=round(_total(spent, "seconds"), 3),
        front=_front(trials) if ours and PASSES in criteria(search_of(study)) else (),
        dial=shown(dial_front(study, trials), metrics) if metrics else (),
        foreign=not ours,
        reason=None if metrics or not ours else reason(trials, zeros_by_track(study)),
        ending=attrs.get("ending") or None,
        failure=own[-1].user_attrs.get("failure", "no reason given") if ours and own else None,
    )


def line_name(study: optuna.Study) -> str:
    """What the study's schedule β_n = n/N is called: the authors' line where the study refines as they do."""
    made = section_of(study, "refinement")
    theirs = [made.get(name) for name in ("rule", "output", "shift", "residual")] == ["remix", "last", False, 0]
    return "the authors' line n/N" if theirs else "β = n/N, same options"


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

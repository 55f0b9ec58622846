"""The trials of a study that have a name, and the table of a bleed dial.

The *selected trial* is the one that is exported (surest gain over β = 0, `schedopt.search.selection`), the *highest
trial* the one with the highest score (Optuna's best). They are often one. A study of two metrics has the points of its
dial instead (`schedopt.search.dial`), of which `balanced` is selected.
"""

from __future__ import annotations

from collections.abc import Sequence

import optuna
from optuna.trial import FrozenTrial

from schedopt.metrics import title
from schedopt.search.dial import COLLAPSE_DB, Point, dial_points, search_of
from schedopt.search.selection import highest
from schedopt.search.summary import Summary, selected_trial
from schedopt.search_options import dial


def named_trials(study: optuna.Study, trials: Sequence[FrozenTrial]) -> dict[str, FrozenTrial]:
    """The selected, then the highest of all `trials` of `study`, by what they are called; of a dial its points.

    One entry where they are one, none where no trial of ours is complete.
    """
    points = dial_points(study, trials)
    if points:
        return _of_dial(points)
    selected = selected_trial(study, trials)
    if selected is None:
        return {}
    top = highest(trials)
    if top is None or top.number == selected.number:
        return {f"selected and highest trial ({selected.number})": selected}
    return {f"selected trial ({selected.number})": selected, f"highest trial ({top.number})": top}


def _of_dial(points: dict[str, FrozenTrial]) -> dict[str, FrozenTrial]:
    """The points of a dial, the selected one first; those that fall on one trial have one entry."""
    selected = points["balanced"].number
    found = {}
    for trial in (points["balanced"], points["clean"], points["full"]):
        names = [name for name, its in points.items() if its.number == trial.number]
        what = "selected trial, " if trial.number == selected else ""
        found[f"{what}{' and '.join(names)} ({trial.number})"] = trial
    return found


def explanation(study: optuna.Study, summary: Summary) -> str:
    """What the names of `named_trials` mean, and what speaks against the selected one, for a reader of a note or a
    report."""
    metrics = dial(search_of(study))
    if metrics is None:
        doubts = "".join(f"{doubt[0].upper()}{doubt[1:]}. " for doubt in summary.doubts)
        reason = summary.reason
        return (
            f"{doubts}The selected trial has the surest gain over β = 0 and is the one that is exported; the highest"
            f" trial has the highest score{f', but is not selected: {reason}' if reason else ''}."
        )
    first, second = map(title, metrics)
    return (
        f"All three points are exported. Over β = 0, by lower bounds over tracks: full has the highest {second}, clean"
        f" the highest {first} that costs at most {COLLAPSE_DB:g} dB of {second}, balanced lies between them and is"
        " selected: what a user gets without naming a point."
    )


def scored(study: optuna.Study, trial: FrozenTrial) -> str:
    """`6.22 dB, +0.345 dB over one pass`; of a study of two metrics both of them."""
    attrs, metrics = trial.user_attrs, dial(search_of(study))
    if metrics is None:
        return f"{trial.values[0]:.3f} dB, {attrs['gain']:+.3f} dB over one pass"
    gains = (attrs["gain"], attrs["other"]["gain"])
    parts = zip(metrics, trial.values, gains, strict=True)
    return "; ".join(f"{title(name)} {value:.3f} dB, {gain:+.3f} dB over one pass" for name, value, gain in parts)


def dial_table(points: Sequence[Point]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Header and rows of the front of a dial; dB."""
    metrics = list(points[0].values)
    head = ["point", "trial", "passes"]
    for metric in metrics:
        head += [title(metric), "gain"]
    rows = []
    for point in points:
        row = [", ".join(point.names) or "–", str(point.trial), str(point.passes)]
        for metric in metrics:
            row += [f"{point.values[metric]:.2f} dB", f"{point.gains[metric]:+.3f} dB"]
        rows.append((*row, " ".join(f"{beta:g}" for beta in point.betas)))
    return (*head, "β"), rows

"""The scores that every trial of a study is compared with: one pass, the authors' line and β = 0."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import optuna

from schedopt.schedules import Schedule, line, zeros
from schedopt.search.objective import Objective, Outcome
from schedopt.search.space import enqueue

Lock = Callable[[], AbstractContextManager[object]]
"""Only one process at a time is in the context that it makes."""


def measure_references(study: optuna.Study, objective: Objective, lock: Lock) -> None:
    """Score the references, keep them in the attributes of `study`, and queue both schedules as its next trials.

    At most 2·N + 1 passes an excerpt and target; none where the study has them already. Several processes may do so
    at once: each scores, outside the lock, and one writes.
    """
    if "baseline" in study.user_attrs:
        return
    steps = objective.family.steps
    authors_line, unscheduled = line(steps), zeros(steps)
    began, before = time.perf_counter(), objective.passes()
    outcome, outcome_of_zeros = objective.outcome(authors_line), objective.outcome(unscheduled)
    cost = (objective.passes() - before).attributes(time.perf_counter() - began)
    with lock():
        if "baseline" not in study.user_attrs:
            study.set_user_attr("zeros", {"value": outcome_of_zeros.value, **outcome_of_zeros.attributes()})
            _note(study, objective, authors_line, outcome)
            study.set_user_attr("references", cost)


def _note(study: optuna.Study, objective: Objective, authors_line: Schedule, outcome: Outcome) -> None:
    """Keep the scores of one pass and of the authors' line; queue both as trials where the family holds them.

    Up to β's resolution, that is.
    """
    study.set_user_attr("line", {"value": outcome.value, "betas": list(authors_line), **outcome.attributes()})
    study.set_user_attr("tracks", list(outcome.by_track()))
    names = {task.excerpt.name for e in objective.evaluators for task in e.tasks}
    study.set_user_attr("excerpts", sorted(names))
    left_out = {e.refinement.target: [x.name for x in e.left_out] for e in objective.evaluators}
    study.set_user_attr("left_out", {stem: out for stem, out in left_out.items() if out})
    for betas, role in ((zeros(len(authors_line)), "baseline"), (authors_line, "line")):
        enqueue(study, objective.family, betas, objective.resolution, role, with_steps=objective.searches_steps)
    # Last, so that a run that is cut off before it scores and queues again.
    baseline: dict[str, Any] = {"value": outcome.by_step[0], "by_step": [round(outcome.by_step[0], 6)]}
    if outcome.other is not None:
        baseline["other"] = {"value": outcome.other.by_step[0]}
    study.set_user_attr("baseline", baseline)

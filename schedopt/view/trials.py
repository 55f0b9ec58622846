"""The two trials of a study that have a name.

The *selected trial* is the one that is exported (surest gain over β = 0, `schedopt.search.selection`), the *highest
trial* the one with the highest score (Optuna's best). They are often one.
"""

from __future__ import annotations

from collections.abc import Sequence

import optuna
from optuna.trial import FrozenTrial

from schedopt.search.selection import highest
from schedopt.search.study import selected_trial


def named_trials(study: optuna.Study, trials: Sequence[FrozenTrial]) -> dict[str, FrozenTrial]:
    """The selected, then the highest of all `trials` of `study`, by what they are called.

    One entry where they are one, none where no trial of ours is complete.
    """
    selected = selected_trial(study, trials)
    if selected is None:
        return {}
    top = highest(trials)
    if top is None or top.number == selected.number:
        return {f"selected and highest trial ({selected.number})": selected}
    return {f"selected trial ({selected.number})": selected, f"highest trial ({top.number})": top}

"""Pruned trials as samplers are to see them: with the score that is predicted for them, not as failures.

Optuna's samplers rank a pruned trial below every complete one, or do not look at it. A trial that was ended because it
will hardly be selected may still be better than most: Optuna's advice for such pruners is to return the mean that is
expected of it (https://github.com/optuna/optuna/pull/5266).
"""

from __future__ import annotations

import copy
from collections.abc import Container

from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState


class PredictedStudy(Study):
    """A view of a study, for reading, in which pruned trials whose mean was predicted are complete with that mean."""

    @classmethod
    def of(cls, study: Study) -> PredictedStudy:
        view = copy.copy(study)
        view.__class__ = cls
        assert isinstance(view, PredictedStudy)
        return view

    def _get_trials(
        self, deepcopy: bool = True, states: Container[TrialState] | None = None, use_cache: bool = False
    ) -> list[FrozenTrial]:
        found = [_as_complete(one) for one in super()._get_trials(deepcopy=deepcopy, use_cache=use_cache)]
        return found if states is None else [one for one in found if one.state in states]


def _as_complete(trial: FrozenTrial) -> FrozenTrial:
    if trial.state != TrialState.PRUNED or "predicted" not in trial.user_attrs:
        return trial
    # The objective reports the prediction last.
    value = trial.intermediate_values[max(trial.intermediate_values)]
    shown = copy.copy(trial)
    shown.state, shown.values = TrialState.COMPLETE, [value]
    return shown

"""Pruned trials reach Optuna's samplers with the mean that is predicted for them."""

from __future__ import annotations

import optuna
from optuna.distributions import FloatDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from schedopt.config import make_config
from schedopt.search.predicted import PredictedStudy
from schedopt.search.samplers import make_sampler


def trial(start: float, value: float, *, pruned: bool, predicted: bool = True) -> FrozenTrial:
    settings = make_config({"study": {"name": "s"}, "refinement": {"steps": 2}})
    return create_trial(
        state=TrialState.PRUNED if pruned else TrialState.COMPLETE,
        value=None if pruned else value,
        params={"start": start, "end": 0.5},
        distributions={name: FloatDistribution(0, 1, step=settings.schedule.resolution) for name in ("start", "end")},
        intermediate_values={0: value - 5, 8: value},
        user_attrs={"predicted": {"by_step": None, "error": 0.01}} if pruned and predicted else {},
    )


def test_a_pruned_trial_with_a_prediction_is_shown_as_complete() -> None:
    study = optuna.create_study(direction="maximize")
    study.add_trials([trial(0.1, 1.0, pruned=False), trial(0.2, 3.0, pruned=True)])
    study.add_trial(trial(0.3, 2.0, pruned=True, predicted=False))
    view = PredictedStudy.of(study)
    assert [(t.state.name, t.values) for t in view.get_trials()] == [
        ("COMPLETE", [1.0]),
        ("COMPLETE", [3.0]),
        ("PRUNED", None),
    ]
    assert [t.number for t in view.get_trials(states=(TrialState.COMPLETE,))] == [0, 1]
    assert [t.state.name for t in study.trials] == ["COMPLETE", "PRUNED", "PRUNED"], "the study itself is as it was"


def test_tpe_looks_for_more_where_pruned_trials_are_predicted_to_be_good() -> None:
    """All trials at start ≥ 0.8 are pruned, with the highest predictions: the next ones lie there."""

    def starts(*, predicted: bool) -> float:
        sections = {"search": {"sampler": "tpe"}, "refinement": {"steps": 2}, "schedule": {"resolution": 0.01}}
        settings = make_config({"study": {"name": "s"}, **sections})
        study = optuna.create_study(direction="maximize", sampler=make_sampler(settings))
        for number in range(40):
            start = number / 40
            pruned = start >= 0.8
            study.add_trial(trial(round(start, 1), 5.0 if pruned else -start, pruned=pruned, predicted=predicted))
        asked = []
        for _ in range(8):
            one = study.ask()
            asked.append(one.suggest_float("start", 0, 1, step=0.01))
            one.suggest_float("end", 0, 1, step=0.01)
        return sum(asked) / len(asked)

    assert starts(predicted=True) > 0.6 > starts(predicted=False)

"""The objective: what a trial reports to the pruner, and in which order it takes the excerpts."""

from __future__ import annotations

from typing import Any

import optuna
import pytest

from schedopt.config import make_config
from schedopt.schedules import Schedule
from schedopt.search.objective import Objective
from schedopt.search.prepared import PreparedSearch
from schedopt.separators import Separator
from schedopt.store import Store
from tests.models import noise_excerpt, tiny_hdemucs, tiny_separator


def objective(target: str, silent: dict[int, tuple[str, ...]], pruner: str) -> Objective:
    excerpts = [noise_excerpt(seed, silent=silent.get(seed, ())) for seed in range(4)]
    config = make_config({"study": {"name": "m"}, "refinement": {"steps": 2}, "search": {"pruner": pruner}})
    return PreparedSearch(config, tiny_separator(), excerpts, Store()).objective(target, note=False)


def order_of(made: Objective, betas: Schedule) -> list[int]:
    """The excerpts of one trial in the order in which they were reported."""
    study = optuna.create_study(direction="maximize")
    study.enqueue_trial(dict(zip(("start", "end"), betas, strict=True)))
    study.optimize(made, n_trials=1)
    return list(study.trials[0].intermediate_values)


def test_every_excerpt_is_reported_whatever_is_silent_in_it() -> None:
    # Whichever excerpt comes first, one target is silent in it, so there is no score of all targets yet.
    silent: dict[int, Any] = {0: ("vocals",), 1: ("bass",), 2: ("drums",), 3: ("other",)}
    made = objective("all", silent, "predictive")
    study = optuna.create_study(direction="maximize")
    study.optimize(made, n_trials=3)
    assert [sorted(trial.intermediate_values) for trial in study.trials] == [[0, 1, 2, 3]] * 3


def test_trials_that_begin_alike_take_the_excerpts_in_the_same_order() -> None:
    made = objective("vocals", {}, "predictive")
    orders = {start: {tuple(order_of(made, (start, end))) for end in (0.0, 1.0)} for start in (0.0, 0.1, 0.2, 0.3)}
    assert all(len(found) == 1 for found in orders.values())
    assert len(set.union(*orders.values())) > 1


def test_running_means_are_reported_by_the_number_of_excerpts() -> None:
    made = objective("vocals", {}, "median")
    study = optuna.create_study(direction="maximize")
    study.set_user_attr("baseline", {"value": made.outcome((0.0,)).by_step[0]})
    study.optimize(made, n_trials=1)
    (trial,) = study.trials
    assert list(trial.intermediate_values) == [1, 2, 3, 4]
    assert trial.intermediate_values[4] == pytest.approx(trial.value)


def test_a_pruned_trial_is_shown_as_far_below_the_best_as_on_the_excerpts_it_saw() -> None:
    made = objective("vocals", {}, "wilcoxon")
    study = optuna.create_study(
        direction="maximize", pruner=optuna.pruners.ThresholdPruner(upper=-100, n_warmup_steps=1)
    )
    study.set_user_attr("baseline", {"value": made.outcome((0.0,)).by_step[0]})
    study.add_trial(optuna.trial.create_trial(value=9.0, intermediate_values={0: 8.0, 1: 8.5, 2: 9.5, 3: 10.0}))
    study.optimize(made, n_trials=1)
    trial = study.trials[1]
    assert trial.state == optuna.trial.TrialState.PRUNED
    seen = {unit: value for unit, value in trial.intermediate_values.items() if unit < 4}
    behind = [value - study.best_trial.intermediate_values[unit] for unit, value in seen.items()]
    assert trial.value == pytest.approx(9.0 + sum(behind) / len(seen))


def test_a_device_that_takes_batches_gets_excerpts_in_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    """A study sent one excerpt at a time to a GPU. Scores and costs are the same; pruning waits for the group."""
    excerpts = [noise_excerpt(seed) for seed in range(5)]
    config = make_config({"study": {"name": "m"}, "refinement": {"steps": 2}, "search": {"pruner": "none"}})
    found, sizes, original = [], [0], Separator.separate

    def told(self: Separator, mixtures: Any, **options: Any) -> Any:
        sizes.append(len(mixtures))
        return original(self, mixtures, **options)

    monkeypatch.setattr(Separator, "separate", told)
    for batch in (1, 2):
        separator = Separator.from_model(tiny_hdemucs(), device="cpu", batch_segments=batch)
        sizes.clear()
        made = PreparedSearch(config, separator, excerpts, Store()).objective("vocals", note=False)
        study = optuna.create_study(direction="maximize")
        study.enqueue_trial({"start": 0.3, "end": 0.6})
        study.optimize(made, n_trials=1)
        found.append((study.trials[0].value, made.passes()))
        assert set(sizes) == {1} if batch == 1 else {1, 2}
    assert found[0][0] == pytest.approx(found[1][0], abs=1e-4)
    assert found[0][1] == found[1][1]


@pytest.mark.parametrize(
    ("options", "cut"),
    [
        ({}, True),
        ({"rule": "unmix"}, True),
        ({"shift": True}, False),
        ({"output": "mean"}, False),
        ({"output": "auto"}, False),
        ({"residual": 0.2}, False),
        ({"peak_guard": True}, False),
        ({"rule": "resum"}, False),
    ],
    ids=str,
)
@pytest.mark.parametrize(("start", "end", "counting"), [(0.0, 0.6, (0.3, 0.6)), (0.6, 0.0, (0.6, 0.3, 0.0))], ids=str)
def test_steps_that_a_later_beta_of_0_makes_vain_are_not_kept(
    options: dict[str, Any], cut: bool, start: float, end: float, counting: Schedule
) -> None:
    """The kept schedule gives the trial's score in fewer passes; where β = 0 is another pass, all steps count."""
    excerpts = [noise_excerpt(seed) for seed in range(2)]
    refinement = {"steps": 3, "target": "vocals", "choose_steps": False, **options}
    config = make_config({"study": {"name": "m"}, "refinement": refinement, "search": {"pruner": "none"}})
    made = PreparedSearch(config, tiny_separator(), excerpts, Store()).objective("vocals", note=False)
    study = optuna.create_study(direction="maximize")
    study.enqueue_trial({"start": start, "end": end})
    study.optimize(made, n_trials=1)
    attrs = study.trials[0].user_attrs
    whole = made.family.make({"start": start, "end": end}, made.resolution)
    assert tuple(attrs["betas"]) == (counting if cut else whole)
    assert len(attrs["by_step"]) == len(whole) + 1
    if options.get("output") != "auto":
        assert made.outcome(tuple(attrs["betas"])).value == pytest.approx(study.trials[0].value, abs=1e-6)

"""Every pruner in a whole study, and the predictions of ours against a second way to compute them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
import scipy.stats
from numpy.typing import NDArray
from optuna.pruners import BasePruner
from optuna.trial import FrozenTrial, TrialState, create_trial

from benchmarks.stand_ins import Replayed
from schedopt.config import make_config
from schedopt.errors import ConfigError
from schedopt.optuna_classes import known_names
from schedopt.search.pruners import (
    LEARN_FROM,
    PairedPruner,
    PredictivePruner,
    Predictor,
    expected,
    make_pruner,
)
from schedopt.search.selection import chosen, lower_bound
from schedopt.storage.opening import open_storage

PRUNERS = known_names("pruner")
TRACKS = [f"track {e}" for e in range(8)]


def pruner_of(name: str, excerpts: int = 8, **options: object) -> BasePruner:
    search = {"pruner": name, **({"pruner_options": options} if options else {})}
    config = make_config({"study": {"name": "s"}, "search": search})
    return make_pruner(config.search, [f"track {e}" for e in range(excerpts)])


def valley(trial: optuna.Trial) -> float:
    """Best at start 0.3, end 0.7; eight excerpts, all alike."""
    start, end = trial.suggest_float("start", 0, 1), trial.suggest_float("end", 0, 1)
    value = -((start - 0.3) ** 2) - (end - 0.7) ** 2
    for step in range(8):
        trial.report(value, step)
        if step < 7 and trial.should_prune():
            raise optuna.TrialPruned
    return value


OWN_NAMES: list[tuple[str, dict[str, object]]] = [
    ("PatientPruner", {"wrapped_pruner": "MedianPruner", "patience": 1, "min_delta": 0.0}),
    ("ThresholdPruner", {"lower": -0.3}),
    ("WilcoxonPruner", {"p_threshold": 0.2}),
    ("SuccessiveHalvingPruner", {"min_resource": 1, "reduction_factor": 2}),
]


@pytest.mark.parametrize(("pruner", "options"), [*((name, {}) for name in PRUNERS), *OWN_NAMES])
def test_every_pruner_keeps_the_best_and_prunes_only_worse_trials(pruner: str, options: dict[str, Any]) -> None:
    study = optuna.create_study(
        direction="maximize", sampler=optuna.samplers.RandomSampler(seed=0), pruner=pruner_of(pruner, **options)
    )
    study.optimize(valley, n_trials=30)
    states = [t.state for t in study.trials]
    pruned = states.count(TrialState.PRUNED)
    assert len(states) == 30
    # Values that never change within a trial are no fall that a patient pruner waits for.
    assert (pruned > 0) == (pruner not in ("none", "PatientPruner"))
    complete = [t for t in study.trials if t.state == TrialState.COMPLETE]
    assert study.best_trial in complete


@pytest.mark.parametrize(
    ("search", "line"),
    [
        ({"pruner": "MedianPrunner"}, r"there is no pruner 'MedianPrunner' \(did you mean MedianPruner\?\)"),
        ({"pruner": "hyperbnd"}, r"did you mean hyperband\?"),
        (
            {"pruner": "median", "pruner_options": {"n_startup": 3}},
            r"no option 'n_startup' \(did you mean n_startup_tr",
        ),
        ({"pruner": "predictive", "pruner_options": {"chance": 0.1}}, "the pruner predictive has no options"),
        ({"pruner": "PatientPruner", "pruner_options": {"wrapped_pruner": "Median", "patience": 1}}, "no pruner 'Med"),
    ],
)
def test_unknown_pruners_and_options_get_one_line_with_the_nearest_known(search: dict[str, object], line: str) -> None:
    with pytest.raises(ConfigError, match=line):
        make_config({"study": {"name": "s"}, "search": search})


@pytest.mark.parametrize(
    ("name", "options", "line"),
    [
        ("PercentilePruner", {}, "PercentilePruner needs the option percentile"),
        ("PercentilePruner", {"percentile": 300.0}, "PercentilePruner refuses its options: Percentile must be"),
        ("PatientPruner", {"wrapped_pruner": "NopPruner", "patience": -1}, "refuses its options: patience"),
    ],
)
def test_values_that_the_pruner_refuses_are_said_in_one_line(name: str, options: dict[str, Any], line: str) -> None:
    with pytest.raises(ConfigError, match=line):
        pruner_of(name, **options)


def test_the_wilcoxon_test_asks_only_excerpts_on_which_the_trials_differ() -> None:
    study = optuna.create_study(direction="maximize", pruner=pruner_of("wilcoxon", 12))
    best = {excerpt: 0.1 * excerpt for excerpt in range(12)}

    def follow(values: dict[int, float]) -> bool:
        trial = study.ask()
        verdicts = []
        for excerpt, value in values.items():
            trial.report(value, excerpt)
            verdicts.append(trial.should_prune())
        study.tell(trial, sum(values.values()) / 12)
        return any(verdicts)

    assert not follow(best)
    # Twelve equal values: Optuna's own pruner would enumerate 2¹² signs here, seconds a call.
    assert not follow(best)
    worse = {excerpt: value - (0.01 * (excerpt + 1) if excerpt >= 8 else 0) for excerpt, value in best.items()}
    assert follow(worse)
    better = {excerpt: value + (0.01 * (excerpt + 1) if excerpt >= 8 else 0) for excerpt, value in best.items()}
    assert not follow(better)


def alike(rng: np.random.Generator, trials: int, excerpts: int) -> NDArray[np.float64]:
    """Values of trials (trials, excerpts): two things make a schedule good or bad, each excerpt hears both its way."""
    return np.asarray(rng.normal(size=(trials, 2)) @ rng.normal(size=(2, excerpts)) + rng.normal(size=excerpts))


def test_a_predicted_mean_is_that_of_the_excerpts_predicted_one_by_one() -> None:
    rng = np.random.default_rng(0)
    known, seen = rng.normal(size=(20, 6)), np.array([np.nan, 0.3, np.nan, -1.0, np.nan, np.nan])
    prediction = Predictor(known)(seen)
    # The textbook's conditional distribution of what is missing, then its sum.
    covariance = np.cov(known.T)
    plain = np.full((6, 6), max(0.0, (covariance.sum() - np.trace(covariance)) / 30))
    np.fill_diagonal(plain, np.trace(covariance) / 6)
    covariance = 20 / 26 * covariance + 6 / 26 * plain
    there, missing, center = [1, 3], [0, 2, 4, 5], known.mean(axis=0)
    inverse = np.linalg.inv(covariance[np.ix_(there, there)])
    slope = covariance[np.ix_(missing, there)] @ inverse
    off = seen[there] - center[there]
    expected_mean = (seen[there].sum() + (center[missing] + slope @ off).sum()) / 6
    left = covariance[np.ix_(missing, missing)] - slope @ covariance[np.ix_(there, missing)]
    wider = (19 + off @ inverse @ off) / (19 + 2)
    assert prediction.mean == pytest.approx(expected_mean)
    assert prediction.error == pytest.approx(np.sqrt(left.sum() * wider) / 6)
    assert prediction.freedom == 21
    drawn = prediction.draws()
    assert np.all(drawn[:, there] == seen[there])
    assert drawn.mean(axis=1).mean() == pytest.approx(expected_mean, abs=4 * prediction.error / np.sqrt(len(drawn)))
    assert drawn.mean(axis=1).std() == pytest.approx(prediction.error * np.sqrt(21 / 19), rel=0.15)


def test_a_predicted_mean_is_as_sure_as_it_says() -> None:
    rng = np.random.default_rng(1)
    ranks = []
    for _ in range(400):
        values = alike(rng, 21, 12)
        seen = np.where(rng.permutation(12) < 3, values[-1], np.nan)
        one = Predictor(values[:-1])(seen)
        ranks.append(scipy.stats.t.cdf((values[-1].mean() - one.mean) / one.error, one.freedom))
    # Shrinking makes it humble rather than bold: the truth is seldom where it says that it is seldom.
    assert np.mean(np.array(ranks) > 0.8) < 0.2
    assert np.mean(np.array(ranks) < 0.2) < 0.2
    assert 0.4 < np.mean(ranks) < 0.6


def test_all_excerpts_seen_leave_nothing_to_predict() -> None:
    values = alike(np.random.default_rng(2), 15, 5)
    prediction = Predictor(values[:-1])(values[-1])
    assert prediction.mean == pytest.approx(values[-1].mean(), abs=1e-6)
    assert prediction.error == 0


@pytest.mark.parametrize("spread", [0.0, 1.0], ids=["all equal", "all excerpts equal"])
def test_known_trials_without_a_spread_of_their_own_are_no_obstacle(spread: float) -> None:
    known = np.repeat(spread * np.arange(15.0)[:, None], 4, axis=1)
    prediction = Predictor(known)(np.array([3.0, np.nan, np.nan, np.nan]))
    assert np.isfinite(prediction.mean)
    assert np.isfinite(prediction.error)
    if spread:
        assert prediction.mean == pytest.approx(3, abs=0.2)


def complete(values: NDArray[np.float64], number: int, start: float = 0.0) -> FrozenTrial:
    return create_trial(
        params={"strength": float(number)},
        distributions={"strength": optuna.distributions.FloatDistribution(0, 1e6)},
        value=float(values.mean()),
        intermediate_values={step: float(value) for step, value in enumerate(values)},
        user_attrs={"steps": 1, "gain_by_track": [float(value) - start for value in values]},
    )


def test_what_the_excerpts_to_come_promise_ends_a_trial_or_lets_it_go_on() -> None:
    """Schedules have one strength: what it costs on the first four excerpts, the others give back and more."""
    shape = np.array([-1.0, -1, -1, -1, 1, 1, 1, 2])
    noise = np.random.default_rng(0)

    def followed(strength: float, known: int, order: Sequence[int] = range(8)) -> int:
        """For how many excerpts a trial is followed after so many complete ones with strengths from 1 to 2."""
        study = optuna.create_study(direction="maximize", pruner=pruner_of("predictive"))
        for number, one in enumerate(np.linspace(1.0, 2.0, known)):
            study.add_trial(complete(one * shape + noise.normal(0, 0.01, 8), number))
        trial = study.ask()
        for count, excerpt in enumerate(order, 1):
            trial.report(strength * shape[excerpt], excerpt)
            if trial.should_prune():
                return count
        return 8

    # On the first four excerpts it beats the best one; the more is known, the sooner it is seen what is to come.
    assert followed(0.5, 200) <= followed(0.5, LEARN_FROM) < followed(0.5, LEARN_FROM - 1) == 8
    assert followed(2.5, 200, order=[4, 5, 6, 7, 0, 1, 2, 3]) == 8


def test_equal_trials_make_a_prediction_no_surer() -> None:
    """Schedules of which the same prefix counts score alike: 40 of them are one, and what differs is not known."""
    study = optuna.create_study(direction="maximize", pruner=pruner_of("predictive"))
    for number in range(40):
        study.add_trial(complete(np.linspace(0, 0.01, 8), number))
    trial = study.ask()
    for excerpt, value in enumerate([-0.1, 0.1, -0.1]):
        trial.report(value, excerpt)
        assert not trial.should_prune()


def study_that_selects_by_the_lower_bound(pruner: BasePruner, zeros: Sequence[float]) -> optuna.Study:
    study = optuna.create_study(direction="maximize", pruner=pruner)
    study.set_user_attr("schedopt", 1)
    study.set_user_attr("config", {"search": {"choose": "lower-bound", "pareto": False}})
    study.set_user_attr("zeros", {"gain_by_track": list(zeros)})
    study.set_user_attr("baseline", {"value": 0.0})
    return study


def follow(study: optuna.Study, values: Sequence[float]) -> int:
    """After how many excerpts a trial with these values is pruned, or all."""
    trial = study.ask()
    for count, value in enumerate(values, 1):
        trial.report(value, count - 1)
        if count < len(values) and trial.should_prune():
            return count
    return len(values)


@pytest.mark.parametrize("pruner", ["predictive", "wilcoxon"])
def test_a_surer_trial_is_not_pruned_because_the_highest_one_is_another(pruner: str) -> None:
    lucky = np.array([0.32, 0.36, 0.3, 0.34, 0.31, 0.33, 9.0, 0.3])  # a high mean, most of it from one track
    sure = np.full(8, 0.28) + np.linspace(-0.01, 0.01, 8)
    study = study_that_selects_by_the_lower_bound(pruner_of(pruner), [0.0] * 8)
    study.add_trial(complete(np.zeros(8), 0))
    study.add_trial(complete(lucky, 1))
    assert lower_bound(sure) > lower_bound(lucky)
    assert follow(study, sure.tolist()) == 8
    # Where the mean selects, the same trial is lower on every track.
    by_mean = optuna.create_study(direction="maximize", pruner=pruner_of(pruner))
    by_mean.add_trial(complete(lucky, 1))
    assert follow(by_mean, sure.tolist()) < 8


def test_on_recorded_scores_a_surer_trial_is_kept_where_the_highest_one_is_another() -> None:
    """The trial that selection selects of 30 recorded ones comes last, after the others: pruning it loses almost
    nothing, also where another has the highest score; most others are pruned."""
    lost, pruned, different = [], 0, 0
    for seed in range(10):
        stand_in = Replayed("vocals", np.random.default_rng(seed).permutation(12)[:8].tolist())
        drawn = np.random.default_rng(100 + seed).integers(0, 11, (30, 2)) / 10
        schedules = sorted({tuple(np.round(one, 1).tolist()) for one in drawn})
        scores = [stand_in.by_step(betas) for betas in schedules]
        gains = [one[:, 1 + one.mean(axis=0)[1:].argmax()] - one[:, 0] for one in scores]
        trials = [complete(gain, number) for number, gain in enumerate([np.zeros(8), *gains])]
        for number, trial in enumerate(trials):
            trial.number = number
        selected = chosen(trials, [0.0] * 8)
        assert selected is not None
        different += selected.number != max(trials, key=lambda t: t.values[0]).number
        for trial in {selected.number: selected, **{t.number: t for t in trials[1:]}}.values():
            study = study_that_selects_by_the_lower_bound(pruner_of("predictive"), [0.0] * 8)
            rest = [other for other in trials if other.number != trial.number]
            study.add_trials(rest)
            is_pruned = follow(study, list(trial.intermediate_values.values())) < 8
            if trial is not selected:
                pruned += is_pruned
            elif is_pruned:
                second = chosen(rest, [0.0] * 8)
                assert second is not None
                bounds = [float(lower_bound(t.user_attrs["gain_by_track"])) for t in (selected, second)]
                lost.append(bounds[0] - bounds[1])
    assert different >= 3
    assert sum(lost) / 10 < 0.003
    assert pruned >= 60


def test_several_excerpts_of_a_track_are_averaged_before_it_counts() -> None:
    pruner = PairedPruner(["a", "b", "a", "b", "c"])
    study = study_that_selects_by_the_lower_bound(pruner, [0.1, 0.2, 0.3])
    trial = complete(np.array([1.0, 2, 3, 4, 5]), 0)
    trial.user_attrs["gain_by_track"] = [2.0, 3.0, 5.0]
    study.add_trial(trial)
    pruner.prune(study, trial)
    assert pruner._rival is not None
    by_track = np.array([2.0, 3.0, 5.0])
    expected_bound = lower_bound(by_track - [0.1, 0.2, 0.3])
    assert pruner._rival.worth(np.array([1.0, 2, 3, 4, 5])) == pytest.approx(expected_bound)


def test_a_pruned_trial_is_expected_to_score_what_the_others_tell() -> None:
    rng = np.random.default_rng(4)
    values = alike(rng, 30, 8)
    study = optuna.create_study(direction="maximize")
    assert expected(study, {0: 1.0, 3: 2.0}, 8) == (1.5, None)
    study.add_trial(complete(values[0], 0))
    behind = {0: values[0, 0] - 1, 3: values[0, 3] - 2}
    value, error = expected(study, behind, 8)
    assert value == pytest.approx(float(values[0].mean()) - 1.5)
    assert error is None
    for number, one in enumerate(values[1:-1], 1):
        study.add_trial(complete(one, number))
    value, error = expected(study, dict(enumerate(values[-1, :5].tolist())), 8)
    assert error is not None
    assert value == pytest.approx(values[-1].mean(), abs=max(0.05, 4 * error))


def test_a_call_costs_a_few_milliseconds(tmp_path: Path) -> None:
    """In a SQLite study of 100 complete trials on 12 excerpts it took 45 ms before the study was read once a trial."""
    values = alike(np.random.default_rng(5), 100, 12)
    storage = open_storage(f"sqlite:///{tmp_path}/s.db")
    study = optuna.create_study(storage=storage, direction="maximize", pruner=PredictivePruner([*map(str, range(12))]))
    study.add_trials([complete(one, number) for number, one in enumerate(values)])
    took = []

    def objective(trial: optuna.Trial) -> float:
        for excerpt in range(11):
            trial.report(float(values.max()), excerpt)
            frozen = study.get_trials(deepcopy=False)[-1]
            began = time.process_time()
            study.pruner.prune(study, frozen)
            took.append(time.process_time() - began)
        return 0.0

    study.optimize(objective, n_trials=1)
    # The first call reads the study; the median is what a trial pays an excerpt.
    assert np.median(took) < 0.0045

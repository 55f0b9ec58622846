"""Shared evaluation: the same values as a plain loop, whatever was computed before; passes counted."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from schedopt.data import mix
from schedopt.errors import DataError, ScheduleError
from schedopt.evaluation import Evaluator, mean_over_tracks
from schedopt.metrics import scorer, sdr
from schedopt.refinement import Refinement
from schedopt.rules import RULES
from schedopt.schedules import Schedule
from schedopt.store import Store
from schedopt.trajectory import Scene, refine
from tests.models import noise_excerpt, tiny_separator

SEPARATOR = tiny_separator()
EXCERPTS = [noise_excerpt(1), noise_excerpt(2), noise_excerpt(3, silent=("vocals",))]


def evaluator(target: str = "vocals", store: Store | None = None, **options: Any) -> Evaluator:
    refinement = Refinement(target, **options)
    return Evaluator(SEPARATOR, EXCERPTS, refinement, store=Store() if store is None else store)


def plain_scores(e: Evaluator, betas: Schedule, index: int) -> list[float]:
    """A loop that shares nothing."""
    references = e.tasks[index].excerpt.references
    k = e.tasks[index].excerpt.stems.index(e.refinement.target)
    mixture = mix(references, None)
    rest = mix(references, [0.0 if j == k else 1.0 for j in range(4)])
    outputs = refine(SEPARATOR, Scene(mixture, references[k], rest), betas, e.refinement)
    return [float(sdr(references[k], output)) for output in outputs]


@pytest.mark.parametrize("rule", list(RULES))
@pytest.mark.parametrize("options", [{}, {"shift": True, "output": "mean"}])
def test_equals_a_loop_that_shares_nothing(rule: str, options: dict[str, Any]) -> None:
    e = evaluator(rule=rule, **options)
    for betas in ((0.2, 0.4, 0.0), (0.2, 0.4, 0.9), (0.2,), (0.2, 0.4, 0.0)):
        got = e.scores(betas)
        assert got.shape == (2, len(betas) + 1)
        for index in range(2):
            assert_allclose(got[index], plain_scores(e, betas, index), rtol=0, atol=1e-6)


def test_batches_single_excerpts_and_last_steps_agree() -> None:
    betas = (0.3, 0.5)
    together = evaluator().scores(betas)
    one_by_one = np.concatenate([evaluator().scores(betas, [index]) for index in range(2)])
    last = evaluator().scores(betas, every_step=False)
    assert_allclose(together, one_by_one, rtol=0, atol=1e-6)
    assert_allclose(last[:, 0], together[:, -1], rtol=0, atol=1e-6)


def test_common_prefixes_are_run_once() -> None:
    e = evaluator()
    e.scores((0.2, 0.4))
    assert (e.passes.run, e.passes.saved) == (6, 0)
    e.scores((0.2, 0.6))
    assert (e.passes.run, e.passes.saved) == (8, 4)
    e.scores((0.2, 0.6))
    assert (e.passes.run, e.passes.saved) == (8, 10)
    # β = 0 under remix is the mixture again.
    e.scores((0.0, 0.0, 0.0))
    assert e.passes.run == 8


def test_scores_of_another_refinement_are_right_and_not_remembered() -> None:
    """A mixer's left-out weights are of one trial and track: a long study would hold a score for each."""
    e, how = evaluator(), Refinement("vocals", output="mean")
    own = e.scores((0.2, 0.4))
    known = dict(e.store.scores)
    other = e.scores((0.2, 0.4), refinement=how, again=True)
    assert e.store.scores == known
    assert e.passes.run == 6
    assert_allclose(other, Evaluator(SEPARATOR, EXCERPTS, how).scores((0.2, 0.4)), atol=1e-9)
    assert np.abs(other - own).max() > 1e-3


def test_targets_share_the_plain_pass() -> None:
    store: Store = Store()
    for count, target in enumerate(("drums", "bass", "other")):
        e = Evaluator(SEPARATOR, EXCERPTS, Refinement(target), store=store, shared_stems=SEPARATOR.stems)
        e.scores((0.5,))
        assert e.passes.run == (3 if count else 6)


def test_a_store_without_room_changes_the_cost_alone() -> None:
    roomy, tight = evaluator(), evaluator(store=Store(budget=0))
    for betas in ((0.2, 0.4), (0.2, 0.6), (0.2, 0.4, 0.8)):
        assert_allclose(tight.scores(betas), roomy.scores(betas), rtol=0, atol=1e-6)
    assert tight.passes.run > roomy.passes.run


def test_long_studies_keep_less_in_memory_and_the_same_values(monkeypatch: pytest.MonkeyPatch) -> None:
    store, betas = Store(), (0.2, 0.4)
    kept = evaluator("bass", store).scores(betas)
    monkeypatch.setattr("schedopt.evaluation.KEPT_TRANSFORMS", 0)
    first, second = evaluator("bass"), evaluator("drums", store)
    assert_allclose(first.scores(betas), kept, rtol=0, atol=1e-9)
    other = evaluator("bass", store)
    # One mixture serves every target, and unweighted targets are the excerpt's own samples.
    assert all(a.scene.mixture is b.scene.mixture for a, b in zip(second.tasks, other.tasks, strict=True))


def test_silent_targets_are_left_out_and_named() -> None:
    e = evaluator()
    assert [x.track for x in e.left_out] == ["track-3"]
    assert e.tracks == ["track-1", "track-2"]
    with pytest.raises(DataError, match="vocals is silent in all 1 excerpts"):
        Evaluator(SEPARATOR, EXCERPTS[2:], Refinement("vocals"))


def test_gains_weigh_the_mixture_and_the_reference() -> None:
    gains = {"vocals": 0.5}
    e = Evaluator(SEPARATOR, EXCERPTS, Refinement("vocals"), gains=gains, metric="snr")
    references = EXCERPTS[0].references
    weighted = references * references.new_tensor([1, 1, 1, 0.5])[:, None, None]
    assert (e.tasks[0].scene.mixture - weighted.sum(0)).abs().max() < 1e-6
    assert float(e.tasks[0].score("snr")(weighted[3])) > 100


def test_the_output_is_what_was_scored() -> None:
    e = evaluator(output="mean")
    betas = (0.4, 0.7)
    value = e.scores(betas)[1, -1]
    assert float(sdr(EXCERPTS[1].references[3], e.trajectory(betas, 1)[-1])) == pytest.approx(value, abs=1e-9)


def test_a_trajectory_is_what_was_scored_and_its_passes_are_counted() -> None:
    e = evaluator(shift=True)
    betas = (0.4, 0.7)
    outputs = e.trajectory(betas, 0)
    assert (e.passes.run, e.passes.saved) == (3, 0)
    scores = [float(sdr(EXCERPTS[0].references[3], output)) for output in outputs]
    assert_allclose(scores, e.scores(betas, [0])[0], rtol=0, atol=1e-9)
    assert (e.passes.run, e.passes.saved) == (3, 3)


def test_mean_over_tracks_weighs_tracks_not_excerpts() -> None:
    scores = np.array([[1.0], [3.0], [10.0]])
    assert mean_over_tracks(scores, ["a", "a", "b"]) == pytest.approx([6.0])


def test_the_same_track_twice_is_scored_like_any_other() -> None:
    twins = [noise_excerpt(1), noise_excerpt(1)]
    scores = Evaluator(SEPARATOR, twins, Refinement("vocals")).scores((0.3, 0.6))
    assert_allclose(scores[0], scores[1])
    assert np.isfinite(scores).all()


@pytest.mark.parametrize("metric", ["si_sir", "si_sar", "csdr", "global_sdr", "fullness"])
def test_every_metric_can_be_the_score(metric: str) -> None:
    """Metrics that need them get the references of all stems, as they are weighted in the mixture."""
    excerpt = noise_excerpt(0)
    weighted = Evaluator(tiny_separator(), [excerpt], Refinement("vocals"), metric=metric, gains={"bass": 0.5})
    references = excerpt.references * torch.tensor([1.0, 0.5, 1.0, 1.0])[:, None, None]
    score = scorer(metric, references=references, target=3, sample_rate=excerpt.sample_rate)
    outputs = torch.stack(weighted.trajectory((0.5,), 0))
    assert_allclose(weighted.scores((0.5,))[0], score(outputs), atol=1e-9)


@pytest.mark.parametrize("beta", [2.0, -1.0, float("nan")])
def test_a_beta_outside_of_0_to_1_is_refused(beta: float) -> None:
    with pytest.raises(ScheduleError, match="is not a number in"):
        evaluator().scores((beta,))


@pytest.mark.parametrize("gains", [{"vocal": 2.0}, {"vocals": -1.0}, {"vocals": float("nan")}])
def test_gains_that_cannot_be_are_refused(gains: dict[str, float]) -> None:
    with pytest.raises(DataError, match="gains are numbers from 0 on of drums, bass, other, vocals"):
        Evaluator(SEPARATOR, EXCERPTS, Refinement("vocals"), gains=gains)


def test_another_target_is_refused() -> None:
    with pytest.raises(ScheduleError, match="this evaluator scores vocals, not bass"):
        evaluator().scores((0.5,), refinement=Refinement("bass"))

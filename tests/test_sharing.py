"""Passes are remembered by what went into them: equal inputs are run once, whatever led there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from schedopt import store as stores
from schedopt.disk import DiskStore
from schedopt.evaluation import Evaluator
from schedopt.refinement import Refinement
from schedopt.rules import RULES, Rule, View
from schedopt.store import Memoised, Store, digest, pass_key
from tests.models import noise_excerpt, tiny_separator

SEPARATOR = tiny_separator()
EXCERPT = noise_excerpt(1)
ZEROS = (0.0, 0.0, 0.0)


def passes(refinements: list[Refinement], betas: tuple[float, ...], *, shared: bool = False) -> int:
    """Passes over one excerpt that all refinements cost together."""
    store, run = Store(), 0
    for refinement in refinements:
        stems = SEPARATOR.stems if shared else ()
        evaluator = Evaluator(SEPARATOR, [EXCERPT], refinement, store=store, shared_stems=stems)
        evaluator.scores(betas)
        run += evaluator.passes.run
    return run


def test_four_targets_of_the_shift_trick_share_every_pass() -> None:
    targets = [Refinement(stem, shift=True, output="mean") for stem in SEPARATOR.stems]
    assert passes(targets, ZEROS, shared=True) == 4


def test_four_shares_of_the_residual_are_arithmetic_on_the_same_passes() -> None:
    shares = [Refinement("vocals", rule="unmix", residual=share) for share in (0.25, 0.5, 0.75, 1.0)]
    assert passes(shares, (0.2, 0.4, 0.6)) == 4


def test_last_and_mean_share_every_pass() -> None:
    outputs = [Refinement("vocals", output=output) for output in ("last", "mean")]
    assert passes(outputs, (0.2, 0.4, 0.6)) == 4


def test_rules_that_make_the_same_input_share_it() -> None:
    """β = 0 under remix, unmix and ddpm is the mixture; β = 1 under oracle is the true stem, at every step."""
    rules = [Refinement("vocals", rule=rule) for rule in ("remix", "ddpm")]
    assert passes(rules, ZEROS) == 1
    assert passes([Refinement("vocals", rule="oracle")], (1.0, 1.0, 1.0)) == 2


def test_a_schedule_that_returns_to_an_earlier_input_runs_it_once() -> None:
    assert passes([Refinement("vocals")], (0.5, 0.0, 0.5)) == 2


def test_two_excerpts_with_the_same_samples_cost_one() -> None:
    evaluator = Evaluator(SEPARATOR, [noise_excerpt(1), noise_excerpt(1)], Refinement("vocals"), batch=2)
    evaluator.scores((0.3, 0.6))
    assert (evaluator.passes.run, evaluator.passes.saved) == (3, 3)


def test_an_edited_formula_never_meets_an_old_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def scores() -> list[float]:
        evaluator = Evaluator(SEPARATOR, [EXCERPT], Refinement("vocals"), store=Store(disk=DiskStore(tmp_path, 10**9)))
        found: list[float] = evaluator.scores((0.2, 0.4))[0].tolist()
        return found

    def edited(view: View) -> torch.Tensor:
        return (1 - view.beta) * view.mixture + 0.9 * view.beta * view.target

    before = scores()
    monkeypatch.setitem(RULES._own, "remix", Rule("remix", edited))
    after = scores()
    fresh = Evaluator(SEPARATOR, [EXCERPT], Refinement("vocals")).scores((0.2, 0.4))[0]
    assert_allclose(after, fresh, rtol=0, atol=1e-9)
    assert np.abs(np.subtract(after, before)[1:]).min() > 1e-6


@pytest.mark.parametrize("change", ["torch", "code", "device", "precision", "weights"])
def test_what_makes_other_estimates_makes_other_keys(change: str, monkeypatch: pytest.MonkeyPatch) -> None:
    before = pass_key(SEPARATOR)
    separator = SEPARATOR
    if change == "torch":
        monkeypatch.setattr(torch, "__version__", "9.9")
    elif change == "code":
        monkeypatch.setattr(stores, "_code", lambda: "other sources")
    elif change == "weights":
        separator = tiny_separator(1)
    else:
        from dataclasses import replace

        other = torch.device("meta") if change == "device" else "bfloat16"
        separator = replace(SEPARATOR, **{change: other})  # type: ignore[arg-type]
    assert pass_key(separator) != before


def test_another_version_runs_its_own_passes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for version, run in (("a", 3), ("a", 0), ("b", 3)):
        monkeypatch.setattr(torch, "__version__", version)
        store = Store(disk=DiskStore(tmp_path, 10**9))
        evaluator = Evaluator(SEPARATOR, [EXCERPT], Refinement("vocals"), store=store)
        evaluator.scores((0.2, 0.4))
        assert evaluator.passes.run == run, version


def test_digest_tells_samples_and_shape_apart() -> None:
    audio = torch.randn(2, 5000, generator=torch.Generator().manual_seed(0))
    assert digest(audio) == digest(audio.clone())
    touched = audio.clone()
    touched[1, -1] += 1e-6
    others = [touched, audio.flip(0), audio[:, :-1], audio.reshape(1, -1), -audio]
    assert len({digest(one) for one in (audio, *others)}) == 1 + len(others)
    # A view whose samples lie apart in memory.
    assert digest(audio.T.contiguous().T) == digest(audio)


def test_stems_that_a_pass_did_not_estimate_are_not_made_up() -> None:
    memoised = Memoised(SEPARATOR, Store())
    audio = EXCERPT.references.sum(0)
    (one,) = memoised.run([audio], 0, ("vocals",), 0)
    (both,) = memoised.run([audio], 0, SEPARATOR.stems, 0)
    (again,) = memoised.run([audio], 0, ("bass",), 0)
    assert memoised.passes == 2
    assert torch.equal(one[0], both[3])
    assert torch.equal(again[0], both[1])

"""Rules by hand: the formulas of DESIGN.md, their limits, and that no input is changed."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from schedopt.errors import ScheduleError
from schedopt.rules import RULES, View, ddpm, oracle, remix, resum, rule, unmix


def view(*betas: float, sigma: float = 0.0) -> View:
    generator = torch.Generator().manual_seed(1)

    def audio() -> torch.Tensor:
        return torch.randn(2, 50, generator=generator)

    return View(
        betas=betas,
        mixture=audio(),
        last_input=audio(),
        target=audio(),
        others=audio(),
        true_target=audio(),
        true_others=audio(),
        noise=audio() if sigma else None,
        sigma=sigma,
    )


def test_remix() -> None:
    v = view(0.3)
    torch.testing.assert_close(remix(v), 0.7 * v.mixture + 0.3 * v.target)
    assert torch.equal(remix(view(0.0)), view(0.0).mixture)
    assert torch.equal(remix(view(1.0)), view(1.0).target)


def test_resum() -> None:
    v = view(0.3)
    assert v.others is not None
    torch.testing.assert_close(resum(v), v.target + 0.7 * v.others)


def test_unmix() -> None:
    v = view(0.3)
    assert v.others is not None
    torch.testing.assert_close(unmix(v), v.mixture - 0.3 * v.others)
    assert torch.equal(unmix(view(0.0)), view(0.0).mixture)


def test_oracle_with_beta_1_feeds_the_true_stem() -> None:
    v = view(1.0)
    assert v.true_target is not None
    assert torch.equal(oracle(v), v.true_target)


def test_ddpm_is_equation_2() -> None:
    """x_{t−1} = (x_t − β_t/√(1−ᾱ_t)·ε)/√α_t + σ·z with ε = x_t − f(x_t)_k, times the output gain √ᾱ_t.

    The view's audio is that of step 1 with its gain √α_1, which is taken off and put on again.
    """
    v = view(0.2, 0.4, sigma=0.05)
    assert v.noise is not None
    alpha, alpha_bar = 1 - 0.4, (1 - 0.2) * (1 - 0.4)
    x, estimate = v.last_input / math.sqrt(1 - 0.2), v.target / math.sqrt(1 - 0.2)
    epsilon = x - estimate
    by_hand = (x - 0.4 / math.sqrt(1 - alpha_bar) * epsilon) / math.sqrt(alpha) + 0.05 * v.noise
    torch.testing.assert_close(ddpm(v), math.sqrt(alpha_bar) * by_hand)


def test_a_published_table_is_taken_from_its_end() -> None:
    """Algorithm 2 counts t downwards: of β = .1 … .5 the first step has the weight .5/√(1−ᾱ_5)."""
    table = (0.1, 0.2, 0.3, 0.4, 0.5)

    def weights(reverse: bool) -> list[float]:
        made = []
        for n in range(1, 6):
            v = replace(view(*table), step=n, reverse=reverse)
            removed = (v.last_input - ddpm(v)) / (v.last_input - v.target)
            made.append(round(float(removed.median()), 3))
        return made

    assert weights(False) == [0.316, 0.378, 0.426, 0.479, 0.543]
    assert weights(True) == weights(False)[::-1]


def test_ddpm_at_its_edges() -> None:
    assert torch.equal(ddpm(view(0.0, 0.0)), view(0.0).last_input)
    assert torch.isfinite(ddpm(view(1.0, 1.0))).all()


@pytest.mark.parametrize("name", list(RULES))
@pytest.mark.parametrize("beta", [0.0, 0.37, 1.0])
def test_every_rule_keeps_shape_and_inputs(name: str, beta: float) -> None:
    v, before = view(beta), view(beta)
    y = rule(name).next_input(v)
    assert y.shape == v.mixture.shape
    for field in ("mixture", "last_input", "target", "others", "true_target", "true_others"):
        assert torch.equal(getattr(v, field), getattr(before, field))


def test_unknown_rule() -> None:
    with pytest.raises(ScheduleError, match="remix"):
        rule("mixup")

"""Rules by hand: the formulas of DESIGN.md, their limits, and that no input is changed."""

from __future__ import annotations

import math

import pytest
import torch

from schedopt.errors import ScheduleError
from schedopt.rules import RULES, View, ddpm, guard_peak, oracle, remix, resum, rule, unmix


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
    """x_{t−1} = (x_t − β_t/√(1−ᾱ_t)·ε)/√α_t + σ·z with ε = x_t − f(x_t)_k."""
    v = view(0.2, 0.4, sigma=0.05)
    assert v.noise is not None
    alpha, alpha_bar = 1 - 0.4, (1 - 0.2) * (1 - 0.4)
    epsilon = v.last_input - v.target
    by_hand = (v.last_input - 0.4 / math.sqrt(1 - alpha_bar) * epsilon) / math.sqrt(alpha) + 0.05 * v.noise
    torch.testing.assert_close(ddpm(v), by_hand)


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


def test_peak_guard() -> None:
    loud, quiet = torch.tensor([[0.5, -4.0]]), torch.tensor([[0.5, -0.8]])
    assert torch.equal(guard_peak(loud), torch.tensor([[0.125, -1.0]]))
    assert torch.equal(guard_peak(quiet), quiet)
    assert torch.equal(guard_peak(torch.stack([loud, quiet])), torch.stack([guard_peak(loud), quiet]))

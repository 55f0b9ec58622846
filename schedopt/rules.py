"""Rules: how the mixture, the last estimates and β_n make the input of step n.

With y the mixture, k the target, x̂_n the estimates of step n and f the separator, step 0 is the plain pass
x̂_0 = f(y), and step n is x̂_n = f(y_n) with y_n from one of the rules below. A rule is a pure function of a
`View`; it works on any shape (..., channels, samples), never changes its inputs, and is pointwise in time, so that
long songs can be refined piece by piece. To add one: write the function and add one line to `RULES`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from schedopt.errors import ScheduleError


@dataclass(frozen=True)
class View:
    """All that a rule may look at when it makes the input of step n. Audio has shape (..., channels, samples).

    `others` (Σ over the stems that are not the target) is there for rules that say `needs_others`,
    `true_target` and `true_others` for rules that say `needs_references`, `noise` (standard normal) for
    rules that say `takes_noise` when `sigma` > 0.
    """

    betas: tuple[float, ...]
    mixture: Tensor
    last_input: Tensor
    target: Tensor
    others: Tensor | None = None
    true_target: Tensor | None = None
    true_others: Tensor | None = None
    noise: Tensor | None = None
    sigma: float = 0.0

    @property
    def beta(self) -> float:
        """β_n."""
        return self.betas[-1]


@dataclass(frozen=True)
class Rule:
    """A rule by name, with what it needs. Only what is needed is computed."""

    name: str
    next_input: Callable[[View], Tensor]
    needs_others: bool = False
    needs_references: bool = False
    takes_noise: bool = False


def remix(view: View) -> Tensor:
    """y_n = (1−β_n)·y + β_n·x̂_{n−1,k}: "add to mixture" in the authors' notebook. β_n = 0 gives y exactly."""
    return (1 - view.beta) * view.mixture + view.beta * view.target


def resum(view: View) -> Tensor:
    """y_n = x̂_{n−1,k} + (1−β_n)·Σ_{j≠k} x̂_{n−1,j}: "add sources" in the authors' notebook."""
    assert view.others is not None
    return view.target + (1 - view.beta) * view.others


def unmix(view: View) -> Tensor:
    """y_n = y − β_n·Σ_{j≠k} x̂_{n−1,j}: the other stems are taken out. β_n = 0 gives y exactly.

    Where the estimates add up to y this is `remix`; where they do not, what they miss stays in the input.
    """
    assert view.others is not None
    return view.mixture - view.beta * view.others


def oracle(view: View) -> Tensor:
    """y_n = x_k + (1−β_n)·Σ_{j≠k} x_j with the true stems: "oracle predictor", an upper bound.

    β_n = 1 feeds the true stem itself.
    """
    assert view.true_target is not None
    assert view.true_others is not None
    return view.true_target + (1 - view.beta) * view.true_others


MIN_ALPHA = 1e-3
"""Floor of α_n = 1−β_n in `ddpm`: β_n = 1 would divide by zero. The signal grows at most 32-fold a step."""


def ddpm(view: View) -> Tensor:
    """y_n = (y_{n−1} − β_n/√(1−ᾱ_n)·ε)/√α_n + σ·z: equation 2 of the report (arXiv 2006.11239, algorithm 2).

    ε = y_{n−1} − x̂_{n−1,k} is what the separator says is not the target; α_n = max(1−β_n, MIN_ALPHA);
    ᾱ_n = α_1·…·α_n over the steps made so far, so that trials share prefixes. While every β is 0, ᾱ_n = 1
    and the fraction is taken as its limit 0: the input stays the mixture.
    """
    alphas = [max(1 - beta, MIN_ALPHA) for beta in view.betas]
    removed = 1 - math.prod(alphas)
    weight = view.beta / math.sqrt(removed) if removed > 0 else 0.0
    estimated_noise = view.last_input - view.target
    clean = (view.last_input - weight * estimated_noise) / math.sqrt(alphas[-1])
    return clean if view.noise is None else clean + view.sigma * view.noise


RULES: dict[str, Rule] = {
    "remix": Rule("remix", remix),
    "resum": Rule("resum", resum, needs_others=True),
    "unmix": Rule("unmix", unmix, needs_others=True),
    "ddpm": Rule("ddpm", ddpm, takes_noise=True),
    "oracle": Rule("oracle", oracle, needs_references=True),
}


def rule(name: str) -> Rule:
    """The rule of this name.

    Raises:
        ScheduleError: there is none.
    """
    if name not in RULES:
        raise ScheduleError(f"there is no rule {name!r}; there are {', '.join(RULES)}")
    return RULES[name]


def guard_peak(audio: Tensor) -> Tensor:
    """Divide (..., channels, samples) by its peak where that exceeds 1: the authors' guard against clipping."""
    peak = audio.abs().amax(dim=(-2, -1), keepdim=True)
    return audio / torch.clamp(peak, min=1.0)

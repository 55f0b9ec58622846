"""Rules: how the mixture, the last estimates and β_n make the input of step n.

With y the mixture, k the target, x̂_n the estimates of step n and f the separator, step 0 is the plain pass
x̂_0 = f(y), and step n is x̂_n = f(y_n) with y_n from one of the rules below. A rule is a pure function of a
`View`; it works on any shape (..., channels, samples), never changes its inputs, and is pointwise in time, so that
long songs can be refined block by block.

To add one: write the function and add one line to `RULES`, or call `register_rule`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from schedopt.errors import ScheduleError
from schedopt.registry import Registry

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class View:
    """All that a rule may use when it makes the input of step n. Audio has shape (..., channels, samples).

    `betas` is the whole schedule, `step` is n (the last step where it is 0). `others` (Σ over the stems that are not
    the target) is there for rules that say `needs_others`; together with `target` it holds the mixture's mean once.
    `true_target` and `true_others` are there for rules that say `needs_references`, `noise` (standard normal) for rules
    that say `takes_noise` when `sigma` > 0.
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
    step: int = 0
    reverse: bool = False

    @property
    def beta(self) -> float:
        """β_n."""
        return self.betas[self.step - 1]


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
"""Floor of α_n = 1−β_n in `ddpm`, whose published form divides by √α_n."""


def ddpm(view: View) -> Tensor:
    """Equation 2 of the report (arXiv 2006.11239, algorithm 2) with an output gain, so that loudness stays.

    The published step is x_n = (x_{n−1} − w_n·ε_n)/√α_n + σ·z with w_n = β_n/√(1−ᾱ_n) and ε_n = x_{n−1} − f(x_{n−1})_k,
    what the separator says is not the target. Its loudness grows by 1/√α_n a step. Here y_n = g_n·x_n with the output
    gain g_n = √(α_1·…·α_n); since f scales with its input, that is

        y_n = y_{n−1} − w_n·(y_{n−1} − x̂_{n−1,k}) + g_n·σ·z

    α_n = max(1−β_n, MIN_ALPHA). β_1 belongs to the first step made and ᾱ_n = α_1·…·α_n to the steps made so far, while
    algorithm 2 takes a table of β_t from t = N down to 1 with ᾱ_t = α_1·…·α_t of that table: `reverse` does so. Where
    every β up to there is 0, w_n is taken as its limit 0: the input stays the mixture.
    """
    n = view.step or len(view.betas)
    alphas = [max(1 - beta, MIN_ALPHA) for beta in view.betas]
    t = len(alphas) + 1 - n if view.reverse else n
    removed = 1 - math.prod(alphas[:t])
    weight = view.betas[t - 1] / math.sqrt(removed) if removed > 0 else 0.0
    clean = view.last_input - weight * (view.last_input - view.target)
    if view.noise is None:
        return clean
    gain = math.sqrt(math.prod(alphas[t - 1 :] if view.reverse else alphas[:t]))
    return clean + gain * view.sigma * view.noise


RULES: Registry[Rule] = Registry("rule", "schedopt.rules", ScheduleError, {
    "remix": Rule("remix", remix),
    "resum": Rule("resum", resum, needs_others=True),
    "unmix": Rule("unmix", unmix, needs_others=True),
    "ddpm": Rule("ddpm", ddpm, takes_noise=True),
    "oracle": Rule("oracle", oracle, needs_references=True),
})  # fmt: skip


def rule(name: str) -> Rule:
    """The rule of this name.

    Raises:
        ScheduleError: there is none.
    """
    return RULES.find(name)


def register_rule(rule: Rule) -> Rule:
    """Make a rule known by its name.

    >>> import schedopt
    >>> rule = schedopt.Rule("doc_boost", lambda view: view.mixture + view.beta * view.target)
    >>> schedopt.register_rule(rule).name, schedopt.Refinement("vocals", rule="doc_boost").rule
    ('doc_boost', 'doc_boost')
    """
    return RULES.register(rule.name, rule)

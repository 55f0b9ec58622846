"""Trajectories: the separator run again and again on what it made of the mixture.

`refine` is the method in one loop. `begin` and `advance` are its two moves over a batch of scenes, for callers
that keep states and continue from them (`schedopt.evaluation` shares prefixes between trials that way).
Everything that a step draws at random is fixed by its number and the seed, so equal prefixes are equal
trajectories.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from schedopt.errors import ScheduleError
from schedopt.rules import View, guard_peak, rule
from schedopt.schedules import Schedule

MAX_SHIFT_SECONDS = 0.5
"""Largest per-step time shift: that of Demucs' own shift trick."""


class Separates(Protocol):
    """The part of a separator that refinement needs. One call costs one pass per mixture."""

    @property
    def stems(self) -> tuple[str, ...]: ...

    @property
    def sample_rate(self) -> int: ...

    def __call__(self, mixtures: Tensor, *, shift: int = 0, stems: Sequence[str] | None = None) -> Tensor:
        """(batch, channels, samples) → (batch, stems, channels, samples); `shift` in samples."""
        ...


class Options(Protocol):
    """The options of a refinement, as study files and schedule files hold them."""

    @property
    def rule(self) -> str: ...

    @property
    def shift(self) -> bool: ...

    @property
    def output(self) -> Literal["last", "mean"]: ...

    @property
    def residual(self) -> float: ...

    @property
    def peak_guard(self) -> bool: ...

    @property
    def sigma(self) -> float: ...


@dataclass(frozen=True)
class Refinement:
    """How a schedule is applied; with the separator and the mixture it fixes a trajectory.

    `shift`: the input of step n ≥ 1 is delayed by its own seeded amount of 0 to 0.5 s, the output moved back.
    `output`: what is handed out after step n, the last estimate or the mean of those of steps 0 … n.
    `residual`: share of what each of these passes left over, its input less the sum of its estimates of all stems, that
    is handed out with the target from step 1 on (mixture consistency, arXiv 1811.08521, where the share is 1 / stems).
    It costs no pass of its own, but every stem must be estimated.
    `peak_guard`: an input whose peak exceeds 1 is divided by it (the authors' guard).
    `sigma`: standard deviation of the noise that the rule `ddpm` adds.
    """

    target: str
    rule: str = "remix"
    shift: bool = False
    output: Literal["last", "mean"] = "last"
    residual: float = 0.0
    peak_guard: bool = False
    sigma: float = 0.0
    seed: int = 0

    @classmethod
    def of(cls, target: str, options: Options, seed: int) -> Refinement:
        """The refinement of `target` with the options of a study file or schedule file."""
        return cls(
            target=target,
            rule=options.rule,
            shift=options.shift,
            output=options.output,
            residual=options.residual,
            peak_guard=options.peak_guard,
            sigma=options.sigma,
            seed=seed,
        )

    def shift_of(self, step: int, sample_rate: int) -> int:
        """Samples by which step `step`'s input is delayed; step 0 is never shifted."""
        if not self.shift or step == 0:
            return 0
        rng = np.random.default_rng([self.seed, step])
        return int(rng.integers(0, int(MAX_SHIFT_SECONDS * sample_rate) + 1))


@dataclass(frozen=True)
class Scene:
    """What a trajectory starts from: the mixture, and the true stems where a rule may use them.

    `mixture` has shape (channels, samples); `true_target` and `true_others` likewise.
    """

    mixture: Tensor
    true_target: Tensor | None = None
    true_others: Tensor | None = None


@dataclass(frozen=True)
class State:
    """A trajectory after step `step`; all audio has shape (channels, samples).

    `target` and `others` are the estimates of the last step (`others` summed, only for rules that need it);
    `total` is the sum of `count` estimates whose mean is handed out, each with its share of the residual (None where
    that is `target` itself); `last_input` is kept for rules that continue from it.
    """

    step: int
    target: Tensor
    others: Tensor | None = None
    total: Tensor | None = None
    count: int = 1
    last_input: Tensor | None = None

    @property
    def output(self) -> Tensor:
        """The estimate of the target that is handed out after this step: (channels, samples). Step 0: the plain one."""
        return self.target if self.total is None or self.step == 0 else self.total / self.count

    @property
    def handed(self) -> Tensor:
        """What this state adds to a mean, or is handed out by itself, if it is that after step 0."""
        return self.target if self.total is None else self.total

    @property
    def nbytes(self) -> int:
        parts = {id(part): part for part in (self.target, self.others, self.total, self.last_input)}
        return sum(part.nbytes for part in parts.values() if part is not None)


def stems_needed(stems: tuple[str, ...], refinement: Refinement) -> tuple[str, ...]:
    """The stems that every pass must estimate: all where the others or the residual are summed, else the target."""
    if refinement.target not in stems:
        raise ScheduleError(f"the model has no stem {refinement.target!r}; it has {', '.join(stems)}")
    needs_all = rule(refinement.rule).needs_others or refinement.residual > 0
    return stems if needs_all else (refinement.target,)


def begin(estimates: Tensor, stems: Sequence[str], scene: Scene, refinement: Refinement) -> State:
    """State after step 0, given the plain pass's estimates (stems, channels, samples) of `stems`. No pass."""
    parts = split(estimates, stems, refinement, scene.mixture)
    how = rule(refinement.rule)
    return State(
        step=0,
        target=parts.target,
        others=parts.others,
        total=parts.handed if refinement.output == "mean" or refinement.residual > 0 else None,
        last_input=scene.mixture if how.takes_noise else None,
    )


def advance(
    separator: Separates,
    refinement: Refinement,
    scenes: Sequence[Scene],
    firsts: Sequence[State],
    states: Sequence[State],
    betas: Schedule,
) -> tuple[list[State], int]:
    """Step n of every scene, n = len(betas): its states after step n−1 → after step n, and the passes that cost.

    `firsts` are the states after step 0: a step whose input is the unshifted mixture itself (β = 0 under
    `remix`) has their estimates again and costs no pass. Otherwise one pass a scene, in one batch.
    """
    how, n = rule(refinement.rule), len(betas)
    shift = refinement.shift_of(n, separator.sample_rate)
    inputs = [_whole_input(refinement, scene, state, betas) for scene, state in zip(scenes, states, strict=True)]
    fresh = [
        index
        for index, (scene, y) in enumerate(zip(scenes, inputs, strict=True))
        if shift or not torch.equal(y, scene.mixture)
    ]
    parts = [Parts(first.target, first.others, first.handed) for first in firsts]
    if fresh:
        wanted = stems_needed(separator.stems, refinement)
        batch = torch.stack([inputs[index] for index in fresh])
        for index, estimates in zip(fresh, separator(batch, shift=shift, stems=wanted), strict=True):
            parts[index] = split(estimates, wanted, refinement, inputs[index])
    summed = refinement.output == "mean"
    after = [
        State(
            step=n,
            target=part.target,
            others=part.others,
            total=None if state.total is None else state.total + part.handed if summed else part.handed,
            count=n + 1 if summed else 1,
            last_input=y if how.takes_noise else None,
        )
        for part, state, y in zip(parts, states, inputs, strict=True)
    ]
    return after, len(fresh)


def refine(separator: Separates, scene: Scene, betas: Schedule, refinement: Refinement) -> Iterator[Tensor]:
    """The target's estimate after step 0, 1 … N: N+1 tensors (channels, samples). Costs at most N+1 passes.

    Source: "Progressive Inference for Music Demixing" (Magalini, Manattini, Marri, 2025).

    Raises:
        ScheduleError: unknown rule or target, or a rule that needs references which the scene lacks.
    """
    wanted = stems_needed(separator.stems, refinement)
    first = begin(separator(scene.mixture[None], stems=wanted)[0], wanted, scene, refinement)
    state = first
    yield state.output
    for n in range(1, len(betas) + 1):
        (state,), _ = advance(separator, refinement, [scene], [first], [state], betas[:n])
        yield state.output


class Parts(NamedTuple):
    """What is used of a pass, (channels, samples) each: see `State`; `handed` is the target with its residual."""

    target: Tensor
    others: Tensor | None
    handed: Tensor


def split(estimates: Tensor, stems: Sequence[str], refinement: Refinement, y: Tensor) -> Parts:
    """Estimates (stems, channels, samples) of the input `y` (channels, samples) → what the refinement needs of them."""
    k = list(stems).index(refinement.target)
    # A copy lets go of the other stems' memory.
    target = estimates[k].clone()
    handed = target
    if refinement.residual > 0:
        handed = target + refinement.residual * (y - estimates.sum(dim=0))
    if not rule(refinement.rule).needs_others:
        return Parts(target, None, handed)
    rest = [index for index in range(len(stems)) if index != k]
    return Parts(target, estimates[rest].sum(dim=0), handed)


def next_input(
    refinement: Refinement, scene: Scene, state: State, betas: Schedule, noise: Tensor | None = None
) -> Tensor:
    """y_n before the peak guard, (channels, samples), of a scene or of a piece of one (rules are pointwise in time).

    `noise` is that of `noise_generator`, for rules that take it.
    """
    how = rule(refinement.rule)
    if how.needs_references and scene.true_target is None:
        raise ScheduleError(f"the rule {how.name} needs the true stems, so it serves only as an upper bound")
    view = View(
        betas=betas,
        mixture=scene.mixture,
        last_input=scene.mixture if state.last_input is None else state.last_input,
        target=state.target,
        others=state.others,
        true_target=scene.true_target,
        true_others=scene.true_others,
        noise=noise,
        sigma=refinement.sigma,
    )
    return how.next_input(view)


def noise_generator(refinement: Refinement, step: int) -> np.random.Generator | None:
    """Draws step `step`'s standard normal noise, channel after channel; None where the refinement has none."""
    if not rule(refinement.rule).takes_noise or refinement.sigma == 0:
        return None
    return np.random.default_rng([refinement.seed, step, 1])


def _whole_input(refinement: Refinement, scene: Scene, state: State, betas: Schedule) -> Tensor:
    """y_n, (channels, samples)."""
    generator = noise_generator(refinement, len(betas))
    noise = None
    if generator is not None:
        drawn = generator.standard_normal(tuple(scene.mixture.shape), dtype=np.float32)
        noise = torch.from_numpy(drawn).to(scene.mixture.device)
    y = next_input(refinement, scene, state, betas, noise)
    return guard_peak(y) if refinement.peak_guard else y

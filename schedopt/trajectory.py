"""The engine: the separator run again and again on what it made of the mixture.

`trajectories` is the method in one loop, for excerpts in memory and for hour-long songs in scratch files alike. Rules
and outputs are cheap arithmetic and are computed again whenever they are needed; what costs are the passes, which
`schedopt.store.Memoised` remembers by their inputs. Everything that a step draws at random is fixed by its number and
the seed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from schedopt.arrays import Arrays, Memory, blocks
from schedopt.errors import ScheduleError
from schedopt.outputs import OUTPUTS
from schedopt.refinement import Refinement
from schedopt.rules import View, rule
from schedopt.schedules import Schedule

WHOLE = slice(None)


class RunsPasses(Protocol):
    """What the engine needs of a separator."""

    @property
    def stems(self) -> tuple[str, ...]: ...

    @property
    def sample_rate(self) -> int: ...

    def run(self, inputs: Sequence[Tensor], shift: int, stems: tuple[str, ...], step: int) -> list[Tensor]:
        """Estimates (stems, channels, samples) of each input (channels, samples), delayed by `shift` samples and moved
        back. Costs at most one pass an input. `step` is the number of the step that asks."""
        ...

    def mean_of(self, audio: Tensor) -> Tensor:
        """What every estimate holds of the mean of its input (channels, samples): 0-dimensional."""
        ...


@dataclass(frozen=True)
class Scene:
    """What a trajectory starts from: the mixture, and the true stems where a rule may use them.

    `mixture` has shape (channels, samples); `true_target` and `true_others` likewise.
    """

    mixture: Tensor
    true_target: Tensor | None = None
    true_others: Tensor | None = None


@dataclass(frozen=True)
class Pass:
    """One pass: its input (channels, samples) and the estimates (stems, channels, samples) of `stems`.

    Every estimate holds the input's mean (`mean`), as demucs leaves it. A sum of estimates would hold it several times,
    so `others` and `residual` are such that target + others, and all estimates + residual, hold it once.
    """

    input: Tensor
    estimates: Tensor
    stems: tuple[str, ...]
    index: int
    mean: Tensor

    def target(self, block: slice = WHOLE) -> Tensor:
        """x̂_k: (channels, samples of the block)."""
        return self.estimates[self.index, :, block]

    def others(self, block: slice = WHOLE) -> Tensor:
        """Σ_{j≠k} x̂_j without the mean: (channels, samples of the block)."""
        part = self.estimates[..., block]
        rest = [j for j in range(len(self.stems)) if j != self.index]
        return part[rest].sum(dim=0) - len(rest) * self.mean

    def residual(self, block: slice = WHOLE) -> Tensor:
        """y_n − Σ_j x̂_j: (channels, samples of the block)."""
        left = self.input[..., block] - self.estimates[..., block].sum(dim=0)
        return left + (len(self.stems) - 1) * self.mean


@dataclass(frozen=True)
class State:
    """A trajectory after step `step`; `total` is the running sum of its output, where that keeps one."""

    step: int
    refinement: Refinement
    last: Pass
    total: Tensor | None = None

    def estimate(self, block: slice = WHOLE) -> Tensor:
        """The target's estimate of this step with its share of the residual: (channels, samples of the block)."""
        target, share = self.last.target(block), self.refinement.residual
        return target + share * self.last.residual(block) if share else target

    def output(self, block: slice = WHOLE) -> Tensor:
        """The estimate that the user gets after this step: (channels, samples of the block). Step 0: the plain one.

        Read it before the trajectory goes on; callers must not change it in place.
        """
        if self.step == 0:
            return self.last.target(block)
        total = self.estimate(block) if self.total is None else self.total[..., block]
        return OUTPUTS.find(self.refinement.output).finish(total, self.step)


def trajectories(
    separator: RunsPasses,
    scenes: Sequence[Scene],
    betas: Schedule,
    refinement: Refinement,
    arrays: Arrays | None = None,
) -> Iterator[list[State]]:
    """The states of every scene after step 0, 1 … N. Costs at most N+1 passes a scene.

    Source: "Progressive Inference for Music Demixing" (Magalini, Manattini, Marri, 2025).

    Args:
        scenes: of equal length; their passes may be run together.
        arrays: where inputs and sums live; by default in the memory of the mixture's device.

    Raises:
        ScheduleError: unknown rule, output or target, or a rule that needs references which a scene lacks.
    """
    how = rule(refinement.rule)
    if how.needs_references and any(scene.true_target is None for scene in scenes):
        raise ScheduleError(f"the rule {how.name} needs the true stems, so it serves only as an upper bound")
    arrays = arrays or Memory(scenes[0].mixture.device)
    inputs = [scene.mixture for scene in scenes]
    states = [State(0, refinement, last) for last in _passes(separator, refinement, inputs, 0)]
    states = [_add_up(state, arrays) for state in states]
    yield states
    for n in range(1, len(betas) + 1):
        inputs = [_input(scene, state, betas, arrays) for scene, state in zip(scenes, states, strict=True)]
        made = _passes(separator, refinement, inputs, n)
        states = [State(n, refinement, last, state.total) for last, state in zip(made, states, strict=True)]
        states = [_add_up(state, arrays) for state in states]
        yield states


def refine(separator: RunsPasses, scene: Scene, betas: Schedule, refinement: Refinement) -> Iterator[Tensor]:
    """The target's estimate after step 0, 1 … N of one scene: N+1 tensors (channels, samples); see `trajectories`.

    >>> import schedopt, torch
    >>> separator = schedopt.load_separator("demo", device="cpu")
    >>> scene = schedopt.Scene(0.1 * torch.randn(2, 22050, generator=torch.Generator().manual_seed(0)))
    >>> [one.shape for one in schedopt.refine(separator, scene, (0.5,), schedopt.Refinement("bass"))]
    [torch.Size([2, 22050]), torch.Size([2, 22050])]
    """
    for (state,) in trajectories(separator, [scene], betas, refinement):
        yield state.output()


def _passes(separator: RunsPasses, refinement: Refinement, inputs: Sequence[Tensor], n: int) -> list[Pass]:
    stems = refinement.stems_needed(separator.stems)
    shift = refinement.shift_of(n, separator.sample_rate)
    index = stems.index(refinement.target)
    estimates = separator.run(inputs, shift, stems, n)
    return [Pass(y, x, stems, index, separator.mean_of(y)) for y, x in zip(inputs, estimates, strict=True)]


def _input(scene: Scene, state: State, betas: Schedule, arrays: Arrays) -> Tensor:
    """y_n, (channels, samples), of the step after `state`."""
    refinement, how = state.refinement, rule(state.refinement.rule)
    mixture, last = scene.mixture, state.last
    noise = _noise(refinement, state.step + 1, mixture, arrays)
    y = arrays.empty(*mixture.shape)
    for block in blocks(mixture.shape[-1]):
        view = View(
            betas=betas,
            step=state.step + 1,
            mixture=mixture[..., block],
            last_input=last.input[..., block],
            target=last.target(block),
            others=last.others(block) if how.needs_others else None,
            true_target=None if scene.true_target is None else scene.true_target[..., block],
            true_others=None if scene.true_others is None else scene.true_others[..., block],
            noise=None if noise is None else noise[..., block],
            sigma=refinement.sigma,
            reverse=refinement.reverse,
        )
        y[..., block] = how.next_input(view)
    return guard_peak(y) if refinement.peak_guard else y


def guard_peak(audio: Tensor) -> Tensor:
    """Divide (channels, samples) in place by its peak where that exceeds 1: the authors' guard against clipping."""
    peaks = [audio[..., block].abs().amax() for block in blocks(audio.shape[-1])]
    return audio.div_(torch.stack(peaks).amax().clamp(min=1.0))


def _noise(refinement: Refinement, step: int, like: Tensor, arrays: Arrays) -> Tensor | None:
    """Step `step`'s standard normal noise, drawn channel after channel; None where the refinement has none."""
    if not rule(refinement.rule).takes_noise or refinement.sigma == 0:
        return None
    rng = np.random.default_rng([refinement.seed, step, 1])
    noise = arrays.empty(*like.shape)
    for channel in noise:
        for block in blocks(like.shape[-1]):
            drawn = rng.standard_normal(block.stop - block.start, dtype=np.float32)
            channel[block] = torch.from_numpy(drawn).to(noise.device)
    return noise


def _add_up(state: State, arrays: Arrays) -> State:
    """`state` with its step in the running sum of its output."""
    output = OUTPUTS.find(state.refinement.output)
    if not output.keeps_total:
        return state
    total = arrays.empty(*state.last.input.shape) if state.total is None else state.total
    for block in blocks(total.shape[-1]):
        before = None if state.total is None else total[..., block]
        total[..., block] = output.add(before, state.estimate(block), state.step)
    return State(state.step, state.refinement, state.last, total)

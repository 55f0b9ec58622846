"""The engine: the separator run again and again on what it made of the mixture.

`trajectories` is the method in one loop, for excerpts in memory and for hour-long songs in scratch files alike. Rules
and outputs are cheap arithmetic and are computed again whenever they are needed; what costs are the passes, which
`schedopt.store.Memoised` remembers by their inputs. Everything that a step draws at random is fixed by its number and
the seed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from schedopt.arrays import Arrays, Memory, blocks
from schedopt.errors import ScheduleError
from schedopt.outputs import OUTPUTS, Pass, Step
from schedopt.outputs.mixer import check_weights
from schedopt.outputs.step import WHOLE
from schedopt.refinement import Refinement
from schedopt.rules import View, rule
from schedopt.schedules import Schedule, check_betas


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
class State:
    """A trajectory after step `step` of `steps`; `total` is the running sum of its output, where that keeps one."""

    step: int
    steps: int
    refinement: Refinement
    mixture: Tensor
    sample_rate: int
    last: Pass
    total: Tensor | None = None

    def output(self, block: slice = WHOLE) -> Tensor:
        """The estimate that the user gets after this step: (channels, samples of the block). Step 0: the plain one.

        Read it before the trajectory goes on; callers must not change it in place.
        """
        if self.step == 0:
            return self.last.target(block)
        output = OUTPUTS.find(self.refinement.output)
        first, end, _ = block.indices(self.mixture.shape[-1])
        wide = slice(max(0, first - output.reach), min(end + output.reach, self.mixture.shape[-1]))
        step = self.seen(wide)
        made = output.finish(step.estimate if self.total is None else self.total[..., wide], step)
        return made[..., first - wide.start : end - wide.start]

    def seen(self, block: slice = WHOLE) -> Step:
        """What the output sees of this step."""
        how = self.refinement
        return Step(self.step, self.steps, self.last, self.mixture, block, self.sample_rate, how.residual, how.weights)

    def after(self, last: Pass) -> State:
        """The next step's, whose pass is `last`; not yet in the sum."""
        return replace(self, step=self.step + 1, last=last)


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
        ScheduleError: a β outside [0, 1], unknown rule, output or target, a rule that needs references which a scene
            lacks, or weights for another number of steps or stems.
    """
    if betas:
        check_betas(betas)
    how = rule(refinement.rule)
    if how.needs_references and any(scene.true_target is None for scene in scenes):
        raise ScheduleError(f"the rule {how.name} needs the true stems, so it serves only as an upper bound")
    if refinement.weights is not None:
        check_weights(refinement.weights, len(betas), len(separator.stems), OUTPUTS.find(refinement.output))
    arrays = arrays or Memory(scenes[0].mixture.device)
    inputs = [scene.mixture for scene in scenes]
    rate, steps = separator.sample_rate, len(betas)
    states = [
        State(0, steps, refinement, y, rate, last)
        for y, last in zip(inputs, _passes(separator, refinement, inputs, 0), strict=True)
    ]
    states = [_add_up(state, arrays) for state in states]
    yield states
    for n in range(1, len(betas) + 1):
        inputs = [_input(scene, state, betas, arrays) for scene, state in zip(scenes, states, strict=True)]
        made = _passes(separator, refinement, inputs, n)
        states = [state.after(last) for last, state in zip(made, states, strict=True)]
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
    if not output.arrays(len(state.last.stems)):
        return state
    samples, total = state.mixture.shape[-1], state.total
    for block in blocks(samples):
        made = output.add(None if state.total is None else state.total[..., block], state.seen(block))
        if total is None:
            total = arrays.empty(*made.shape[:-1], samples)
        total[..., block] = made
    return replace(state, total=total)

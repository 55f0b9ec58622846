"""What outputs see: passes, and the step that an output adds up."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field
from torch import Tensor

WHOLE = slice(None)

LARGEST = 10.0
"""Of a weight: nothing that passes leave is so far from the level of the target."""

Weight = Annotated[float, Field(ge=-LARGEST, le=LARGEST, allow_inf_nan=False)]

Weights = tuple[tuple[Weight, ...], ...]
"""Weights of an output that takes some, by band; see `schedopt.outputs.mixer`."""


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

    def each_other(self, block: slice = WHOLE) -> Tensor:
        """x̂_j, j ≠ k, without the mean, in the order of `stems`: (stems − 1, channels, samples of the block)."""
        rest = [j for j in range(len(self.stems)) if j != self.index]
        return self.estimates[..., block][rest] - self.mean

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
class Step:
    """Step n of N over a block of samples: tensors (…, channels, samples of the block), made when they are asked for.

    Attributes:
        n: 0 is the plain pass.
        steps: N.
        last: the pass of this step; `last.stems` are those that it estimates (the target alone unless the output or
            the rule needs all of them).
        block: samples of the song that this view shows.
        sample_rate: Hz.
        share: of the residual, that belongs to `estimate`.
        weights: those of the refinement, for the output after step N; None where there are none.
    """

    n: int
    steps: int
    last: Pass
    whole_mixture: Tensor
    block: slice
    sample_rate: int
    share: float = 0.0
    weights: Weights | None = None

    @property
    def target(self) -> Tensor:
        """x̂_n of the target: (channels, samples)."""
        return self.last.target(self.block)

    @property
    def others(self) -> Tensor:
        """Those of the other stems without the mean: (stems − 1, channels, samples)."""
        return self.last.each_other(self.block)

    @property
    def estimates(self) -> Tensor:
        """Those of all stems without the mean: (stems, channels, samples)."""
        return self.last.estimates[..., self.block] - self.mean

    @property
    def index(self) -> int:
        """The target's, in `estimates`."""
        return self.last.index

    @property
    def residual(self) -> Tensor:
        """y_n − Σ_j x̂_j: (channels, samples). The target, the others and the residual add up to y_n."""
        return self.last.residual(self.block)

    @property
    def mean(self) -> Tensor:
        """What each estimate holds of its input's mean: 0-dimensional."""
        return self.last.mean

    @property
    def estimate(self) -> Tensor:
        """The target's estimate with its share of the residual: (channels, samples)."""
        return self.target + self.share * self.residual if self.share else self.target

    @property
    def mixture(self) -> Tensor:
        """y: (channels, samples)."""
        return self.whole_mixture[..., self.block]

    @property
    def start(self) -> int:
        """The first sample's position in the song."""
        return self.block.start or 0

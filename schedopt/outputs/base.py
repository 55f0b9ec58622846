"""What an output is, and the outputs that only look at the target's estimates."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from schedopt.outputs.step import Step

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Output:
    """An output by name.

    Attributes:
        add: `add(total, step)` is the sum after `step`, (…, samples of the block), of the sum after the step before it
            (None where n = 0). Pointwise in time.
        finish: `finish(total, step)` is the estimate after step n ≥ 1, (channels, samples).
        arrays: number of stems → number of arrays (channels, samples) that the sum takes; 0: `add` is not called, and
            `finish` gets the target's estimate with its share of the residual.
        needs_all_stems: every pass must estimate all stems.
        reach: samples before and after a sample that `finish` looks at. Both of its arguments then have so many more
            on either side, as far as the song goes, which are cut off what it returns.
        bands: rows of weights that the output takes, fitted by a study; 0 for none. Without weights it is `mean`.
        terms: names of outputs without weights that are weighed too.
    """

    name: str
    add: Callable[[Tensor | None, Step], Tensor]
    finish: Callable[[Tensor, Step], Tensor]
    arrays: Callable[[int], int] = lambda stems: 1
    needs_all_stems: bool = False
    reach: int = 0
    bands: int = 0
    terms: tuple[str, ...] = ()


def _only(total: Tensor | None, step: Step) -> Tensor:
    return step.estimate


def _as_it_is(total: Tensor, step: Step) -> Tensor:
    return total


def running_sum(total: Tensor | None, step: Step) -> Tensor:
    """x̂_0 + … + x̂_n."""
    return step.estimate if total is None else total + step.estimate


def _mean(total: Tensor, step: Step) -> Tensor:
    return total / (step.n + 1)


LAST = Output("last", _only, _as_it_is, arrays=lambda stems: 0)
MEAN = Output("mean", running_sum, _mean)

"""Outputs: how the estimates of steps 0 … n make the estimate that the user gets after step n.

An output is a running sum over steps, so that a long song needs one array for it, whatever N is. `add` puts step n into
the sum, `finish` makes the estimate of it. Both are pointwise in time and work on any shape (…, channels, samples), so
that long songs are processed block by block; after step 0 the estimate is always that of the plain pass.

To add one: write the two functions and add one line to `OUTPUTS`, or call `register_output`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from schedopt.errors import ScheduleError
from schedopt.registry import Registry

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Output:
    """An output by name.

    `add(total, estimate, n)`: the sum after step n, of the sum after step n−1 (None where n = 0) and the target's
    estimate of step n with its share of the residual. `finish(total, n)`: the estimate after step n ≥ 1. `keeps_total`:
    whether the sum is more than the last estimate, and so needs an array of its own.
    """

    name: str
    add: Callable[[Tensor | None, Tensor, int], Tensor]
    finish: Callable[[Tensor, int], Tensor]
    keeps_total: bool = True
    needs_all_stems: bool = False


def _only(total: Tensor | None, estimate: Tensor, n: int) -> Tensor:
    return estimate


def _as_it_is(total: Tensor, n: int) -> Tensor:
    return total


def _sum(total: Tensor | None, estimate: Tensor, n: int) -> Tensor:
    return estimate if total is None else total + estimate


def _mean(total: Tensor, n: int) -> Tensor:
    return total / (n + 1)


OUTPUTS: Registry[Output] = Registry("output", "schedopt.outputs", ScheduleError, {
    "last": Output("last", _only, _as_it_is, keeps_total=False),
    "mean": Output("mean", _sum, _mean),
})  # fmt: skip
"""`last`: the estimate of step n. `mean`: (x̂_0 + … + x̂_n)/(n + 1), with β = 0 and shifts Demucs' shift trick."""


def register_output(output: Output) -> Output:
    """Make an output known by its name.

    >>> import schedopt
    >>> def louder(total, estimate, n):
    ...     return estimate if total is None or estimate.square().sum() > total.square().sum() else total
    >>> _ = schedopt.register_output(schedopt.Output("doc_loudest", louder, lambda total, n: total))
    >>> schedopt.Refinement("vocals", output="doc_loudest").output
    'doc_loudest'
    """
    return OUTPUTS.register(output.name, output)

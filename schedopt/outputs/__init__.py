"""Outputs: how the estimates of steps 0 … n make the estimate that the user gets after step n.

An output is a running sum over steps, so that a long song needs few arrays for it, whatever N is. `add` puts step n
into the sum, `finish` makes the estimate of it. Both see a `Step`: the estimates of all stems, the residual and the
mixture over a block of samples, so that long songs are processed block by block. After step 0 the estimate is always
that of the plain pass.

To add one: write the two functions and add one line to `OUTPUTS`, or call `register_output`.
"""

from __future__ import annotations

from schedopt.errors import ScheduleError
from schedopt.outputs.base import LAST, MEAN, Output
from schedopt.outputs.mixer import MIXER, MIXER_BANDS, MIXER_WIENER
from schedopt.outputs.step import Pass, Step, Weights
from schedopt.outputs.wiener import WIENER
from schedopt.registry import Registry

__all__ = ["OUTPUTS", "Output", "Pass", "Step", "Weights", "register_output"]

OUTPUTS: Registry[Output] = Registry("output", "schedopt.outputs", ScheduleError, {
    "last": LAST,
    "mean": MEAN,
    "mixer": MIXER,
    "mixer-bands": MIXER_BANDS,
    "wiener": WIENER,
    "mixer-wiener": MIXER_WIENER,
})  # fmt: skip
"""`last`: the estimate of step n. `mean`: (x̂_0 + … + x̂_n)/(n + 1), with β = 0 and shifts Demucs' shift trick.
`mixer`, `mixer-bands`: weights for the estimates of all steps and stems and the residual, fitted by the study.
`wiener`: the mixture through a Wiener filter made of the mean estimates of all stems. `mixer-wiener`: `mixer-bands`
with that as one more term."""


def register_output(output: Output) -> Output:
    """Make an output known by its name.

    >>> import schedopt
    >>> def louder(total, step):
    ...     now = step.estimate
    ...     return now if total is None or now.square().sum() > total.square().sum() else total
    >>> _ = schedopt.register_output(schedopt.Output("doc_loudest", louder, lambda total, step: total))
    >>> schedopt.Refinement("vocals", output="doc_loudest").output
    'doc_loudest'
    """
    return OUTPUTS.register(output.name, output)

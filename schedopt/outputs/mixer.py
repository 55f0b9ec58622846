"""The mixer: a weighted sum of all that the passes left, with weights that a study fits in closed form.

With the target k, its estimates x̂_n, the means ŝ_j over steps 0 … N of the other stems' estimates and r of the
residuals:

    x̂ = Σ_n a_n·x̂_n + Σ_{j≠k} b_j·ŝ_j + c·r

`mixer-bands` has its own weights in each frequency band. A row of weights is a_0 … a_N, the b_j in the order of the
model's stems, and c. a_n = 1/(N+1), b_j = 0 and c = the share of the residual make the output `mean`, which is also
what there is without weights, and after the steps before the N-th. Every estimate holds its input's mean, which no
weight scales: x̂ holds the mean of these means once.

`schedopt.search.mixing` fits the weights. Source: the mixer of KUIELab's mdx-net (arXiv 2111.12203, section 3.4), a
1 × 1 convolution over all estimates and the mixture, trained by gradient descent there.
"""

from __future__ import annotations

import torch
from torch import Tensor

from schedopt.errors import ScheduleError
from schedopt.outputs import bands
from schedopt.outputs.base import Output, running_sum
from schedopt.outputs.step import Step, Weights


def mean_weights(steps: int, stems: int, rows: int, share: float = 0.0) -> Weights:
    """Those of the mean output."""
    row = (*[1 / (steps + 1)] * (steps + 1), *[0.0] * (stems - 1), share)
    return (row,) * rows


def check_weights(weights: Weights, steps: int, stems: int) -> None:
    """Raise a `ScheduleError` unless every row has a weight for each step and stem, and for the residual."""
    wanted = steps + 1 + stems
    for row in weights:
        if len(row) != wanted:
            raise ScheduleError(
                f"weights have {len(row)} numbers in a row, not {wanted}: one each for steps 0 … {steps},"
                f" for the {stems - 1} other stems of the model, and for the residual"
            )


def _add(total: Tensor | None, step: Step) -> Tensor:
    """(1 + bands, channels, samples): the plain sum, and the weighted sum of each band; without weights the first."""
    plain = running_sum(None if total is None else total[0], step)[None]
    if step.weights is None:
        return plain
    count, others = step.steps + 1, step.others
    weights = torch.tensor(step.weights, dtype=plain.dtype).to(plain.device)  # (bands, weights)
    target = weights[:, step.n, None, None] * (step.target - step.mean)
    mixed = torch.einsum("kj,jcs->kcs", weights[:, count:-1], others) + weights[:, -1, None, None] * step.residual
    weighted = target + (mixed + step.mean) / count
    return torch.cat([plain, weighted if total is None else total[1:] + weighted])


def _finish(total: Tensor, step: Step) -> Tensor:
    if step.weights is None or step.n < step.steps:
        return total[0] / (step.n + 1)
    return bands.joined(total[1:], step.sample_rate) if len(total) > 2 else total[1]


MIXER = Output("mixer", _add, _finish, lambda stems: 2, needs_all_stems=True, bands=1)
MIXER_BANDS = Output(
    "mixer-bands",
    _add,
    _finish,
    lambda stems: 1 + bands.BANDS,
    needs_all_stems=True,
    reach=bands.REACH,
    bands=bands.BANDS,
)

"""The mixer: a weighted sum of all that the passes left, with weights that a study fits in closed form.

With the target k, its estimates x̂_n, the means ŝ_j over steps 0 … N of the other stems' estimates and r of the
residuals:

    x̂ = Σ_n a_n·x̂_n + Σ_{j≠k} b_j·ŝ_j + c·r

`mixer-bands` has its own weights in each frequency band, and so has `mixer-wiener`, which adds d times the output
`wiener`. A row of weights is a_0 … a_N, the b_j in the order of the model's stems, c, and d.

With a_n = 1/(N+1), b_j = 0, c = the share of the residual and d = 0 it is the output `mean`, which is also what there
is without weights, and after the steps before the N-th. Every estimate holds its input's mean, which no weight scales:
x̂ holds the mean of these means once.

`schedopt.search.mixing` fits the weights. Source: the mixer of KUIELab's mdx-net (arXiv 2111.12203), a 1 × 1
convolution over all estimates and the mixture, which is trained by gradient descent there.
"""

from __future__ import annotations

import torch
from torch import Tensor

from schedopt.errors import ScheduleError
from schedopt.outputs import bands, wiener
from schedopt.outputs.base import Output, running_sum
from schedopt.outputs.step import Step, Weights


def mean_weights(steps: int, stems: int, output: Output, share: float = 0.0) -> Weights:
    """Those with which `output` is the mean."""
    row = (*[1 / (steps + 1)] * (steps + 1), *[0.0] * (stems - 1), share, *[0.0] * len(output.terms))
    return (row,) * output.bands


def check_weights(weights: Weights, steps: int, stems: int, output: Output) -> None:
    """Raise a `ScheduleError` unless every row has a weight for each step, stem and term, and for the residual."""
    wanted = steps + 1 + stems + len(output.terms)
    rest = " and for ".join(["the residual", *output.terms])
    for row in weights:
        if len(row) != wanted:
            raise ScheduleError(
                f"weights have {len(row)} numbers in a row, not {wanted}: one each for steps 0 … {steps},"
                f" for the {stems - 1} other stems of the model, for {rest}"
            )


def _add(total: Tensor | None, step: Step) -> Tensor:
    """(1 + bands, channels, samples): the plain sum, and the weighted sum of each band; without weights the first."""
    plain = running_sum(None if total is None else total[0], step)[None]
    if step.weights is None:
        return plain
    count, others = step.steps + 1, step.others
    end = count + len(others)
    weights = torch.tensor(step.weights, dtype=plain.dtype).to(plain.device)  # (bands, weights)
    target = weights[:, step.n, None, None] * (step.target - step.mean)
    mixed = torch.einsum("kj,jcs->kcs", weights[:, count:end], others) + weights[:, end, None, None] * step.residual
    weighted = target + (mixed + step.mean) / count
    return torch.cat([plain, weighted if total is None else total[1:] + weighted])


def _finish(total: Tensor, step: Step) -> Tensor:
    if step.weights is None or step.n < step.steps:
        return total[0] / (step.n + 1)
    return bands.joined(total[1:], step.sample_rate) if len(total) > 2 else total[1]


def _add_stems(total: Tensor | None, step: Step) -> Tensor:
    """(1 + bands + stems, channels, samples): as `_add`, and the sum of each stem's estimates."""
    rows = 1 if step.weights is None else 1 + len(step.weights)
    mixed = _add(None if total is None else total[:rows], step)
    if step.weights is None:
        return mixed
    return torch.cat([mixed, wiener.all_stems(None if total is None else total[rows:], step)])


def _finish_stems(total: Tensor, step: Step) -> Tensor:
    if step.weights is None or step.n < step.steps:
        return _finish(total, step)
    rows = 1 + len(step.weights)
    weights = torch.tensor([row[-1] for row in step.weights], dtype=total.dtype).to(total.device)
    mixed = total[1:rows] + weights[:, None, None] * wiener.filtered(total[rows:], step)
    return bands.joined(mixed, step.sample_rate)


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
MIXER_WIENER = Output(
    "mixer-wiener",
    _add_stems,
    _finish_stems,
    lambda stems: 1 + bands.BANDS + stems,
    needs_all_stems=True,
    reach=wiener.REACH + bands.REACH,
    bands=bands.BANDS,
    terms=(wiener.WIENER.name,),
)

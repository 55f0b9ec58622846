"""SI-SDR, and its two parts: SI-SIR and SI-SAR, interference and artifacts told apart by projection on all true stems.

Le Roux, Wisdom, Erdogan, Hershey: "SDR – half-baked or well done?" (2019), sections 3 and 4. Per channel, with the
target's reference x_k, the span of all references x_j and P the orthogonal projection on it:

    e_target = α·x_k,  α = ⟨x̂, x_k⟩ / ‖x_k‖²;   e_interf = P x̂ − e_target;   e_artif = x̂ − P x̂
    SI-SDR = 10·log10(‖e_target‖² / ‖x̂ − e_target‖²)
    SI-SIR = 10·log10(‖e_target‖² / ‖e_interf‖²),   SI-SAR = 10·log10(‖e_target‖² / ‖e_artif‖²)

The three parts are orthogonal, hence 10^(−SI-SDR/10) = 10^(−SI-SIR/10) + 10^(−SI-SAR/10) in each channel. BSS Eval's
SIR and SAR forgive filters of 512 taps as well. Reads the references twice a score; nothing but sums is kept.
"""

from __future__ import annotations

from functools import partial
from typing import Literal

import torch
from torch import Tensor

from schedopt.metrics._base import (
    Metric,
    Score,
    Truth,
    all_stems,
    check_estimates,
    check_reference,
    decibels,
    float64_blocks,
    float64_device,
)

RANK = 1e-10
"""Smallest eigenvalue of the references' correlations (unit diagonal) that is told from zero: float32 stems that depend
on one another linearly (a stem twice, a stem that is the sum of two) leave about 1e-14."""


def si_sdr(reference: Tensor, estimate: Tensor) -> Tensor:
    """Scale-invariant SDR per channel, then the mean over channels: dB, (leading axes,) float64.

    reference: (…, channels, samples); estimate: the same, or with further leading axes. Means are not removed, as in
    torchmetrics' default (`zero_mean=False`), with which the authors' table was made. Raises `DataError` on a silent
    reference or shapes that differ.

    >>> import schedopt, torch
    >>> round(schedopt.si_sdr(torch.tensor([[1.0, 1.0, 0.0]]), torch.tensor([[0.5, 0.5, 0.1]])).item(), 2)
    16.99
    """
    return _si_sdr(Truth(reference))(estimate)


def si_sir(references: Tensor, target: int, estimate: Tensor) -> Tensor:
    """Scale-invariant ratio of target to interference, per channel, then the mean: dB, (leading axes,) float64.

    references: (stems, channels, samples) of all stems, some may be silent; target: index of the one that is estimated;
    estimate: (…, channels, samples). Raises `DataError` on a silent target or shapes that differ.
    """
    return _of_all_stems(Truth(references[target], references, target), part="interference")(estimate)


def si_sar(references: Tensor, target: int, estimate: Tensor) -> Tensor:
    """Scale-invariant ratio of target to artifacts: what is in no true stem. Arguments, result, errors: `si_sir`."""
    return _of_all_stems(Truth(references[target], references, target), part="artifacts")(estimate)


def _si_sdr(truth: Truth) -> Score:
    """SI-SAR with the target as the only stem."""
    sounding = check_reference(truth.reference).to(float64_device(truth.reference))
    return _prepare(truth.reference[None], 0, sounding, "artifacts")


def _of_all_stems(truth: Truth, *, part: Literal["interference", "artifacts"]) -> Score:
    return _prepare(*all_stems(truth), part)


def _prepare(references: Tensor, target: int, sounding: Tensor, part: Literal["interference", "artifacts"]) -> Score:
    """references: (stems, …, channels, samples); sounding: (…, channels). Leading axes and channels are rows here."""
    shape, device = references.shape[1:], sounding.device
    rows = references.flatten(1, -2)  # (stems, rows, samples)
    gram = torch.zeros(rows.shape[1], len(rows), len(rows), dtype=torch.float64, device=device)
    for (stems,) in float64_blocks(device, rows):
        gram += torch.einsum("srn,trn->rst", stems, stems)
    inverse = _inverse(gram)

    def score(estimates: Tensor) -> Tensor:
        check_estimates(shape, estimates, sounding)
        flat = estimates.reshape(-1, rows.shape[1], shape[-1])  # (estimates, rows, samples)
        cross = torch.zeros(len(flat), *gram.shape[:2], dtype=torch.float64, device=device)
        for stems, piece in float64_blocks(device, rows, flat):
            cross += torch.einsum("srn,ern->ers", stems, piece)
        weights = torch.einsum("rst,ert->ers", inverse, cross)  # P x̂ = Σ_s weights_s · x_s
        gain = cross[..., target] / gram[:, target, target]  # 0 / 0 in silent channels, which do not count
        signal = gain.square() * gram[:, target, target]
        if part == "interference":
            weights[..., target] -= gain
            distortion = torch.einsum("ers,rst,ert->er", weights, gram, weights).clamp(min=0)
        else:
            distortion = torch.zeros_like(signal)
            for stems, piece in float64_blocks(device, rows, flat):
                distortion += (piece - torch.einsum("ers,srn->ern", weights, stems)).square().sum(dim=-1)
        return decibels(signal.reshape(estimates.shape[:-1]), distortion.reshape(estimates.shape[:-1]), sounding)

    return score


def _inverse(gram: Tensor) -> Tensor:
    """Pseudo-inverses (rows, stems, stems) of Gram matrices, whatever the stems' levels; silent stems get zeros."""
    levels = gram.diagonal(dim1=-2, dim2=-1).sqrt()
    scale = torch.where(levels > 0, 1 / levels, 0.0)
    scales = scale[:, :, None] * scale[:, None, :]
    inverse: Tensor = torch.linalg.pinv(gram * scales, rtol=RANK, hermitian=True) * scales
    return inverse


SI_SDR = Metric("si_sdr", "SI-SDR", "as SNR, but any gain is forgiven", _si_sdr)
SI_SIR = Metric(
    "si_sir",
    "SI-SIR",
    "target over what of the other stems is left in it (bleed)",
    partial(_of_all_stems, part="interference"),
    needs_all_stems=True,
)
SI_SAR = Metric(
    "si_sar",
    "SI-SAR",
    "target over what is in no true stem (artifacts)",
    partial(_of_all_stems, part="artifacts"),
    needs_all_stems=True,
)

"""SI-SIR and SI-SAR: interference and artifacts told apart by projection on all true stems.

Le Roux, Wisdom, Erdogan, Hershey: "SDR – half-baked or well done?" (2019), section 4. Per channel, with the target's
reference x_k, the span S of all references x_j and P the orthogonal projection on S:

    e_target = α·x_k,  α = ⟨x̂, x_k⟩ / ‖x_k‖²;   e_interf = P x̂ − e_target;   e_artif = x̂ − P x̂
    SI-SIR = 10·log10(‖e_target‖² / ‖e_interf‖²),   SI-SAR = 10·log10(‖e_target‖² / ‖e_artif‖²)

The three parts are orthogonal, hence 10^(−SI-SDR/10) = 10^(−SI-SIR/10) + 10^(−SI-SAR/10) in each channel. BSS Eval's
SIR and SAR forgive filters of 512 taps as well. Reads the references twice a score; nothing but sums is kept.
"""

from __future__ import annotations

from functools import partial
from typing import Literal

import torch
from torch import Tensor

from schedopt.metrics._base import Metric, Score, Truth, all_stems, check_estimates, decibels

BLOCK = 2**18
"""Samples of a channel that are converted to float64 at a time."""

RANK = 1e-10
"""Smallest eigenvalue of the references' correlations (unit diagonal) that is told from zero: float32 stems that depend
on one another linearly (a stem twice, a stem that is the sum of two) leave about 1e-14."""


def si_sir(references: Tensor, target: int, estimate: Tensor) -> Tensor:
    """Scale-invariant ratio of target to interference, per channel, then the mean: dB, (leading axes,) float64.

    references: (stems, channels, samples) of all stems, some may be silent; target: index of the one that is estimated;
    estimate: (…, channels, samples). Raises `DataError` on a silent target or shapes that differ.
    """
    return _prepare(Truth(references[target], references, target), part="interference")(estimate)


def si_sar(references: Tensor, target: int, estimate: Tensor) -> Tensor:
    """Scale-invariant ratio of target to artifacts: what is in no true stem. Arguments, result, errors: `si_sir`."""
    return _prepare(Truth(references[target], references, target), part="artifacts")(estimate)


def _prepare(truth: Truth, *, part: Literal["interference", "artifacts"]) -> Score:
    references, target, sounding = all_stems(truth)
    device = sounding.device
    gram = torch.zeros(references.shape[1], len(references), len(references), dtype=torch.float64, device=device)
    for first in range(0, references.shape[-1], BLOCK):
        stems = _block(references, first, device)  # (stems, channels, samples)
        gram += torch.einsum("scn,tcn->cst", stems, stems)
    inverse = _inverse(gram)

    def score(estimates: Tensor) -> Tensor:
        check_estimates(references.shape[1:], estimates, sounding)
        flat = estimates.reshape(-1, *estimates.shape[-2:])  # (estimates, channels, samples)
        cross = torch.zeros(len(flat), *gram.shape[:2], dtype=torch.float64, device=device)
        for first in range(0, flat.shape[-1], BLOCK):
            stems, piece = _block(references, first, device), _block(flat, first, device)
            cross += torch.einsum("scn,ecn->ecs", stems, piece)
        weights = torch.einsum("cst,ect->ecs", inverse, cross)  # P x̂ = Σ_s weights_s · x_s
        gain = cross[..., target] / gram[:, target, target]  # 0 / 0 in silent channels, which do not count
        signal = gain.square() * gram[:, target, target]
        if part == "interference":
            weights[..., target] -= gain
            distortion = torch.einsum("ecs,cst,ect->ec", weights, gram, weights).clamp(min=0)
        else:
            distortion = torch.zeros_like(signal)
            for first in range(0, flat.shape[-1], BLOCK):
                stems, piece = _block(references, first, device), _block(flat, first, device)
                distortion += (piece - torch.einsum("ecs,scn->ecn", weights, stems)).square().sum(dim=-1)
        rows = estimates.shape[:-1]
        return decibels(signal.reshape(rows), distortion.reshape(rows), sounding)

    return score


def _block(audio: Tensor, first: int, device: torch.device) -> Tensor:
    return audio[..., first : first + BLOCK].to(device).double()


def _inverse(gram: Tensor) -> Tensor:
    """Pseudo-inverses (channels, stems, stems) of Gram matrices, whatever the stems' levels; silent stems get zeros."""
    levels = gram.diagonal(dim1=-2, dim2=-1).sqrt()
    scale = torch.where(levels > 0, 1 / levels, 0.0)
    scales = scale[:, :, None] * scale[:, None, :]
    inverse: Tensor = torch.linalg.pinv(gram * scales, rtol=RANK, hermitian=True) * scales
    return inverse


SI_SIR = Metric(
    "si_sir",
    "SI-SIR",
    "target over what of the other stems is left in it (bleed)",
    partial(_prepare, part="interference"),
    needs_all_stems=True,
)
SI_SAR = Metric(
    "si_sar",
    "SI-SAR",
    "target over what is in no true stem (artifacts)",
    partial(_prepare, part="artifacts"),
    needs_all_stems=True,
)

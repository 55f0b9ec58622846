"""SNR and global SDR: the energy of the true stem over that of the error, summed sample by sample in float64."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from schedopt.metrics._base import (
    Metric,
    Score,
    Truth,
    bounded,
    check_estimates,
    check_reference,
    decibels,
    float64_blocks,
    float64_device,
)


def snr(reference: Tensor, estimate: Tensor) -> Tensor:
    """Signal-to-noise ratio, equation 1 of the report: 10·log10(‖x‖² / ‖x − x̂‖²) per channel, then their mean.

    reference: (…, channels, samples); estimate: the same, or with further leading axes. Returns dB, (leading axes,)
    float64. A silent estimate keeps the 0 dB that the formula gives it. Raises `DataError` on a silent reference or
    shapes that differ.

    >>> import schedopt, torch
    >>> round(schedopt.snr(torch.tensor([[1.0, -1.0]]), torch.tensor([[0.5, -0.5]])).item(), 2)
    6.02
    """
    return _prepare(Truth(reference), pooled=False)(estimate)


def global_sdr(reference: Tensor, estimate: Tensor) -> Tensor:
    """SNR with the channels pooled: 10·log10(Σ_c ‖x_c‖² / Σ_c ‖x_c − x̂_c‖²) over channels c, for whole songs.

    Source: Mitsufuji et al., "Music Demixing Challenge 2021" (arXiv 2108.13559). There and in
    Music-Source-Separation-Training 1e-7 or 1e-8 is added to both energies, which is left out here: it changes less
    than 1e-6 dB where the distortion's energy is above 0.5. Shapes and errors as in `snr`.
    """
    return _prepare(Truth(reference), pooled=True)(estimate)


def _prepare(truth: Truth, *, pooled: bool) -> Score:
    reference, device = truth.reference, float64_device(truth.reference)
    sounding = check_reference(reference).to(device)

    def score(estimates: Tensor) -> Tensor:
        check_estimates(reference.shape, estimates, sounding)
        signal = torch.zeros(reference.shape[:-1], dtype=torch.float64, device=device)
        distortion = torch.zeros(estimates.shape[:-1], dtype=torch.float64, device=device)
        for x, x_hat in float64_blocks(device, reference, estimates):
            signal += x.square().sum(dim=-1)
            distortion += (x - x_hat).square().sum(dim=-1)
        if pooled:
            return bounded(10 * torch.log10(signal.sum(dim=-1) / distortion.sum(dim=-1)))
        return decibels(signal, distortion, sounding)

    return score


SNR = Metric(
    "snr", "SNR", "true stem over error; equation 1 of the report: nothing is forgiven", partial(_prepare, pooled=False)
)
GLOBAL_SDR = Metric("global_sdr", "global SDR", "as SNR, with the channels pooled", partial(_prepare, pooled=True))

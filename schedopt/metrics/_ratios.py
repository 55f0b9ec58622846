"""SNR, SI-SDR and global SDR: ratios of two energies, taken sample by sample in float64, also of good estimates."""

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
    float64_device,
)


def snr(reference: Tensor, estimate: Tensor) -> Tensor:
    """Signal-to-noise ratio, equation 1 of the report: 10·log10(‖x‖² / ‖x − x̂‖²) per channel, then their mean.

    reference: (…, channels, samples); estimate: the same, or with further leading axes. Returns dB, (leading axes,)
    float64. A silent estimate keeps the 0 dB that the formula gives it. Raises `DataError` on a silent reference or
    shapes that differ.
    """
    return _prepare(Truth(reference))(estimate)


def si_sdr(reference: Tensor, estimate: Tensor) -> Tensor:
    """Scale-invariant SDR: 10·log10(‖α·x‖² / ‖α·x − x̂‖²) with α = ⟨x̂, x⟩ / ‖x‖², per channel, then their mean.

    Source: Le Roux, Wisdom, Erdogan, Hershey: "SDR – half-baked or well done?" (2019). Means are not removed, as in
    torchmetrics' default (`zero_mean=False`), with which the authors' table was made. Shapes and errors as in `snr`.
    """
    return _prepare(Truth(reference), scaled=True)(estimate)


def global_sdr(reference: Tensor, estimate: Tensor) -> Tensor:
    """SNR with the channels pooled: 10·log10(Σ_c ‖x_c‖² / Σ_c ‖x_c − x̂_c‖²) over channels c, for whole songs.

    Source: Mitsufuji et al., "Music Demixing Challenge 2021" (arXiv 2108.13559). There and in
    Music-Source-Separation-Training 1e-7 or 1e-8 is added to both energies, which is left out here: it changes less
    than 1e-6 dB where the distortion's energy is above 0.5. Shapes and errors as in `snr`.
    """
    return _prepare(Truth(reference), pooled=True)(estimate)


def _prepare(truth: Truth, *, scaled: bool = False, pooled: bool = False) -> Score:
    reference, device = truth.reference, float64_device(truth.reference)
    sounding = check_reference(reference).to(device)

    def score(estimates: Tensor) -> Tensor:
        check_estimates(reference.shape, estimates, sounding)
        target = reference.to(device).double()
        # one leading index at a time, so that memory does not grow with the batch
        energies = [
            _energies(target, one.to(device).double(), scaled) for one in estimates.reshape(-1, *reference.shape)
        ]
        signal, distortion = torch.stack(energies, dim=1).reshape(2, *estimates.shape[:-1])
        if pooled:
            return bounded(10 * torch.log10(signal.sum(dim=-1) / distortion.sum(dim=-1)))
        return decibels(signal, distortion, sounding)

    return score


def _energies(target: Tensor, estimate: Tensor, scaled: bool) -> Tensor:
    """Energies of the signal and the distortion: (…, channels, samples) each → (2, …, channels)."""
    signal = target.square().sum(dim=-1)
    if scaled:
        gain = (estimate * target).sum(dim=-1) / signal  # 0 / 0 in silent channels, which do not count
        return torch.stack([gain**2 * signal, (gain[..., None] * target - estimate).square().sum(dim=-1)])
    return torch.stack([signal, (target - estimate).square().sum(dim=-1)])


SNR = Metric("snr", "SNR", "energy of the true stem over that of the error; equation 1 of the report", _prepare)
SI_SDR = Metric("si_sdr", "SI-SDR", "as SNR, any gain is forgiven", partial(_prepare, scaled=True))
GLOBAL_SDR = Metric("global_sdr", "global SDR", "as SNR, with the channels pooled", partial(_prepare, pooled=True))

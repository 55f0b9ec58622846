"""SNR and SI-SDR: ratios of two energies, taken sample by sample in float64, so exact also for very good estimates."""

from __future__ import annotations

import torch

from schedopt.metrics._common import check_estimates, check_reference, decibels, float64_device


def snr(reference: torch.Tensor, estimate: torch.Tensor) -> torch.Tensor:
    """Signal-to-noise ratio, equation 1 of the report: 10·log10(‖x‖² / ‖x − x̂‖²) per channel, then their mean.

    reference: (…, channels, samples); estimate: the same, or with further leading axes. Returns dB, (leading axes,)
    float64. A silent estimate keeps the 0 dB that the formula gives it. Raises `DataError` on a silent reference or
    shapes that differ.
    """
    return _score(reference, estimate, scale_invariant=False)


def si_sdr(reference: torch.Tensor, estimate: torch.Tensor) -> torch.Tensor:
    """Scale-invariant SDR: 10·log10(‖α·x‖² / ‖α·x − x̂‖²) with α = ⟨x̂, x⟩ / ‖x‖², per channel, then their mean.

    Source: Le Roux, Wisdom, Erdogan, Hershey: "SDR – half-baked or well done?" (2019). Means are not removed, as in
    torchmetrics' default (`zero_mean=False`), with which the authors' table was made. Shapes and errors as in `snr`.
    """
    return _score(reference, estimate, scale_invariant=True)


def _score(reference: torch.Tensor, estimate: torch.Tensor, *, scale_invariant: bool) -> torch.Tensor:
    sounding = check_reference(reference)
    check_estimates(reference.shape, estimate)
    device = float64_device(reference)
    target = reference.to(device, torch.float64)
    # one leading index at a time, so that memory does not grow with the batch
    energies = [
        _energies(target, one.to(device, torch.float64), scale_invariant)
        for one in estimate.reshape(-1, *reference.shape)
    ]
    rows = estimate.shape[:-1]  # (leading axes, channels)
    signal, distortion, energy = (part.reshape(rows) for part in torch.stack(energies, dim=1))
    return decibels(signal, distortion, energy, sounding.to(device))


def _energies(target: torch.Tensor, estimate: torch.Tensor, scale_invariant: bool) -> torch.Tensor:
    """Energies of the signal, the distortion and the estimate: (…, channels, samples) each → (3, …, channels)."""
    signal = target.square().sum(dim=-1)
    energy = estimate.square().sum(dim=-1)
    if scale_invariant:
        gain = (estimate * target).sum(dim=-1) / signal  # 0 / 0 in silent channels, which do not count
        return torch.stack([gain**2 * signal, (gain[..., None] * target - estimate).square().sum(dim=-1), energy])
    return torch.stack([signal, (target - estimate).square().sum(dim=-1), energy])

"""A multichannel Wiener filter of the mixture, from the estimates of all stems.

Each stem's spectrogram is taken for a Gaussian whose power v_j(f, t) is that of its mean estimate and whose spatial
covariance R_j(f) is that of the same over a window of frames; the output is the target's expectation given the mixture:

    x̂ = v_k·R_k·(Σ_j v_j·R_j)⁻¹·y          in every bin of the short-time Fourier transform

Source: Nugraha, Liutkus, Vincent, "Multichannel audio source separation with deep neural networks" (IEEE/ACM TASLP
2016), one iteration, as norbert and Open-Unmix have it. Windows begin at multiples of `WINDOW` frames of the song, so
that a song is filtered the same in blocks. More than two channels are filtered one by one.
"""

from __future__ import annotations

import torch
from torch import Tensor

from schedopt.outputs.base import Output
from schedopt.outputs.step import Step

FFT = 4096
HOP = 1024
WINDOW = 256
"""Frames over which a spatial covariance is taken: 6 s."""

LOADING = 1e-4
"""Of the covariance's mean power, added to its diagonal: a mono mixture has a singular one."""

REACH = WINDOW * HOP + 2 * FFT


def all_stems(total: Tensor | None, step: Step) -> Tensor:
    """Σ_n x̂_n of every stem: (stems, channels, samples)."""
    estimates = step.last.estimates[..., step.block]
    return estimates if total is None else total + estimates


def filtered(total: Tensor, step: Step) -> Tensor:
    """The target without the mean, (channels, samples), from the sum of all stems' estimates after `step`."""
    means, mixture = total / (step.n + 1) - step.mean, step.mixture - step.mean
    late = step.start % HOP  # frames stand at multiples of the hop
    signals = torch.nn.functional.pad(torch.cat([means, mixture[None]]), (late, 0))
    window = torch.hann_window(FFT, device=signals.device)
    spectra = torch.stft(
        signals.flatten(0, 1), FFT, HOP, window=window, center=True, pad_mode="constant", return_complex=True
    )
    spectra = spectra.reshape(*signals.shape[:2], *spectra.shape[1:])  # (stems + 1, channels, frequencies, frames)
    first, frames = step.start // HOP, spectra.shape[-1]
    parts = []
    begin = 0
    while begin < frames:
        end = min(begin + WINDOW - (first + begin) % WINDOW, frames)
        parts.append(expected(spectra[:-1, ..., begin:end], spectra[-1, ..., begin:end], step.index))
        begin = end
    made = torch.istft(torch.cat(parts, dim=-1), FFT, HOP, window=window, length=signals.shape[-1])
    return made[..., late:]


def _finish(total: Tensor, step: Step) -> Tensor:
    return filtered(total, step) + step.mean


def expected(estimates: Tensor, mixture: Tensor, target: int) -> Tensor:
    """The target in the mixture: (stems, channels, F, T) and (channels, F, T), complex → (channels, F, T)."""
    if mixture.shape[0] > 2:
        alone = [expected(estimates[:, c : c + 1], mixture[c : c + 1], target) for c in range(mixture.shape[0])]
        return torch.cat(alone)
    channels = mixture.shape[0]
    power = estimates.abs().square().mean(dim=1)  # (stems, F, T)
    spatial = torch.einsum("scft,sdft->scdf", estimates, estimates.conj())
    spatial = spatial / power.sum(dim=-1).clamp(min=1e-12)[:, None, None]
    covariance = torch.einsum("sft,scdf->cdft", power.to(spatial.dtype), spatial)
    load = LOADING * torch.stack([covariance[c, c].real for c in range(channels)]).mean(dim=0) + 1e-12
    whitened = _solved(covariance, load, mixture)
    return power[target] * torch.einsum("cdf,dft->cft", spatial[target], whitened)


def _solved(matrix: Tensor, load: Tensor, right: Tensor) -> Tensor:
    """(matrix + load·1)⁻¹·right of Hermitian (C, C, F, T) with at most two channels; mps solves no complex systems."""
    if len(right) == 1:
        return right / (matrix[0, 0].real + load)
    a, d, b = matrix[0, 0].real + load, matrix[1, 1].real + load, matrix[0, 1]
    determinant = a * d - b.abs().square()
    return torch.stack([d * right[0] - b * right[1], a * right[1] - b.conj() * right[0]]) / determinant


WIENER = Output("wiener", all_stems, _finish, lambda stems: stems, needs_all_stems=True, reach=REACH)

"""The score of published tables: museval's SDR, median over frames of one second."""

from __future__ import annotations

import torch
from torch import Tensor

from schedopt.metrics import CEILING_DB, FLOOR_DB


def frame_scores(references: Tensor, target: int, estimate: Tensor, frame: int) -> Tensor:
    """SDR in dB of each whole frame of `frame` samples in which all sounds: (frames used,) float64.

    10·log10(Σ‖x‖² / Σ‖x − x̂‖²) with sums over channels and the frame: museval's `bss_eval_images` (BSS Eval v4), whose
    filters enter its ISR, SIR and SAR but not this ratio. As there, a frame in which any true stem or the estimate is
    silent does not count. Source: Stöter, Liutkus, Ito, "The 2018 Signal Separation Evaluation Campaign".

    references: (stems, channels, samples); estimate: (channels, samples), of stem number `target`.
    """
    used = references.shape[-1] // frame * frame
    truth = _framed(references[..., :used], frame)  # (stems, frames, channels · frame)
    guess = _framed(estimate[None, :, :used], frame)[0]  # (frames, channels · frame)
    sounding = (truth != 0).any(dim=-1).all(dim=0) & (guess != 0).any(dim=-1)  # (frames,)
    signal = truth[target].square().sum(dim=-1)
    distortion = (truth[target] - guess).square().sum(dim=-1)
    return (10 * torch.log10(signal / distortion)).clamp(FLOOR_DB, CEILING_DB)[sounding]


def _framed(audio: Tensor, frame: int) -> Tensor:
    """(stems, channels, samples) → (stems, frames, channels · frame), float64."""
    stems, channels, samples = audio.shape
    return audio.double().reshape(stems, channels, samples // frame, frame).transpose(1, 2).flatten(2)

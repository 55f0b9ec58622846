"""Small demucs networks of every kind, mixtures, and demucs' own way to separate them."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import torch
from demucs.apply import BagOfModels, apply_model
from demucs.demucs import Demucs
from demucs.hdemucs import HDemucs
from demucs.htdemucs import HTDemucs
from torch import Tensor

from schedopt.types import STEMS

RATE = 44_100
SEGMENT = Fraction(1, 4)  # seconds
SAMPLES = int(SEGMENT * RATE)


def htdemucs(seed: int = 0, **options: Any) -> Any:
    torch.manual_seed(seed)
    small = {"channels": 4, "dconv_comp": 2, "t_layers": 1, "t_heads": 2, "segment": SEGMENT}
    return HTDemucs(**{"sources": list(STEMS), **small, **options})


def hdemucs(seed: int = 0, **options: Any) -> Any:
    torch.manual_seed(seed)
    return HDemucs(**{"sources": list(STEMS), "channels": 4, "dconv_comp": 2, "segment": float(SEGMENT), **options})


def spectrogram_hdemucs(seed: int = 0) -> Any:
    return hdemucs(seed, hybrid=False, dconv_mode=0)


def demucs(seed: int = 0, **options: Any) -> Any:
    torch.manual_seed(seed)
    return Demucs(**{"sources": list(STEMS), "channels": 4, "depth": 3, "segment": float(SEGMENT), **options})


def mixed_bag() -> Any:
    weights = [[1.0, 0.5, 0.0, 0.0], [0.0, 2.0, 1.0, 0.25], [0.3, 1.0, 1.0, 0.0]]
    return BagOfModels([spectrogram_hdemucs(), demucs(1), demucs(2)], weights, segment=0.2)


def one_hot_bag() -> Any:
    weights = [[float(row == column) for column in range(4)] for row in range(4)]
    return BagOfModels([demucs(seed) for seed in range(4)], weights)


NETWORKS: dict[str, Callable[[], Any]] = {
    "htdemucs": htdemucs,
    "htdemucs of any length": lambda: htdemucs(use_train_segment=False),
    "hdemucs": hdemucs,
    "hdemucs, spectrogram": spectrogram_hdemucs,
    "demucs": demucs,
    "demucs, lstm, no resampling": lambda: demucs(lstm_layers=1, resample=False),
    "bag": mixed_bag,
}


def mixture(samples: int, seed: int = 0) -> Tensor:
    """Tones, noise and an offset: (2, samples)."""
    generator = torch.Generator().manual_seed(seed)
    time = torch.arange(samples) / RATE
    tones = torch.stack([torch.sin(2 * torch.pi * 220 * time), torch.sin(2 * torch.pi * 331 * time)])
    return 0.2 * tones + 0.05 * torch.randn(2, samples, generator=generator) + 0.01


def as_demucs_does(model: Any, wave: Tensor, **options: Any) -> Tensor:
    """What `demucs.api.Separator.separate_tensor` computes: (stems, 2, samples)."""
    mono = wave.mean(0)
    mean, std = mono.mean(), mono.std() + 1e-8
    options = {"shifts": 0, "split": True, "overlap": 0.25, **options}
    estimates: Tensor = apply_model(model, ((wave - mean) / std)[None], **options)[0]
    return estimates * std + mean


def difference(estimates: Tensor, expected: Tensor) -> float:
    """Largest difference as a part of the largest value."""
    return float((estimates - expected).abs().max() / expected.abs().max())

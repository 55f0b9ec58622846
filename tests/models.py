"""Small real demucs models and excerpts, made on the spot."""

from __future__ import annotations

import hashlib

import torch
from demucs.hdemucs import HDemucs

from schedopt.separators import Separator
from schedopt.types import STEMS, Excerpt

RATE = 44_100


def tiny_hdemucs(seed: int = 0, channels: int = 4) -> HDemucs:
    """A real HDemucs (spectrogram branch) with random weights; its estimates are wrong, but deterministic."""
    torch.manual_seed(seed)
    model: HDemucs = HDemucs(list(STEMS), channels=channels, hybrid=False, dconv_mode=0, segment=2)
    return model


def tiny_separator(seed: int = 0) -> Separator:
    return Separator.from_model(tiny_hdemucs(seed), device="cpu")


def noise_excerpt(seed: int, seconds: float = 0.5, silent: tuple[str, ...] = ()) -> Excerpt:
    """Four stems of coloured noise and tones, one excerpt of its own track."""
    generator = torch.Generator().manual_seed(seed)
    samples = int(seconds * RATE)
    time = torch.arange(samples) / RATE
    references = 0.1 * torch.randn(len(STEMS), 2, samples, generator=generator)
    for k in range(len(STEMS)):
        references[k] += 0.2 * torch.sin(2 * torch.pi * (110 * (k + 1) + 7 * seed) * time)
    for stem in silent:
        references[STEMS.index(stem)] = 0
    return Excerpt(
        track=f"track-{seed}",
        start=0.0,
        sample_rate=RATE,
        stems=STEMS,
        references=references,
        audible=frozenset(STEMS) - set(silent),
        fingerprint=hashlib.sha256(references.numpy().tobytes()).hexdigest()[:16],
    )

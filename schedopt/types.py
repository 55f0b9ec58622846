"""Words shared by all modules: stems, excerpts, tracks.

Axes are always (stems, channels, samples); audio is float32 at full scale ±1; times are seconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias, get_args

import torch

CoreMetric: TypeAlias = Literal["sdr", "si_sdr", "snr"]
CORE: tuple[CoreMetric, ...] = get_args(CoreMetric)
"""Metrics that a study can maximise alone, and that every benchmark scores and compares methods in."""

ExcerptLength: TypeAlias = float | Literal["track"]
"""Seconds, or whole tracks."""

STEMS = ("drums", "bass", "other", "vocals")
"""Of Demucs' models and of MUSDB18; what a study takes where its file says nothing else."""


@dataclass(frozen=True, eq=False)
class Excerpt:
    """A cut of one track, or the whole of it.

    `references` has shape (stems, channels, samples), float32, in the order of `stems`;
    `audible` names the stems that sound in it (others are left out of their target's mean);
    `fingerprint` is a hash of the samples, the stems and the sample rate.
    """

    track: str
    start: float
    sample_rate: int
    stems: tuple[str, ...]
    references: torch.Tensor
    audible: frozenset[str]
    fingerprint: str

    @property
    def name(self) -> str:
        """Track and start, as shown to people: `some song @ 12.5 s`."""
        return f"{self.track} @ {self.start:g} s"

    @property
    def seconds(self) -> float:
        return float(self.references.shape[-1]) / self.sample_rate


class Track(Protocol):
    """A song whose true stems can be read piece by piece, so that memory does not grow with its length."""

    @property
    def name(self) -> str: ...

    @property
    def location(self) -> str:
        """Where it lies, as named in messages."""
        ...

    @property
    def stems(self) -> tuple[str, ...]:
        """Stems that there are references of."""
        ...

    @property
    def seconds(self) -> float: ...

    def read(self, start: float, seconds: float) -> torch.Tensor:
        """The piece from `start` on: (stems in the order of `stems`, 2 channels, samples) float32 at 44.1 kHz."""
        ...

    def close(self) -> None:
        """Let go of files and buffers; the track can still be read."""
        ...

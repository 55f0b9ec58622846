"""Words shared by all modules: stems, excerpts, tracks.

Axes are always (stems, channels, samples); audio is float32 at full scale ±1; times are seconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch

STEMS = ("drums", "bass", "other", "vocals")
"""The order of stems in every array that is not said to follow a model's own order."""


@dataclass(frozen=True, eq=False)
class Excerpt:
    """A cut of fixed length of one track.

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
    def seconds(self) -> float: ...

    def read(self, start: float, seconds: float) -> torch.Tensor:
        """Stems from `start` on: (stems in the order of STEMS, 2 channels, samples) float32 at 44.1 kHz."""
        ...

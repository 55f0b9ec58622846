"""A track made of one `Audio` a stem."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
import torch

from schedopt.data._resample import SAMPLE_RATE
from schedopt.data._text import shown
from schedopt.data.audio import Audio, sample_at

log = logging.getLogger("schedopt")


@dataclass(frozen=True)
class StemTrack:
    """Stems that lie in files of their own (or in streams of one); as long as the shortest of them.

    `threads` > 1 reads stems at the same time, which pays where each read waits for a program.
    """

    name: str
    audio: Mapping[str, Audio] = field(repr=False)
    threads: int = 1

    def __post_init__(self) -> None:
        assert self.audio, "a track has stems"
        self._note_unequal_lengths()

    @property
    def stems(self) -> tuple[str, ...]:
        return tuple(self.audio)

    @property
    def samples(self) -> int:
        return min(audio.samples for audio in self.audio.values())

    @property
    def seconds(self) -> float:
        return self.samples / SAMPLE_RATE

    def read(self, start: float = 0.0, seconds: float | None = None) -> torch.Tensor:
        """The piece from `start` on, (stems, 2, samples); shorter where the track ends, all the rest if not
        said."""
        first = sample_at(start)
        wanted = self.samples if seconds is None else sample_at(seconds)
        count = max(0, min(wanted, self.samples - first))
        piece = np.empty((len(self.audio), 2, count), np.float32)

        def fill(stem: int, audio: Audio) -> None:
            piece[stem] = audio.read_samples(first, count)

        with ThreadPoolExecutor(self.threads) as pool:
            list(pool.map(fill, range(len(self.audio)), self.audio.values()))
        return torch.from_numpy(piece)

    def _note_unequal_lengths(self) -> None:
        shortest = min(self.audio.values(), key=lambda audio: audio.samples)
        longest = max(self.audio.values(), key=lambda audio: audio.samples)
        if shortest.samples < longest.samples:
            log.warning(
                "%s: lengths differ (up to %.3f s, %s); only the first %.3f s, as long as %s, are used",
                shown(shortest.path.parent),
                longest.seconds,
                shown(longest.path.name),
                shortest.seconds,
                shown(shortest.path.name),
            )

"""A track whose stems lie in files, one or several each."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from schedopt.data._resample import SAMPLE_RATE, FloatArray
from schedopt.data.audio import Audio, open_audio, sample_at
from schedopt.errors import shown

log = logging.getLogger("schedopt")

DECODERS = 4
"""Files that are opened at the same time: opening a compressed one waits for its decoder."""


@dataclass(frozen=True)
class StemFile:
    """A file of a stem, or one of the audio streams of a file."""

    path: Path
    stream: int = 0


@dataclass(eq=False)
class StemTrack:
    """A song in `folder`: each stem is the sum of its files, padded to the longest of them.

    The track is as long as the shortest stem. Files are opened when they are first needed. What was decoded of
    compressed ones lies in temporary files until `close`; what is read after it is decoded anew.
    """

    name: str
    folder: Path
    files: Mapping[str, Sequence[StemFile]] = field(repr=False)
    sample_rate: int = SAMPLE_RATE

    def __post_init__(self) -> None:
        self._opened: dict[StemFile, Audio] = {}
        self._unnoted: dict[Path, Any] = dict.fromkeys(file.path for files in self.files.values() for file in files)

    @property
    def location(self) -> str:
        return shown(self.folder)

    @property
    def stems(self) -> tuple[str, ...]:
        return tuple(self.files)

    @cached_property
    def samples(self) -> int:
        """Samples of one channel at `sample_rate`."""
        with ThreadPoolExecutor(DECODERS) as pool:
            list(pool.map(self._audio, [file for files in self.files.values() for file in files]))
        lengths = {stem: max(self._audio(file).samples for file in files) for stem, files in self.files.items()}
        if not lengths:  # the mapping has left no stem
            return 0
        shortest, longest = min(lengths, key=lengths.__getitem__), max(lengths, key=lengths.__getitem__)
        if lengths[shortest] < lengths[longest]:
            log.warning(
                "%s: lengths differ (up to %.3f s, %s); only the first %.3f s, as long as %s, are used",
                shown(self.folder),
                lengths[longest] / self.sample_rate,
                shown(longest),
                lengths[shortest] / self.sample_rate,
                shown(shortest),
            )
        return lengths[shortest]

    @property
    def seconds(self) -> float:
        return self.samples / self.sample_rate

    def read(self, start: float = 0.0, seconds: float | None = None) -> torch.Tensor:
        """The piece from `start` on, (stems, 2, samples); shorter where the track ends, all the rest if not
        said.

        Raises:
            DataError: a file cannot be read.
        """
        first = sample_at(start, self.sample_rate)
        wanted = self.samples if seconds is None else sample_at(seconds, self.sample_rate)
        count = max(0, min(wanted, self.samples - first))
        piece = np.empty((len(self.files), 2, count), np.float32)
        for into, stem in zip(piece, self.stems, strict=True):
            self._read(into, stem, first)
        return torch.from_numpy(piece)

    def close(self) -> None:
        """Let go of the files, and of what was decoded of them."""
        self._opened.clear()

    def _read(self, into: FloatArray, stem: str, first: int) -> None:
        """Fill (2, samples) with a stem from sample `first` on."""
        into[:] = 0
        for file in self.files[stem]:
            piece = self._audio(file).read_samples(first, into.shape[1])
            into[:, : piece.shape[1]] += piece

    def _audio(self, file: StemFile) -> Audio:
        if file not in self._opened:
            # One note a file: its streams are alike, and it may be opened again.
            note = self._unnoted.pop(file.path, self) is None
            self._opened[file] = open_audio(file.path, self.sample_rate, stream=file.stream, note=note)
        return self._opened[file]

"""Where a song's waves are kept while it is separated: in a folder of scratch files, or in memory.

A kept wave grows at its end and can be read anywhere. On disk it is float32 frames without a header, so that its
length is the size of its file, and what was written before an interruption is there after it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from schedopt.separators import Wave

PIECE = 2**19
"""Samples handled at once where a whole wave is gone through: 12 s, 4 MB."""

SAMPLE_BYTES = 4


class KeptWave(Wave, Protocol):
    """A wave that is being made."""

    def append(self, piece: Tensor) -> None:
        """Add (channels, samples) at the end."""
        ...

    def truncate(self, samples: int) -> None:
        """Keep the first `samples` samples."""
        ...

    def secure(self) -> None:
        """What was appended survives the loss of power from here on."""
        ...


class Shelf(Protocol):
    """Kept waves by name."""

    def wave(self, name: str) -> KeptWave:
        """The wave of this name; empty where there was none."""
        ...

    def samples(self, name: str) -> int:
        """How long the wave of this name is; 0 where there is none."""
        ...

    def drop(self, name: str) -> None:
        """Forget a wave, if it is there."""
        ...


class MemoryWave:
    """A wave as the pieces that it came in, joined when it is read."""

    def __init__(self, channels: int) -> None:
        self._whole = torch.zeros(channels, 0)
        self._pieces: list[Tensor] = []
        self._samples = 0

    @property
    def samples(self) -> int:
        return self._samples

    def read(self, first: int, count: int) -> Tensor:
        if self._pieces:
            self._whole, self._pieces = torch.cat([self._whole, *self._pieces], dim=-1), []
        return self._whole[:, first : first + count]

    def append(self, piece: Tensor) -> None:
        self._pieces.append(piece)
        self._samples += piece.shape[-1]

    def truncate(self, samples: int) -> None:
        self._whole = self.read(0, samples)
        self._samples = self._whole.shape[-1]

    def secure(self) -> None:
        pass


class MemoryShelf:
    """Waves in memory."""

    def __init__(self, channels: int) -> None:
        self._channels = channels
        self._waves: dict[str, MemoryWave] = {}

    def wave(self, name: str) -> MemoryWave:
        return self._waves.setdefault(name, MemoryWave(self._channels))

    def samples(self, name: str) -> int:
        return self._waves[name].samples if name in self._waves else 0

    def drop(self, name: str) -> None:
        self._waves.pop(name, None)


class DiskWave:
    """A wave in a file, which stays open."""

    def __init__(self, path: Path, channels: int) -> None:
        self.path = path
        self._frame = SAMPLE_BYTES * channels
        self._channels = channels
        path.touch()
        self._file = path.open("r+b", buffering=0)
        # A frame that was cut off in the middle never was.
        self.truncate(path.stat().st_size // self._frame)

    @property
    def samples(self) -> int:
        return self._samples

    def read(self, first: int, count: int) -> Tensor:
        frames = np.empty((count, self._channels), np.float32)
        self._file.seek(first * self._frame)
        got = self._file.readinto(frames.data.cast("B")) if count else 0
        assert got == count * self._frame, f"{self.path}: read outside the wave"
        return torch.from_numpy(np.ascontiguousarray(frames.T))

    def append(self, piece: Tensor) -> None:
        frames = np.ascontiguousarray(piece.numpy().T, dtype=np.float32)
        self._file.seek(self._samples * self._frame)
        rest = frames.data.cast("B") if frames.size else memoryview(b"")
        while rest:  # one write may take less than it is given
            rest = rest[self._file.write(rest) :]
        self._samples += len(frames)

    def truncate(self, samples: int) -> None:
        self._file.truncate(samples * self._frame)
        self._samples = samples

    def secure(self) -> None:
        os.fsync(self._file.fileno())

    def close(self) -> None:
        self._file.close()


class DiskShelf:
    """Waves in a folder, a file each; a context that closes them."""

    def __init__(self, folder: Path, channels: int) -> None:
        self.folder = folder
        self._channels = channels
        self._waves: dict[str, DiskWave] = {}

    def __enter__(self) -> DiskShelf:
        return self

    def __exit__(self, *_: object) -> None:
        for wave in self._waves.values():
            wave.close()

    def wave(self, name: str) -> DiskWave:
        if name not in self._waves:
            self._waves[name] = DiskWave(self.folder / f"{name}.f32", self._channels)
        return self._waves[name]

    def rename(self, name: str, new: str) -> None:
        """Give a wave another name at once, and only when all of it is safe."""
        wave = self._waves.pop(name)
        wave.secure()
        wave.close()
        wave.path.replace(self.folder / f"{new}.f32")

    def samples(self, name: str) -> int:
        return self.wave(name).samples if (self.folder / f"{name}.f32").exists() else 0

    def drop(self, name: str) -> None:
        if name in self._waves:
            self._waves.pop(name).close()
        (self.folder / f"{name}.f32").unlink(missing_ok=True)


@dataclass(frozen=True)
class Sum:
    """Waves of one length, added in their order."""

    waves: Sequence[Wave]

    @property
    def samples(self) -> int:
        return self.waves[0].samples

    def read(self, first: int, count: int) -> Tensor:
        return torch.stack([wave.read(first, count) for wave in self.waves]).sum(dim=0)


@dataclass(frozen=True)
class Share:
    """A wave divided by a number: the mean of what was summed."""

    wave: Wave
    parts: int

    @property
    def samples(self) -> int:
        return self.wave.samples

    def read(self, first: int, count: int) -> Tensor:
        return self.wave.read(first, count) / self.parts


@dataclass(frozen=True)
class Rest:
    """What a wave leaves of a mixture."""

    mixture: Wave
    wave: Wave

    @property
    def samples(self) -> int:
        return self.wave.samples

    def read(self, first: int, count: int) -> Tensor:
        return self.mixture.read(first, count) - self.wave.read(first, count)


def pieces(wave: Wave, start: int = 0) -> Iterator[Tensor]:
    """`wave` from sample `start` on: (channels, at most PIECE samples) each."""
    for first in range(start, wave.samples, PIECE):
        yield wave.read(first, min(PIECE, wave.samples - first))

"""Where large arrays live: in memory, or in scratch files that are mapped into memory.

A mapped tensor is an ordinary tensor, so all code is the same for a 5-second excerpt and an hour-long song. Its pages
belong to the file: the kernel writes them out and drops them when memory is short.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from schedopt.errors import DataError

CPU = torch.device("cpu")

BLOCK = 2**20
"""Samples that pointwise operations over long arrays handle at once: 24 s, 8 MB in stereo."""


class Arrays(Protocol):
    """Makes uninitialised float32 tensors."""

    def empty(self, *shape: int) -> Tensor: ...


@dataclass(frozen=True)
class Memory:
    """Arrays in the memory of `device`."""

    device: torch.device = CPU

    def empty(self, *shape: int) -> Tensor:
        return torch.empty(shape, dtype=torch.float32, device=self.device)


@dataclass(frozen=True)
class ScratchFiles:
    """Arrays in nameless temporary files in `folder`, a file each; a file goes with its array, however that ends."""

    folder: Path

    def empty(self, *shape: int) -> Tensor:
        """A mapped array, its disk space reserved now: a disk that fills up later would end the process.

        Raises:
            DataError: the disk has no room.
        """
        size = 4 * int(np.prod(shape))
        try:
            with tempfile.TemporaryFile(dir=self.folder) as file:
                if hasattr(os, "posix_fallocate"):
                    os.posix_fallocate(file.fileno(), 0, max(1, size))
                return torch.from_numpy(np.memmap(file, np.float32, "w+", shape=shape))
        except OSError as error:
            reason = f"{error.strerror or error}".lower()
            raise DataError(f"{self.folder}: {reason}: a scratch file of {size / 1e9:.1f} GB is needed") from None


def blocks(samples: int) -> Iterator[slice]:
    """Slices of at most `BLOCK` samples that cover `samples`."""
    for first in range(0, samples, BLOCK):
        yield slice(first, min(first + BLOCK, samples))


def stored(pieces: Iterable[Tensor], arrays: Arrays) -> Tensor:
    """Pieces (channels, samples) of unknown number as one array (channels, samples) in `arrays`."""
    kept: list[Tensor] = []
    for piece in pieces:
        kept.append(arrays.empty(*piece.shape))
        kept[-1][:] = piece
    whole = arrays.empty(len(kept[0]), sum(part.shape[-1] for part in kept))
    return torch.cat(kept, dim=-1, out=whole)

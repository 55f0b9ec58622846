"""Waves of any length in bounded memory: read where a segment needs them, estimated piece by piece.

The numbers and their order are those of `separate_segments`, so that a long wave's estimates are the same as if it
were separated whole. Waves are (channels, samples); lengths are samples.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Literal, NamedTuple, Protocol

import torch
from torch import Tensor

from schedopt.separators.demucs.segments import Cut, Network, Segment, in_parts, padded, triangle

Notify = Callable[[int, Literal["start", "end"]], None]
"""Called with the offset of a segment before and after it goes through the network."""


class Wave(Protocol):
    """Audio that can be read anywhere."""

    @property
    def samples(self) -> int: ...

    def read(self, first: int, count: int) -> Tensor:
        """(channels, count) float32 from sample `first` on; all of it lies inside the wave."""
        ...


class Level(NamedTuple):
    """Mean and standard deviation of a wave's mono mix, scalars, as `demucs.api.Separator` normalises by."""

    mean: Tensor
    std: Tensor


class LevelMeter:
    """The level of a wave that comes in pieces."""

    def __init__(self) -> None:
        self._count = 0
        self._sum = 0.0
        self._squares = 0.0

    def add(self, piece: Tensor) -> None:
        """The next piece: (channels, samples)."""
        mono = piece.mean(0).double()
        self._count += mono.numel()
        self._sum += float(mono.sum())
        self._squares += float(mono.square().sum())

    @property
    def level(self) -> Level:
        mean = self._sum / self._count
        variance = (self._squares - self._sum * mean) / max(1, self._count - 1)
        return Level(torch.tensor(mean), torch.tensor(math.sqrt(max(0.0, variance))) + 1e-8)


@dataclass(frozen=True)
class Delayed:
    """`wave` normalised by `level`, with `delay` zeros before it."""

    wave: Wave
    level: Level
    delay: int

    @property
    def samples(self) -> int:
        return self.wave.samples + self.delay

    def read(self, first: int, count: int) -> Tensor:
        zeros = min(count, max(0, self.delay - first))
        inside = self.wave.read(max(0, first - self.delay), count - zeros)
        return torch.nn.functional.pad((inside - self.level.mean) / self.level.std, (zeros, 0))


def stream_segments(
    network: Network,
    cut: Cut,
    wave: Wave,
    stems: Sequence[int],
    device: torch.device,
    batch: int,
    start: int,
    notify: Notify | None = None,
) -> Iterator[Tensor]:
    """Estimates of the model's stems number `stems` from sample `start` on: (len(stems), channels, samples) pieces.

    A wave that is continued at `start` has the estimates that it has from there on when it is not interrupted.
    """
    segments = [segment for segment in cut.segments(wave.samples) if segment.offset + segment.length > start]
    weight = triangle(cut.length, device)
    total_weight = torch.zeros(cut.length)
    out: Tensor | None = None
    base = start if not segments else segments[0].offset  # of `out` and `total_weight`
    for segment, estimate in _estimates(network, segments, wave, stems, device, batch, notify):
        weighted = (weight[: segment.length] * estimate).cpu()
        if out is None:
            out = torch.zeros(*weighted.shape[:-1], cut.length)
        if segment.offset > base:
            # No later segment reaches back before this one's start.
            yield from _finished(out, total_weight, base, segment.offset, start)
            out, total_weight = _moved(out, segment.offset - base), _moved(total_weight, segment.offset - base)
            base = segment.offset
        out[..., : segment.length] += weighted
        total_weight[: segment.length] += weight[: segment.length].cpu()
    if out is not None:
        yield from _finished(out, total_weight, base, wave.samples, start)


def _estimates(
    network: Network,
    segments: Sequence[Segment],
    wave: Wave,
    stems: Sequence[int],
    device: torch.device,
    batch: int,
    notify: Notify | None,
) -> Iterator[tuple[Segment, Tensor]]:
    """Each segment with its estimates, (len(stems), channels, length); as many at once as a batch holds."""
    for _, alike in groupby(segments, key=lambda segment: segment.padded):
        ahead = list(alike)
        for first in range(0, len(ahead), batch):
            group = ahead[first : first + batch]
            for segment in group if notify else ():
                notify(segment.offset, "start")  # type: ignore[misc]
            inputs = torch.stack([padded(wave.read, wave.samples, segment) for segment in group])
            estimates = in_parts(network, inputs.to(device))[:, stems]  # (segments, stems, channels, padded)
            for segment, estimate in zip(group, estimates, strict=True):
                trim = (segment.padded - segment.length) // 2
                yield segment, estimate[..., trim : trim + segment.length].float()
                if notify:
                    notify(segment.offset, "end")


def _finished(out: Tensor, total_weight: Tensor, base: int, end: int, start: int) -> Iterator[Tensor]:
    """What of [base, end) lies from `start` on, weighted: nothing or one piece."""
    first = max(base, start)
    if first < end:
        yield out[..., first - base : end - base] / total_weight[first - base : end - base]


def _moved(buffer: Tensor, by: int) -> Tensor:
    """`buffer` moved to the left, zeros behind it."""
    return torch.cat([buffer[..., by:], torch.zeros_like(buffer[..., :by])], dim=-1)


class Part(NamedTuple):
    """One term of an average: its pieces, (len(places), channels, samples), and the weights of the stems' `places`."""

    pieces: Iterator[Tensor]
    places: Sequence[int]
    weights: Sequence[float]


def average(parts: Sequence[Part], stems: int) -> Iterator[Tensor]:
    """Weighted mean of `parts`, whose pieces may differ in length: (stems, channels, samples) pieces."""
    totals = [0.0] * stems
    for part in parts:
        for place, weight in zip(part.places, part.weights, strict=True):
            totals[place] += weight
    waiting = [next(part.pieces, None) for part in parts]
    while (ready := [piece for piece in waiting if piece is not None]) and len(ready) == len(parts):
        length = min(piece.shape[-1] for piece in ready)
        out = ready[0].new_zeros(stems, ready[0].shape[1], length)
        for part, piece in zip(parts, ready, strict=True):
            for place, weight, estimate in zip(part.places, part.weights, piece, strict=True):
                out[place] += estimate[..., :length] * weight
        for place, total in enumerate(totals):
            out[place] /= total
        yield out
        waiting = [
            piece[..., length:] if piece.shape[-1] > length else next(part.pieces, None)
            for part, piece in zip(parts, ready, strict=True)
        ]
    assert not any(piece is not None for piece in waiting), "parts of an average end together"

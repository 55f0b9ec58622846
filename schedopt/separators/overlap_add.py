"""Mixtures of any length in segments: cut, separated, laid over one another with triangular weights.

The arithmetic is that of `demucs.apply.apply_model(shifts=0, split=True)`, so that results are equal; here segments of
several mixtures may share a forward pass, and only a segment's length is held in memory. Lengths are samples.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from schedopt.errors import SeparatorError

Network = Callable[[Tensor], Tensor]
"""(segments, channels, samples) → (segments, stems, channels, samples)."""

Read = Callable[[int, int, int], Tensor]
"""Number of a mixture, first sample, count → (channels, count); all of it lies inside the mixture."""

Notify = Callable[[int, Literal["start", "end"]], None]
"""Called with the offset of a segment before and after it goes through the network."""


class Segment(NamedTuple):
    """Where a segment starts, how long it is, and how long the network wants it."""

    offset: int
    length: int
    padded: int


@dataclass(frozen=True)
class Cut:
    """How a network wants its mixtures cut: segments of `length` every `stride`; None: one segment for all.

    `padded` gives the length that the network wants a segment of some length to be padded to.
    """

    length: int | None
    stride: int
    padded: Callable[[int], int] = int

    def segments(self, samples: int) -> list[Segment]:
        """Segments that cover `samples` samples, in order."""
        whole = self.length or samples
        offsets = range(0, samples, self.stride if self.length else samples)
        lengths = ((offset, min(whole, samples - offset)) for offset in offsets)
        return [Segment(offset, length, self.padded(length)) for offset, length in lengths]


@dataclass
class Batch:
    """The most segments that go through a network at once; halved for good where the device's memory is too small."""

    segments: int


def overlap_add(
    network: Network,
    cut: Cut,
    read: Read,
    mixtures: int,
    samples: int,
    batch: Batch,
    device: torch.device,
    home: torch.device,
    notify: Notify | None = None,
) -> Iterator[tuple[int, Tensor]]:
    """Estimates of several mixtures of `samples` samples, piece after piece up to their end.

    Args:
        network: runs on `device`.
        read: reads the mixtures.
        home: where the pieces are to be.
        notify: called for the segments of the first mixture.

    Yields:
        First sample and piece: (mixtures, stems, channels, samples of the piece). Costs one pass a mixture in all.
    """
    segments = cut.segments(samples)
    weight = triangle(cut.length or samples, device)[:samples]
    home_weight = weight.to(home)
    ends = [segment.offset for segment in segments[1:]] + [samples]
    out: Tensor | None = None
    estimates = _estimates(network, segments, read, mixtures, samples, batch, device, notify)
    for segment, end, parts in zip(segments, ends, estimates, strict=True):
        weighted = torch.stack([(weight[: segment.length] * part.float()).to(home) for part in parts])
        if out is None:
            out = weighted.new_zeros(*weighted.shape[:-1], len(weight))
            total = torch.zeros_like(home_weight)
        out[..., : segment.length] += weighted
        total[: segment.length] += home_weight[: segment.length]
        # No later segment reaches back before its own start.
        done = end - segment.offset
        yield segment.offset, out[..., :done] / total[:done]
        out, total = _moved(out, done), _moved(total, done)


def _estimates(
    network: Network,
    segments: Sequence[Segment],
    read: Read,
    mixtures: int,
    samples: int,
    batch: Batch,
    device: torch.device,
    notify: Notify | None,
) -> Iterator[list[Tensor]]:
    """For each segment the estimates (stems, channels, length) of every mixture, as many at once as a batch holds."""
    for _, alike in groupby(segments, key=lambda segment: segment.padded):
        pairs = [(segment, mixture) for segment in alike for mixture in range(mixtures)]
        waiting: list[Tensor] = []
        while pairs:
            group, pairs = pairs[: batch.segments], pairs[batch.segments :]
            told = [segment.offset for segment, mixture in group if notify and mixture == 0]
            _tell(notify, told, "start")
            inputs = torch.stack([_padded(read, mixture, samples, segment) for segment, mixture in group])
            for (segment, mixture), estimate in zip(group, in_parts(network, inputs.to(device), batch), strict=True):
                trim = (segment.padded - segment.length) // 2
                waiting.append(estimate[..., trim : trim + segment.length])
                if mixture == mixtures - 1:
                    yield waiting
                    waiting = []
            _tell(notify, told, "end")


def _tell(notify: Notify | None, offsets: Sequence[int], state: Literal["start", "end"]) -> None:
    for offset in offsets:
        if notify is not None:
            notify(offset, state)


def _padded(read: Read, mixture: int, samples: int, segment: Segment) -> Tensor:
    """The segment in the middle of its padded length: what surrounds it in the mixture, zeros beyond its ends."""
    start = segment.offset - (segment.padded - segment.length) // 2
    end = start + segment.padded
    inside = read(mixture, max(0, start), min(end, samples) - max(0, start))
    return functional.pad(inside, (max(0, -start), max(0, end - samples)))


def in_parts(network: Network, inputs: Tensor, batch: Batch) -> Tensor:
    """Runs the network; where the device's memory does not hold all at once in halves, which `batch` remembers."""
    try:
        return network(inputs)
    except torch.OutOfMemoryError:
        if len(inputs) == 1:
            raise SeparatorError(
                f"{inputs.device} has too little memory for one segment; a shorter segment or device cpu may do"
            ) from None
    batch.segments = min(batch.segments, -(-len(inputs) // 2))
    if inputs.device.type == "cuda":
        torch.cuda.empty_cache()
    return torch.cat([in_parts(network, half, batch) for half in inputs.tensor_split(2)])


def triangle(length: int, device: torch.device) -> Tensor:
    """Weights that rise to 1 in the middle of a segment and fall again: (length,)."""
    rise = torch.arange(1, length // 2 + 1, device=device)
    fall = torch.arange(length - length // 2, 0, -1, device=device)
    weight = torch.cat([rise, fall])
    return weight / weight.max()


def _moved(buffer: Tensor, by: int) -> Tensor:
    """`buffer` moved to the left, zeros behind it."""
    return torch.cat([buffer[..., by:], torch.zeros_like(buffer[..., :by])], dim=-1)

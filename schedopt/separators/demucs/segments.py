"""Long mixtures in segments: cut, separated, laid over one another with triangular weights.

The arithmetic is that of `demucs.apply.apply_model(shifts=0, split=True)`, so that results are equal; here
segments of several mixtures may share a forward pass. Waves are (channels, samples); lengths are samples.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from schedopt.errors import SeparatorError
from schedopt.separators.demucs.bag import HDEMUCS, HTDEMUCS, Model

Network = Callable[[Tensor], Tensor]
"""(segments, channels, samples) → (segments, stems, channels, samples)."""


class Segment(NamedTuple):
    """Where a segment starts, how long it is, and how long the network wants it."""

    offset: int
    length: int
    padded: int


class Cut(NamedTuple):
    """How a model wants its mixtures cut; `overridden` says that the user chose the length of a segment."""

    model: Model
    length: int
    stride: int
    overridden: bool

    def segments(self, samples: int) -> list[Segment]:
        """Segments that cover `samples` samples, in order."""
        lengths = ((offset, min(self.length, samples - offset)) for offset in range(0, samples, self.stride))
        return [Segment(offset, length, self._padded(length)) for offset, length in lengths]

    def _padded(self, length: int) -> int:
        if isinstance(self.model, HTDEMUCS) and self.overridden:
            return self.length
        if hasattr(self.model, "valid_length"):
            return int(self.model.valid_length(length))
        if isinstance(self.model, HDEMUCS) and not self.model.hybrid:
            # apply_model fails here: torch.stft mirrors half a window at each end, so it needs more than that.
            return max(length, int(self.model.nfft) // 2 + 1)
        return length


def cut_for(model: Model, overlap: float, segment: float | None) -> Cut:
    """The cut of `model` with segments of `segment` seconds (the model's own length where None).

    Raises:
        SeparatorError: an overlap outside [0, 1), a segment that is not positive, too short for its overlap, or longer
            than a transformer was trained with.
    """
    if not 0 <= overlap < 1:
        raise SeparatorError(f"overlap {overlap:g} is not in [0, 1)")
    seconds = model.segment if segment is None else segment
    if not 0 < seconds < math.inf:
        raise SeparatorError(f"segment {float(seconds):g} is not a number of seconds above 0")
    length = int(model.samplerate * seconds)
    stride = int((1 - overlap) * length)
    if stride < 1:
        raise SeparatorError(f"a segment of {float(seconds):g} s with overlap {overlap:g} moves by less than a sample")
    trained = _trained_length(model)
    if trained is not None and length > trained:
        raise SeparatorError(
            f"a segment of {float(seconds):g} s is longer than the model was trained with ({float(model.segment):g} s)"
        )
    return Cut(model, length, stride, segment is not None)


def _trained_length(model: Model) -> int | None:
    if isinstance(model, HTDEMUCS) and model.use_train_segment:
        return int(model.segment * model.samplerate)
    return None


def separate_segments(
    network: Network, cut: Cut, waves: Tensor, stems: Sequence[int], device: torch.device, batch: int
) -> Tensor:
    """Estimates of the model's stems number `stems` for each wave.

    Args:
        network: runs on `device`; called with at most `batch` segments at once.
        cut: how the waves are cut.
        waves: (mixtures, channels, samples), normalised; may lie on another device.
        stems: indices into the network's stems.

    Returns:
        (mixtures, len(stems), channels, samples) on the waves' device. Costs one pass per mixture.
    """
    mixtures, channels, samples = waves.shape
    segments = cut.segments(samples)
    out = waves.new_zeros(mixtures, len(stems), channels, samples)
    weight = triangle(cut.length, device)
    for group in _batches(segments, mixtures, batch):
        inputs = torch.stack([padded(_reader(waves[mixture]), samples, segment) for mixture, segment in group])
        estimates = in_parts(network, inputs.to(device))[:, stems]  # (segments, stems, channels, padded)
        for (mixture, segment), estimate in zip(group, estimates, strict=True):
            trim = (segment.padded - segment.length) // 2
            weighted = weight[: segment.length] * estimate[..., trim : trim + segment.length].float()
            out[mixture, ..., segment.offset : segment.offset + segment.length] += weighted.to(out.device)
    out /= _total_weight(segments, weight.to(out.device), samples)
    return out


def _batches(segments: list[Segment], mixtures: int, batch: int) -> Iterator[list[tuple[int, Segment]]]:
    """(mixture, segment) pairs in groups of at most `batch` of one padded length, each mixture's in order."""
    for _, alike in groupby(segments, key=lambda segment: segment.padded):
        pairs = [(mixture, segment) for segment in alike for mixture in range(mixtures)]
        for start in range(0, len(pairs), batch):
            yield pairs[start : start + batch]


def _reader(wave: Tensor) -> Callable[[int, int], Tensor]:
    return lambda first, count: wave[..., first : first + count]


def padded(read: Callable[[int, int], Tensor], samples: int, segment: Segment) -> Tensor:
    """The segment in the middle of `padded` samples: what surrounds it in the wave, zeros beyond the wave's ends.

    `read(first, count)` gives a piece of the wave, which has `samples` samples.
    """
    start = segment.offset - (segment.padded - segment.length) // 2
    end = start + segment.padded
    inside = read(max(0, start), min(end, samples) - max(0, start))
    return functional.pad(inside, (max(0, -start), max(0, end - samples)))


def in_parts(network: Network, inputs: Tensor) -> Tensor:
    """Runs the network, in halves where the device's memory does not hold all at once."""
    try:
        return network(inputs)
    except torch.cuda.OutOfMemoryError:
        if len(inputs) == 1:
            raise SeparatorError(
                f"{inputs.device} has too little memory for one segment; a shorter segment or device cpu may do"
            ) from None
    torch.cuda.empty_cache()
    return torch.cat([in_parts(network, half) for half in inputs.tensor_split(2)])


def triangle(length: int, device: torch.device) -> Tensor:
    """Weights that rise to 1 in the middle of a segment and fall again: (length,)."""
    rise = torch.arange(1, length // 2 + 1, device=device)
    fall = torch.arange(length - length // 2, 0, -1, device=device)
    weight = torch.cat([rise, fall])
    return weight / weight.max()


def _total_weight(segments: list[Segment], weight: Tensor, samples: int) -> Tensor:
    """Sum of the weights that lie over each sample: (samples,)."""
    total = weight.new_zeros(samples)
    for segment in segments:
        total[segment.offset : segment.offset + segment.length] += weight[: segment.length]
    return total

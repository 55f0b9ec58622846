"""The separator: mixtures in, estimates of their stems out."""

from __future__ import annotations

import hashlib
import json
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional

from schedopt.arrays import BLOCK, Arrays, Memory, blocks
from schedopt.errors import SeparatorError
from schedopt.separators.devices import arithmetic
from schedopt.separators.overlap_add import Batch, Cut, overlap_add

Notify = Callable[[int, int, int, Literal["start", "end"]], None]
"""Called with the number of the network in its bag, the number of the shift, a segment's offset, and start or end."""

log = logging.getLogger("schedopt")


@dataclass(frozen=True, eq=False)
class Member:
    """One network of a separator.

    Attributes:
        network: (segments, channels, samples), indices of stems → estimates (segments, those stems, channels, samples).
        weights: of its estimates in the average over all members, a stem each; 0: it is not run for that stem.
        cut: how it wants its mixtures cut.
    """

    network: Callable[[Tensor, Sequence[int]], Tensor]
    weights: tuple[float, ...]
    cut: Cut


@dataclass(frozen=True, eq=False)
class Separator:
    """Networks whose estimates are averaged, ready to run; its settings do not change after construction.

    Made by `load_separator`, or from something in memory by `from_model`.

    Attributes:
        name: as the user wrote it.
        stems: in the model's own order.
        sample_rate: Hz.
        channels: of the mixture and of each estimate.
        fingerprint: 16 hex digits over `weights`, segment, overlap and stems: what separator this is, wherever it runs.
        weights: 16 hex digits over classes, arguments and weights alone.
        device: where the networks run.
        precision: `float32`, `tf32` or `bfloat16`.
        normalises: inputs are normalised by mean and standard deviation of their mono mix, and estimates scaled back.
        optimised: settings of this machine for cheaper passes, which change estimates by float32's rounding.
        members: the networks, and `parts`: which of their stems add up to each of `stems`.
    """

    name: str
    stems: tuple[str, ...]
    sample_rate: int
    channels: int
    fingerprint: str
    weights: str
    device: torch.device
    precision: str
    members: tuple[Member, ...]
    parts: tuple[tuple[int, ...], ...]
    batch: Batch
    normalises: bool = True
    optimised: tuple[str, ...] = ()
    model: Any = None

    @staticmethod
    def from_model(model: Any, **options: Any) -> Separator:
        """A separator of `model`: one of demucs' classes, its bag of models, or a `Plugin`.

        Options are those of `schedopt.separators.demucs.build.build` and `schedopt.separators.plugins.build`.
        """
        from schedopt.separators.load import from_model

        return from_model(model, **options)

    @property
    def batch_segments(self) -> int:
        """The most segments that go through a network at once."""
        return self.batch.segments

    def __call__(self, mixtures: Tensor, *, shift: int = 0, stems: Sequence[str] | None = None) -> Tensor:
        """Estimates of the stems of each mixture; costs one pass per mixture.

        A demucs model's are equal to `apply_model(shifts=0, overlap=…, segment=…)` on the mixture normalised as
        `demucs.api.Separator` does; with one segment at a time (the default on a CPU) an estimate does not depend on
        what else is in the batch.

        Args:
            mixtures: (batch, channels, samples) float32. What is as long as they are stays on their device; what is
                as long as a segment goes to the separator's. Pass them on `device` to spare copies.
            shift: so many zero samples go before the normalised mixture and are cut off the estimates again:
                one term of apply_model's shift trick, with `offset = sample_rate // 2 − shift`.
            stems: those to estimate, in this order; all in the model's order where None. Only networks that have a
                weight for one of them are run.

        Returns:
            (batch, stems, channels, samples) float32 on the mixtures' device. A constant mixture gives finite
            estimates; a mixture with NaN gives NaN for itself only.

        Raises:
            SeparatorError: mixtures of another shape, an unknown stem, a negative shift.
        """
        return self.separate(mixtures, shifts=(shift,), stems=stems)

    def run(self, inputs: Sequence[Tensor], shift: int, stems: tuple[str, ...], step: int) -> list[Tensor]:
        """As `__call__`, for `schedopt.trajectory`: a tensor for each input."""
        return list(self(torch.stack(list(inputs)), shift=shift, stems=stems))

    def separate(
        self,
        mixtures: Tensor,
        *,
        shifts: Sequence[int] = (0,),
        stems: Sequence[str] | None = None,
        arrays: Arrays | None = None,
        notify: Notify | None = None,
    ) -> Tensor:
        """As `__call__`, averaged over `shifts`; costs a pass a shift and mixture.

        Args:
            arrays: makes the result, by default in the memory of the mixtures' device. Of arrays in files, mixtures
                too, only a segment's length is held in memory.
            notify: called before and after each segment of the first mixture.
        """
        wanted = [self.parts[self._index(stem)] for stem in (self.stems if stems is None else stems)]
        self._check(mixtures, min(shifts))
        with torch.no_grad():
            arrays = arrays or Memory(mixtures.device)
            out = arrays.empty(len(mixtures), len(wanted), *mixtures.shape[1:]).zero_()
            levels = [self._level(mixture) for mixture in mixtures]
            for number, member in enumerate(self.members):
                for index, shift in enumerate(shifts):
                    self._add(member, mixtures, levels, wanted, shift, out, _numbered(notify, number, index))
            divisors = [len(shifts) * (self._total(part) if len(part) == 1 else 1) for part in wanted]
            for estimates, (mean, std) in zip(out, levels, strict=True):
                for estimate, divisor in zip(estimates, divisors, strict=True):
                    for block in blocks(out.shape[-1]):
                        estimate[:, block].div_(divisor).mul_(std).add_(mean)
            return out

    def mean_of(self, audio: Tensor) -> Tensor:
        """What every estimate holds of the mean of its input (channels, samples): 0-dimensional, 0 for networks that
        leave the mean to no stem."""
        return self._level(audio)[0]

    def with_stems(self, mapping: Mapping[str, Sequence[str]]) -> Separator:
        """This separator with stems that are sums of its own: `{"other": ["other", "guitar", "piano"]}`.

        Stems that the mapping does not use stay as they are.

        Raises:
            SeparatorError: the mapping names a stem that the model lacks, or uses one twice.
        """
        used = [part for parts in mapping.values() for part in parts]
        for part in used:
            self._index(part)
            if used.count(part) > 1:
                raise SeparatorError(f"{self.name}: separator.stems uses {part!r} twice")
        rest = {stem: (stem,) for stem in self.stems if stem not in used}
        merged = {name: tuple(parts) for name, parts in mapping.items()} | rest
        if len(merged) != len(mapping) + len(rest):
            twice = next(name for name in rest if name in mapping)
            raise SeparatorError(f"{self.name}: separator.stems makes {twice!r} of others and leaves it as it is too")
        # In the model's order, a sum at the place of its first part.
        names = sorted(merged, key=lambda name: min(self._index(part) for part in merged[name]))
        parts = tuple(tuple(i for part in merged[name] for i in self.parts[self._index(part)]) for name in names)
        return replace(
            self,
            stems=tuple(names),
            parts=parts,
            fingerprint=short_hash([self.fingerprint, names, parts]) if mapping else self.fingerprint,
        )

    def _add(
        self,
        member: Member,
        mixtures: Tensor,
        levels: Sequence[tuple[Tensor, Tensor]],
        wanted: Sequence[tuple[int, ...]],
        shift: int,
        out: Tensor,
        notify: Callable[[int, Literal["start", "end"]], None] | None,
    ) -> None:
        """Add one network's weighted estimates of the mixtures, delayed by `shift`, to `out`."""
        chosen = sorted({stem for part in wanted for stem in part if member.weights[stem] != 0})
        if not chosen:
            return

        def network(inputs: Tensor) -> Tensor:
            with torch.inference_mode(), arithmetic(self.device, self.precision):
                return member.network(inputs, chosen)

        def read(mixture: int, first: int, count: int) -> Tensor:
            zeros = min(count, max(0, shift - first))
            start = max(0, first - shift)
            mean, std = levels[mixture]
            inside = mixtures[mixture, :, start : start + count - zeros].to(torch.float32)
            return functional.pad((inside - mean) / std, (zeros, 0))

        samples = mixtures.shape[-1] + shift
        pieces = overlap_add(
            network, member.cut, read, len(mixtures), samples, self.batch, self.device, out.device, notify
        )
        for first, piece in pieces:
            skipped = max(0, shift - first)
            if skipped >= piece.shape[-1]:
                continue
            here = slice(first + skipped - shift, first - shift + piece.shape[-1])
            for row, part in enumerate(wanted):
                for stem in part:
                    if stem in chosen:
                        weight = member.weights[stem] / (1 if len(part) == 1 else self._total((stem,)))
                        out[:, row, :, here] += piece[:, chosen.index(stem), :, skipped:] * weight

    def _total(self, part: tuple[int, ...]) -> float:
        return sum(member.weights[part[0]] for member in self.members)

    def _level(self, audio: Tensor) -> tuple[Tensor, Tensor]:
        if not self.normalises:
            return audio.new_zeros(()), audio.new_ones(())
        return level(audio)

    def _index(self, stem: str) -> int:
        if stem not in self.stems:
            raise SeparatorError(f"{self.name} has no stem {stem!r}, only {', '.join(self.stems)}")
        return self.stems.index(stem)

    def _check(self, mixtures: Tensor, shift: int) -> None:
        if mixtures.ndim != 3 or mixtures.shape[1] != self.channels or 0 in mixtures.shape:
            raise SeparatorError(
                f"{self.name} takes mixtures of shape (batch, {self.channels}, samples), not {tuple(mixtures.shape)}"
            )
        if shift < 0:
            raise SeparatorError(f"shift {shift} is not a number of samples from 0 on")


def level(audio: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of the mono mix of (channels, samples), as `demucs.api.Separator` normalises by.

    0-dimensional. Of audio longer than a block the statistics of blocks are put together (Chan, Golub, LeVeque 1979).
    """
    samples = audio.shape[-1]
    if samples == 1:  # whose standard deviation torch calls NaN
        return audio.mean(), audio.new_tensor(1e-8)
    if samples <= 4 * BLOCK:
        mono = audio.to(torch.float32).mean(0)
        return mono.mean(), mono.std() + 1e-8
    count, mean, squares = 0, 0.0, 0.0
    for block in blocks(samples):
        mono = audio[:, block].mean(0)
        here = mono.numel()
        middle = mono.mean()
        delta = float(middle) - mean
        squares += float((mono - middle).square().sum()) + delta**2 * count * here / (count + here)
        mean += delta * here / (count + here)
        count += here
    return audio.new_tensor(mean), audio.new_tensor(math.sqrt(squares / (count - 1)) + 1e-8)


def short_hash(value: Any) -> str:
    """16 hex digits over anything that JSON holds."""
    return hashlib.sha256(json.dumps(value, default=str).encode()).hexdigest()[:16]


def _numbered(notify: Notify | None, number: int, index: int) -> Callable[[int, Literal["start", "end"]], None] | None:
    return None if notify is None else lambda offset, state: notify(number, index, offset, state)

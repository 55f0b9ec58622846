"""The separator: mixtures in, estimates of their stems out."""

from __future__ import annotations

import copy
import functools
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from schedopt.errors import SeparatorError
from schedopt.memory import keep_freed_memory
from schedopt.separators.demucs.bag import Bag, Model, bag_of, fingerprint, weights_fingerprint
from schedopt.separators.demucs.devices import arithmetic, batch_for, resolve_device, resolve_precision
from schedopt.separators.demucs.partial import transforming_only
from schedopt.separators.demucs.segments import Cut, Network, cut_for, separate_segments
from schedopt.separators.demucs.stream import Delayed, Level, Part, Wave, average, stream_segments

Notify = Callable[[int, int, int, Literal["start", "end"]], None]

log = logging.getLogger("schedopt")


@dataclass(frozen=True, eq=False)
class Separator:
    """A demucs model or a bag of them, ready to run; nothing about it changes after construction.

    Made by `load_separator`, or from a model in memory by `from_model`.

    Attributes:
        name: as the user wrote it.
        stems: in the model's own order.
        sample_rate: Hz.
        channels: of the mixture and of each estimate.
        fingerprint: 16 hex digits over `weights`, segment, overlap and precision.
        weights: 16 hex digits over classes, arguments and weights alone.
        device: where the networks run.
        precision: `float32` or `bfloat16`.
        batch_segments: the most segments that go through a network at once.
    """

    name: str
    stems: tuple[str, ...]
    sample_rate: int
    channels: int
    fingerprint: str
    weights: str
    device: torch.device
    precision: str
    batch_segments: int
    _bag: Bag
    _cuts: tuple[Cut, ...]

    @classmethod
    def from_model(
        cls,
        model: nn.Module,
        *,
        name: str = "model",
        device: str = "auto",
        precision: str = "float32",
        overlap: float = 0.25,
        segment: float | None = None,
        batch_segments: int | None = None,
        adopt: bool = False,
    ) -> Separator:
        """A separator of `model`, one of demucs' classes or its bag; other arguments as `load_separator`'s.

        Where the device is `auto` and no CPU, a short pass shows whether it can run this model; else the CPU does.

        Args:
            adopt: take the model itself (moved to the device, in eval mode, frozen) instead of a copy.

        Raises:
            SeparatorError: an argument that cannot be used.
        """
        place = resolve_device(device)
        given, kind = model, resolve_precision(precision, place)
        batch = batch_for(place) if batch_segments is None else batch_segments
        if batch < 1:
            raise SeparatorError(f"batch_segments {batch} is not at least 1")
        if place.type == "cpu":
            keep_freed_memory()
        model = model if adopt else copy.deepcopy(model)
        model.eval().requires_grad_(False)
        bag = bag_of(model, name)
        cuts = tuple(cut_for(one, overlap, segment) for one in bag.models)
        weights = weights_fingerprint(bag)
        model.to(place)
        made = cls(
            name=name,
            stems=bag.stems,
            sample_rate=bag.sample_rate,
            channels=bag.channels,
            fingerprint=fingerprint(weights, segment, overlap, kind),
            weights=weights,
            device=place,
            precision=kind,
            batch_segments=batch,
            _bag=bag,
            _cuts=cuts,
        )
        reason = made._fails() if device == "auto" and place.type != "cpu" else None
        if reason is None:
            return made
        log.warning("%s does not run on %s and runs on the CPU instead: %s", name, place.type, reason)
        return cls.from_model(
            given,
            name=name,
            device="cpu",
            precision=precision,
            overlap=overlap,
            segment=segment,
            batch_segments=batch_segments,
            adopt=adopt,
        )

    def _fails(self) -> str | None:
        """Why a short pass does not work on this device (an operation that it lacks, too little memory), or None."""
        noise = torch.randn(1, self.channels, self.sample_rate // 10, generator=torch.Generator().manual_seed(0))
        try:
            return None if bool(self(noise).isfinite().all()) else "its estimates are not finite"
        except (RuntimeError, TypeError, SeparatorError) as error:
            return str(error).partition("\n")[0]

    def __call__(self, mixtures: Tensor, *, shift: int = 0, stems: Sequence[str] | None = None) -> Tensor:
        """Estimates of the stems of each mixture; costs one pass per mixture.

        Each mixture is normalised by mean and standard deviation of its mono mix, as `demucs.api.Separator` does,
        and the estimates are scaled back. Equal to `apply_model(shifts=0, overlap=…, segment=…)` on it; with one
        segment at a time (the default on a CPU) an estimate does not depend on what else is in the batch.

        Args:
            mixtures: (batch, channels, samples) float32. What is as long as they are stays on their device; what is
                as long as a segment goes to the separator's. Pass them on `device` to spare copies.
            shift: so many zero samples go before the normalised mixture and are cut off the estimates again:
                one term of apply_model's shift trick, with `offset = sample_rate // 2 − shift`.
            stems: those to estimate, in this order; all in the model's order where None. Only models of a bag that
                have a weight for one of them are run.

        Returns:
            (batch, stems, channels, samples) float32 on the mixtures' device. A constant mixture gives finite
            estimates; a mixture with NaN gives NaN for itself only.

        Raises:
            SeparatorError: mixtures of another shape, an unknown stem, a negative shift.
        """
        wanted = self._indices(stems)
        self._check(mixtures, shift)
        with torch.no_grad():
            mixtures = mixtures.to(torch.float32)
            levels = [_level(mixture) for mixture in mixtures]
            mean = torch.stack([mean for mean, _ in levels])[:, None, None]  # (batch, 1, 1)
            std = torch.stack([std for _, std in levels])[:, None, None]
            # An ordinary tensor, not one of inference mode, so that callers may change it in place.
            out = mixtures.new_zeros(len(mixtures), len(wanted), *mixtures.shape[1:])
            with torch.inference_mode(), arithmetic(self.device, self.precision):
                waves = functional.pad((mixtures - mean) / std, (shift, 0))
                self._average(waves, wanted, shift, out)
            return out.mul_(std[:, None]).add_(mean[:, None])

    def stream(
        self,
        mixture: Wave,
        level: Level,
        *,
        shifts: Sequence[int] = (0,),
        stems: Sequence[str] | None = None,
        start: int = 0,
        notify: Notify | None = None,
    ) -> Iterator[Tensor]:
        """Estimates of a mixture of any length, piece by piece; memory does not grow with it. Costs a pass a shift.

        Equal to calling the separator on the whole mixture, where `level` is that of the whole mixture.

        Args:
            mixture: on the CPU, like the pieces.
            level: what `LevelMeter` says of the mixture.
            shifts: delays as `__call__`'s `shift`; the estimates are averaged over them.
            stems: as in `__call__`.
            start: the sample to begin at; what lies before was taken from an earlier call.
            notify: called with (number of the model in its bag, number of the shift, offset, "start" or "end").

        Returns:
            Pieces (stems, channels, samples) float32, one after the other up to the mixture's end.
        """
        wanted = self._indices(stems)
        parts = []
        for number, (model, weights, cut) in enumerate(
            zip(self._bag.models, self._bag.weights, self._cuts, strict=True)
        ):
            places = [place for place, stem in enumerate(wanted) if weights[stem] != 0]
            if not places:
                continue
            chosen = [wanted[place] for place in places]
            for index, shift in enumerate(shifts):
                pieces = stream_segments(
                    self._network(model, chosen),
                    cut,
                    Delayed(mixture, level, shift),
                    chosen,
                    self.device,
                    self.batch_segments,
                    start + shift,
                    None if notify is None else functools.partial(notify, number, index),
                )
                parts.append(Part(pieces, places, [weights[stem] for stem in chosen]))
        for estimate in average(parts, len(wanted)):
            yield estimate.mul_(level.std).add_(level.mean)

    def _network(self, model: Model, stems: Sequence[int]) -> Network:
        """`model` in this separator's arithmetic; settings of torch hold while it runs, not between pieces."""

        def run(inputs: Tensor) -> Tensor:
            with (
                torch.inference_mode(),
                arithmetic(self.device, self.precision),
                transforming_only(model, stems) as network,
            ):
                estimates: Tensor = network(inputs)
                return estimates

        return run

    def _average(self, waves: Tensor, wanted: list[int], shift: int, out: Tensor) -> None:
        """Adds the weighted mean of the bag's estimates to `out`: (batch, wanted, channels, samples − shift)."""
        bag = self._bag
        for model, weights, cut in zip(bag.models, bag.weights, self._cuts, strict=True):
            places = [place for place, stem in enumerate(wanted) if weights[stem] != 0]
            if not places:
                continue
            chosen = [wanted[place] for place in places]
            with transforming_only(model, chosen) as network:
                estimates = separate_segments(network, cut, waves, chosen, self.device, self.batch_segments)
            for place, stem, estimate in zip(places, chosen, estimates.unbind(1), strict=True):
                out[:, place] += estimate[..., shift:] * weights[stem]
        for place, stem in enumerate(wanted):
            out[:, place] /= sum(weights[stem] for weights in bag.weights)

    def _indices(self, stems: Sequence[str] | None) -> list[int]:
        if stems is None:
            return list(range(len(self.stems)))
        for stem in stems:
            if stem not in self.stems:
                raise SeparatorError(f"{self.name} has no stem {stem!r}, only {', '.join(self.stems)}")
        return [self.stems.index(stem) for stem in stems]

    def _check(self, mixtures: Tensor, shift: int) -> None:
        if mixtures.ndim != 3 or mixtures.shape[1] != self.channels or 0 in mixtures.shape:
            raise SeparatorError(
                f"{self.name} takes mixtures of shape (batch, {self.channels}, samples), not {tuple(mixtures.shape)}"
            )
        if shift < 0:
            raise SeparatorError(f"shift {shift} is not a number of samples from 0 on")


def _level(mixture: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of the mono mix of (channels, samples); alone, so that a batch changes no bit."""
    mono = mixture.mean(0)
    if mono.numel() == 1:  # whose standard deviation torch calls NaN
        return mono.mean(), mono.new_tensor(1e-8)
    return mono.mean(), mono.std() + 1e-8

"""A demucs model, or a bag of them, as a `Separator`."""

from __future__ import annotations

import copy
import functools
import logging
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from schedopt.arrays import CPU
from schedopt.errors import SeparatorError
from schedopt.memory import keep_freed_memory
from schedopt.separators.demucs import faster
from schedopt.separators.demucs.bag import HDEMUCS, HTDEMUCS, Model, bag_of, weights_fingerprint
from schedopt.separators.demucs.partial import narrowed
from schedopt.separators.devices import batch_for, resolve_device, resolve_precision
from schedopt.separators.overlap_add import Batch, Cut
from schedopt.separators.separator import Member, Separator, short_hash

log = logging.getLogger("schedopt")


def build(
    model: nn.Module,
    *,
    name: str = "model",
    device: str = "auto",
    precision: str = "float32",
    overlap: float = 0.25,
    segment: float | None = None,
    batch_segments: int | None = None,
    optimise: bool = False,
    adopt: bool = False,
) -> Separator:
    """A separator of `model`, one of demucs' classes or its bag; other arguments as `load_separator`'s.

    Where the device is `auto` and no CPU, a short pass shows whether it can run this model; else the CPU does, in the
    precision that `precision` gives there.

    Args:
        optimise: passes on a CPU in float32 run with the settings of `schedopt.separators.demucs.faster`.
        adopt: take the model itself (moved to the device, in eval mode, frozen) instead of a copy.

    Raises:
        SeparatorError: an argument that cannot be used.
    """
    chosen_device = resolve_device(device)
    resolve_precision(precision, chosen_device)
    model = model if adopt else copy.deepcopy(model)
    model.eval().requires_grad_(False)
    batch = batch_for(chosen_device) if batch_segments is None else batch_segments
    if batch < 1:
        raise SeparatorError(f"batch_segments {batch} is not at least 1")
    weights = weights_fingerprint(bag_of(model, name))
    if device == "auto" and chosen_device.type != "cpu":
        # A copy, so that the model is still there where the device lost it.
        made = _on(chosen_device, copy.deepcopy(model), weights, name, precision, overlap, segment, batch, optimise)
        reason = _fault(made)
        if reason is None:
            return made
        log.warning("%s does not run on %s and runs on the CPU instead: %s", name, chosen_device.type, reason)
        chosen_device, batch = CPU, batch_segments or batch_for(CPU)
    return _on(chosen_device, model, weights, name, precision, overlap, segment, batch, optimise)


def _on(
    device: torch.device,
    model: nn.Module,
    fingerprint: str,
    name: str,
    precision: str,
    overlap: float,
    segment: float | None,
    batch: int,
    optimise: bool,
) -> Separator:
    """The separator of `model` on one device; the model is moved there."""
    if device.type == "cpu":
        keep_freed_memory()
    bag = bag_of(model, name)
    model.to(device)
    resolved = resolve_precision(precision, device)
    optimised = _optimised(bag.models) if optimise and (device.type, resolved) == ("cpu", "float32") else ()
    members = tuple(
        Member(_network(one), weights, cut_for(one, overlap, segment))
        for one, weights in zip(bag.models, bag.weights, strict=True)
    )
    return Separator(
        name=name,
        stems=bag.stems,
        sample_rate=bag.sample_rate,
        channels=bag.channels,
        fingerprint=short_hash([fingerprint, segment and float(segment), overlap]),
        weights=fingerprint,
        device=device,
        precision=resolved,
        members=members,
        parts=tuple((index,) for index in range(len(bag.stems))),
        batch=Batch(batch),
        optimised=optimised,
        model=model,
    )


def _network(model: Model) -> Any:
    partial = functools.cache(lambda stems: narrowed(model, stems))

    def network(inputs: Tensor, stems: Sequence[int]) -> Tensor:
        some, places = partial(tuple(stems))
        estimates: Tensor = some(inputs)
        return estimates[:, places]

    return network


def _optimised(models: Sequence[Model]) -> tuple[str, ...]:
    """Settings of all models of a bag, each once, applied to those that they suit."""
    chosen = {}
    for model in dict.fromkeys(models):
        chosen[model] = faster.choose(model)
    for model, settings in chosen.items():
        faster.apply(model, settings)
    return tuple(dict.fromkeys(setting for settings in chosen.values() for setting in settings))


def _fault(separator: Separator) -> str | None:
    """Why a short pass does not work on this device (an operation that it lacks, too little memory), or None."""
    noise = torch.randn(1, separator.channels, separator.sample_rate // 10, generator=torch.Generator().manual_seed(0))
    try:
        return None if bool(separator(noise).isfinite().all()) else "its estimates are not finite"
    except (RuntimeError, TypeError, SeparatorError) as error:
        return str(error).partition("\n")[0]


def cut_for(model: Model, overlap: float, segment: float | None) -> Cut:
    """The cut of `model` with segments of `segment` seconds (the model's own length where None, uncut where inf).

    Raises:
        SeparatorError: an overlap outside [0, 1), a segment that is not positive, too short for its overlap, or longer
            than a transformer was trained with.
    """
    if not 0 <= overlap < 1:
        raise SeparatorError(f"overlap {overlap:g} is not in [0, 1)")
    trained = _trained_length(model)
    if segment == math.inf and trained is None:
        return Cut(None, 0, lambda count: _padded(model, count))
    seconds = model.segment if segment is None else segment
    if not seconds > 0:
        raise SeparatorError(f"segment {float(seconds):g} is not a number of seconds above 0")
    if segment == math.inf:
        raise SeparatorError(_too_long(model, "a whole song as one segment"))
    try:
        length = int(model.samplerate * seconds)
    except OverflowError:
        raise SeparatorError(f"segment {float(seconds):g} is not a usable number of seconds") from None
    stride = int((1 - overlap) * length)
    if stride < 1:
        raise SeparatorError(f"a segment of {float(seconds):g} s with overlap {overlap:g} moves by less than a sample")
    if trained is not None and length > trained:
        raise SeparatorError(_too_long(model, f"a segment of {float(seconds):g} s"))
    fixed = length if isinstance(model, HTDEMUCS) and segment is not None else None
    return Cut(length, stride, lambda count: fixed or _padded(model, count))


def _too_long(model: Model, what: str) -> str:
    return f"{what} is longer than the model was trained with ({float(model.segment):g} s)"


def _padded(model: Model, length: int) -> int:
    """The length that the network wants a segment of `length` samples to be padded to."""
    if hasattr(model, "valid_length"):
        return int(model.valid_length(length))
    if isinstance(model, HDEMUCS) and not model.hybrid:
        # apply_model fails here: torch.stft mirrors half a window at each end, so it needs more than that.
        return max(length, int(model.nfft) // 2 + 1)
    return length


def _trained_length(model: Model) -> int | None:
    if isinstance(model, HTDEMUCS) and model.use_train_segment:
        return int(model.segment * model.samplerate)
    return None

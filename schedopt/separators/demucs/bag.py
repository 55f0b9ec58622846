"""One or several demucs models whose estimates are averaged, with a weight per model and stem."""

from __future__ import annotations

import hashlib
import inspect
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from demucs.apply import BagOfModels
from demucs.demucs import Demucs
from demucs.hdemucs import HDemucs
from demucs.htdemucs import HTDemucs
from torch import nn

from schedopt.errors import SeparatorError

DEMUCS: Any = Demucs
HDEMUCS: Any = HDemucs
HTDEMUCS: Any = HTDemucs
BAG: Any = BagOfModels
"""Demucs' classes, typed so that isinstance does not narrow to plain modules."""

Model: TypeAlias = Any  # an instance of one of them: they are modules without usable type hints


@dataclass(frozen=True, eq=False)
class Bag:
    """Models with their weights: (models, stems); all models agree on stems, sample rate and channels."""

    models: tuple[Model, ...]
    weights: tuple[tuple[float, ...], ...]

    @property
    def stems(self) -> tuple[str, ...]:
        return tuple(str(stem) for stem in self.models[0].sources)

    @property
    def sample_rate(self) -> int:
        return int(self.models[0].samplerate)

    @property
    def channels(self) -> int:
        return int(self.models[0].audio_channels)


def bag_of(model: Model, source: str) -> Bag:
    """A demucs model, or demucs' own bag of them, as a `Bag`; `source` names it in messages.

    Raises:
        SeparatorError: another class, or weights that leave a stem without a model.
    """
    if not isinstance(model, BAG):
        models, weights = [model], [[1.0] * len(getattr(model, "sources", ()))]
    else:
        models, weights = list(model.models), model.weights
    for one in models:
        if type(one) not in (DEMUCS, HDEMUCS, HTDEMUCS):
            raise SeparatorError(f"{source}: {type(one).__name__} is not one of demucs' model classes")
    bag = Bag(tuple(models), tuple(tuple(float(weight) for weight in row) for row in weights))
    _check_weights(bag, source)
    return bag


def make_bag(models: Sequence[Model], weights: Any, segment: Any, source: str) -> nn.Module:
    """demucs' bag from models and what its YAML file says; `source` names that file in messages.

    Raises:
        SeparatorError: models that differ in stems, sample rate or channels; weights or segment that make no sense.
    """
    words = {(tuple(m.sources), m.samplerate, m.audio_channels) for m in models}
    if len(words) != 1:
        raise SeparatorError(f"{source}: its models differ in stems, sample rate or channels")
    if segment is not None and not (_is_number(segment) and 0 < segment <= 3600):
        raise SeparatorError(f"{source}: segment {segment!r} is not a number of seconds above 0")
    if weights is not None:
        stems = len(models[0].sources)
        rows = weights if isinstance(weights, list) and len(weights) == len(models) else [None]
        if not all(isinstance(row, list) and len(row) == stems and all(map(_is_weight, row)) for row in rows):
            raise SeparatorError(f"{source}: weights are not {len(models)} rows of {stems} numbers from 0 on")
    bag: nn.Module = BAG(list(models), weights, segment)
    return bag


def weights_fingerprint(bag: Bag) -> str:
    """16 hex digits over the networks alone: classes, arguments, weights of each and in the bag; reads them once."""
    digest = hashlib.sha256(json.dumps(bag.weights).encode())
    for model in bag.models:
        digest.update(json.dumps(constructor(model), sort_keys=True, default=str).encode())
        for name, tensor in model.state_dict().items():
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            digest.update(_bytes(tensor))
    return digest.hexdigest()[:16]


def constructor(model: Model) -> list[Any]:
    """Class and arguments, defaults included, so that spelling a default out changes nothing."""
    args, kwargs = model._init_args_kwargs
    bound = inspect.signature(type(model)).bind(*args, **kwargs)
    bound.apply_defaults()
    return [type(model).__name__, bound.arguments, str(model.segment)]


def _bytes(tensor: torch.Tensor) -> bytes:
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    return flat.view(torch.uint8).numpy().tobytes()


def _check_weights(bag: Bag, source: str) -> None:
    for stem, column in zip(bag.stems, zip(*bag.weights, strict=True), strict=True):
        if not sum(column) > 0:
            raise SeparatorError(f"{source}: no model of the bag has a weight for {stem}")


def _is_weight(value: Any) -> bool:
    return _is_number(value) and value >= 0


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)

"""Settings that may make passes on a CPU cheaper, with the same estimates to within float32's rounding.

- `channels_last`: the weights of two-dimensional convolutions lie with their channels last, and so do the activations.
- `plain_attention`: self-attention by `scaled_dot_product_attention` instead of PyTorch's fast path for inference,
  whose products of batches are slow on some processors.

What pays depends on processor, PyTorch and architecture, so that a few short passes choose, once on each machine; the
choice is kept in the cache folder. All of it is done to the model's own layers: no setting of the process changes.
"""

from __future__ import annotations

import contextlib
import copy
import json
import logging
import platform
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from schedopt.disk import default_folder
from schedopt.errors import StudyError
from schedopt.files.writing import json_text, write_text
from schedopt.separators.demucs.bag import DEMUCS, Model, constructor
from schedopt.separators.separator import short_hash

log = logging.getLogger("schedopt")

SMALLEST = 1_000_000
"""Weights of a model for which it is worthwhile to measure; passes of smaller ones cost little in any case."""

SECONDS = 5.8
"""Audio of a measured pass, at most: a study's excerpt with its shift. What attention costs grows with its square."""

ROUNDS = 3
MOST_ROUNDS = 15
SPENT = 3.0
"""Passes of each setting, one after the other in turn, of which the fastest counts: `ROUNDS`, and up to `MOST_ROUNDS`
as long as all of them took less than `SPENT` seconds. Other processes on the machine disturb a few quick ones."""

WORTH = 0.98
"""A setting is taken where a pass takes less than this part of the plain pass's time."""


def choose(model: Model) -> tuple[str, ...]:
    """The settings that make passes of `model` cheaper on this machine's CPU; measures them where they are not known.

    Costs nothing where the choice is in the cache folder, else nine passes over `SECONDS` of audio, or a few seconds.
    """
    if isinstance(model, DEMUCS) or sum(weight.numel() for weight in model.parameters()) < SMALLEST:
        return ()
    path = default_folder() / "settings" / f"{short_hash([constructor(model), _machine()])}.json"
    kept = _read(path)
    if kept is not None:
        return kept
    chosen = _measured(model)
    log.debug("%s: passes on this CPU take %s", type(model).__name__, ", ".join(chosen) or "no special setting")
    with contextlib.suppress(StudyError):  # it is measured again next time
        write_text(path, json_text(list(chosen)))
    return chosen


def apply(model: Model, settings: Sequence[str]) -> None:
    """Change the layers of `model` so that its passes run with `settings`."""
    for setting in settings:
        SETTINGS[setting](model)


def _channels_last(model: Model) -> None:
    model.to(memory_format=torch.channels_last)


def _plain_attention(model: Model) -> None:
    for module in model.modules():
        if isinstance(module, nn.MultiheadAttention):
            module.register_forward_pre_hook(_as_of_another)


def _as_of_another(module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Keys and values as another tensor of the same content: the fast path takes one tensor in all three places."""
    query, key, value, *rest = inputs
    if query is not key or key is not value:
        return inputs
    other = key.view_as(key)
    return (query, other, other, *rest)


SETTINGS: dict[str, Callable[[Any], None]] = {"channels_last": _channels_last, "plain_attention": _plain_attention}


def _measured(model: Model) -> tuple[str, ...]:
    """Settings that take less time than the plain pass, each on its own."""
    alternatives = {"": model}
    for name in SETTINGS:
        if name != "plain_attention" or any(isinstance(module, nn.MultiheadAttention) for module in model.modules()):
            alternatives[name] = copy.deepcopy(model)
            apply(alternatives[name], [name])
    samples = int(model.samplerate * min(SECONDS, float(model.segment)))
    noise = torch.randn(1, model.audio_channels, samples, generator=torch.Generator().manual_seed(0))
    seconds = dict.fromkeys(alternatives, float("inf"))
    spent = 0.0
    for number in range(MOST_ROUNDS):
        if number >= ROUNDS and spent >= SPENT:
            break
        for name, alternative in alternatives.items():
            taken = _seconds(alternative, noise)
            seconds[name], spent = min(seconds[name], taken), spent + taken
    return tuple(name for name in SETTINGS if seconds.get(name, float("inf")) < WORTH * seconds[""])


def _seconds(model: Model, noise: Tensor) -> float:
    """CPU time of a pass, which other processes disturb less than the time on the clock."""
    padded = getattr(model, "use_train_segment", None)
    try:
        if padded:
            model.use_train_segment = False  # as short as the noise
        with torch.inference_mode():
            began = time.process_time()
            model(noise)
            return time.process_time() - began
    finally:
        if padded:
            model.use_train_segment = padded


def _machine() -> list[Any]:
    """What a choice depends on beside the model."""
    return [
        torch.__version__,
        torch.get_num_threads(),
        platform.machine(),
        torch.backends.cpu.get_cpu_capability(),
        _processor(),
    ]


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(errors="replace").splitlines()
    except OSError:
        return platform.processor()
    return " ".join(next(([line] for line in lines if line.startswith("model name")), [platform.processor()]))


def _read(path: Path) -> tuple[str, ...] | None:
    """The choice that is kept there; None where there is none, or something else."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    known = isinstance(content, list) and all(name in list(SETTINGS) for name in content)
    return tuple(content) if known else None

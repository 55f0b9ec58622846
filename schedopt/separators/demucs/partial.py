"""Only the stems that are asked for go through a model's last layers; the earlier ones serve all stems alike."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import nn

from schedopt.separators.demucs.bag import DEMUCS, Model

TRANSPOSED: Any = (nn.ConvTranspose1d, nn.ConvTranspose2d)


def narrowed(model: Model, stems: Sequence[int]) -> tuple[Model, list[int]]:
    """A model that estimates `stems`, and where they are among its estimates.

    It shares all weights with `model` but those of the last transposed convolutions, of which it has the output
    channels of `stems`: their estimates are those of `model`, for less. `model` itself is returned for all stems, and
    where a later step mixes them (Wiener filters, a norm behind the last convolution).
    """
    if list(stems) == list(range(len(model.sources))) or not _independent(model):
        return model, list(stems)
    shared = {id(tensor): tensor for tensor in (*model.parameters(), *model.buffers())}
    partial = copy.deepcopy(model, shared)
    for layer in _last_layers(partial):
        for convolution in (module for module in layer.modules() if isinstance(module, TRANSPOSED)):
            _keep_stems(convolution, stems, len(model.sources))
    partial.sources = [model.sources[stem] for stem in stems]
    return partial, list(range(len(stems)))


def _last_layers(model: Model) -> Iterator[nn.Module]:
    for branch in ("decoder", "tdecoder"):
        if hasattr(model, branch):
            yield getattr(model, branch)[-1]


def _independent(model: Model) -> bool:
    """Whether nothing behind the last convolutions mixes stems."""
    if isinstance(model, DEMUCS):
        return True
    norms = [module.norm2 for layer in _last_layers(model) for module in layer.modules() if hasattr(module, "norm2")]
    return (model.cac or model.wiener_iters < 0) and all(isinstance(norm, nn.Identity) for norm in norms)


def _keep_stems(convolution: Any, stems: Sequence[int], of: int) -> None:
    """Of a transposed convolution whose output channels are those of one stem after the other, keep those of some."""
    channels = torch.arange(convolution.out_channels).view(of, -1)[list(stems)].flatten()
    channels = channels.to(convolution.weight.device)
    weight = convolution.weight.index_select(1, channels)
    convolution.weight = nn.Parameter(weight, requires_grad=False)
    convolution.bias = nn.Parameter(convolution.bias.index_select(0, channels), requires_grad=False)
    convolution.out_channels = len(channels)

"""The models and the music that benchmarks run on, and what the machine could do at best."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from demucs.apply import Model, apply_model
from demucs.htdemucs import HTDemucs
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from benchmarks._harness import seconds_of
from schedopt.data import cut_excerpts, load_tracks
from schedopt.types import STEMS, Excerpt


def htdemucs_sized() -> HTDemucs:
    """htdemucs' architecture (41.5 M parameters) with random weights: the time is the same, the music is not."""
    torch.manual_seed(0)
    model: HTDemucs = HTDemucs(
        list(STEMS), channels=48, growth=2, nfft=4096, t_layers=5, t_heads=8, bottom_channels=512, segment=7.8
    )
    return model.eval()


def demo_model() -> Model:
    from importlib import resources

    from demucs.hf import load_safetensors_model

    path = resources.files("schedopt.demo") / "weights" / "demo.safetensors"
    model: Model = load_safetensors_model(str(path))
    return model.eval()


MODELS = {"demo": demo_model, "htdemucs size": htdemucs_sized}


def excerpts(count: int, seconds: float) -> Sequence[Excerpt]:
    return cut_excerpts(load_tracks("demo", "search", count), seconds)


aten = torch.ops.aten
PLAIN, FUSED = aten._scaled_dot_product_flash_attention_for_cpu, aten._native_multi_head_attention
"""Attention on a CPU; the fused one holds the linear layers before and after it."""

SIZE = 2048
"""Side of the matrices of the plain product."""

CHANNELS, FRAMES = 256, 64
"""Of the plain convolution, of kernels of 3 × 3 over FRAMES × FRAMES."""


def peak_rate(device: torch.device, dtype: torch.dtype) -> float:
    """Operations a second that the machine reaches at most: of a matrix product or of a convolution, the faster one."""
    a, b = (torch.randn(SIZE, SIZE, device=device, dtype=dtype) for _ in range(2))
    image = torch.randn(1, CHANNELS, FRAMES, FRAMES, device=device, dtype=dtype)
    kernels = torch.randn(CHANNELS, CHANNELS, 3, 3, device=device, dtype=dtype)

    def multiply() -> None:
        torch.mm(a, b)
        wait(device)

    def convolve() -> None:
        torch.conv2d(image, kernels, padding=1)
        wait(device)

    rates = []
    for count, work in ((SIZE**3, multiply), (9 * CHANNELS**2 * FRAMES**2, convolve)):
        work()
        rates.append(2 * count / min(seconds_of(work)[0 if device.type == "cpu" else 1] for _ in range(9)))
    return max(rates)


def operations(work: Callable[[], object]) -> dict[str, int]:
    """Multiplications and additions of `work` by kind, counted by torch; not those of the FFTs and of single values.

    Linear layers include those before and after attention. Attention is that of the CPU's operations.
    """
    counts = [_counted(work, self_attention) for self_attention in (_self_attention, _attention)]
    convolutions = counts[0].get(aten.convolution, 0)
    attention = sum(counts[1].get(one, 0) for one in (PLAIN, FUSED))
    linear = sum(counts[0].values()) - convolutions - attention
    return {"convolutions": convolutions, "linear layers": linear, "attention": attention}


def _counted(work: Callable[[], object], self_attention: Callable[..., int]) -> dict[Any, int]:
    """Operation of PyTorch → multiplications and additions, with the CPU's attention, which torch does not count."""
    with FlopCounterMode(display=False, custom_mapping={PLAIN: _attention, FUSED: self_attention}) as counter:
        work()
    return dict(counter.get_flop_counts().get("Global", {}))


def _attention(query: Sequence[int], key: Sequence[int], value: Sequence[int], *_: object, **__: object) -> int:
    """Of shapes (batch, …, tokens, width): the products of queries and keys, and of weights and values."""
    return 2 * math.prod(query[:-1]) * key[-2] * (query[-1] + value[-1])


def _self_attention(query: Sequence[int], key: Sequence[int], value: Sequence[int], *_: object, **__: object) -> int:
    """Four products with square matrices as well."""
    return 8 * math.prod(query) * query[-1] + _attention(query, key, value)


def plain_pass(model: Model, mixture: Tensor) -> Tensor:
    """One pass as `demucs.api.Separator` makes it: (channels, samples) → (stems, channels, samples)."""
    mono = mixture.mean(0)
    mean, std = mono.mean(), mono.std() + 1e-8
    with torch.no_grad():
        out: Tensor = apply_model(model, ((mixture - mean) / std)[None], shifts=0, overlap=0.25)[0]
    return out * std + mean


def wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)

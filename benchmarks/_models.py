"""The models and the music that benchmarks run on, and what the machine could do at best."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from demucs.apply import Model, apply_model
from demucs.htdemucs import HTDemucs
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from benchmarks._harness import best_of
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


SIZE = 2048
"""Side of the matrices of the plain product."""


def product_rate(device: torch.device, dtype: torch.dtype) -> float:
    """Operations a second of a square matrix product (2·n³ of them)."""
    a, b = (torch.randn(SIZE, SIZE, device=device, dtype=dtype) for _ in range(2))

    def multiply() -> None:
        torch.mm(a, b)
        wait(device)

    multiply()
    return 2 * SIZE**3 / best_of(5, multiply)


def operations(model: Model, mixture: Tensor) -> int:
    """Multiplications and additions of one pass, counted by torch (convolutions and products, not the FFTs)."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        apply_model(model, mixture[None], shifts=0)
    return int(counter.get_total_flops())


def wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)

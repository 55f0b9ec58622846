"""The models and the music that benchmarks run on, and what the machine could do at best."""

from __future__ import annotations

from collections.abc import Callable, Sequence

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


def operations(work: Callable[[], object]) -> int:
    """Multiplications and additions of `work`, counted by torch (convolutions and products, not the FFTs)."""
    with FlopCounterMode(display=False) as counter:
        work()
    return int(counter.get_total_flops())


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

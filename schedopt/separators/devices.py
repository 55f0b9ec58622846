"""Where and in which number format the networks run."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from pathlib import Path

import torch

from schedopt.errors import SeparatorError

PRECISIONS = ("float32", "tf32", "bfloat16")

BATCH_SEGMENTS = {"cuda": 8, "mps": 2}
"""Segments per forward pass by device; 1 elsewhere: two at once were no faster than one by one on a CPU."""


def resolve_device(device: str) -> torch.device:
    """`auto` (cuda, then mps, then cpu), `cpu`, `cuda`, `cuda:N` or `mps` → a device that is there.

    Raises:
        SeparatorError: an unknown name, or a device that this machine lacks.
    """
    if device == "auto":
        return torch.device(_best())
    try:
        chosen = torch.device(device)
    except RuntimeError:
        chosen = torch.device("meta")
    if chosen.type not in ("cpu", "cuda", "mps"):
        raise SeparatorError(f"device {device!r} is not known: auto, cpu, cuda, cuda:N or mps")
    present = _present(chosen.type)
    if (chosen.index or 0) >= present:
        there = "cpu" if chosen.type != "cuda" or not present else f"cuda:0 to cuda:{present - 1}"
        raise SeparatorError(f"device {device!r} is not there: this machine has {there}; auto takes the best")
    return chosen


def resolve_precision(precision: str, device: torch.device) -> str:
    """`auto` → `bfloat16` where the hardware multiplies in it, else `float32`.

    That is CUDA from Ampere on, and CPUs with AMX or AVX512-BF16.

    Raises:
        SeparatorError: an unknown precision, or one that is not offered on this device: bfloat16 on mps, tf32 but on
            cuda.
    """
    if precision == "auto":
        return "bfloat16" if _multiplies_bfloat16(device) else "float32"
    if precision not in PRECISIONS:
        raise SeparatorError(f"precision {precision!r} is not known: auto, float32, tf32 or bfloat16")
    if precision == "bfloat16" and device.type == "mps":
        raise SeparatorError("precision bfloat16 is for cpu and cuda; mps runs in float32")
    if precision == "tf32" and device.type != "cuda":
        raise SeparatorError(f"precision tf32 is for cuda; {device.type} runs in float32")
    return precision


def batch_for(device: torch.device) -> int:
    """How many segments go through a network at once on this device."""
    return BATCH_SEGMENTS.get(device.type, 1)


@contextlib.contextmanager
def arithmetic(device: torch.device, precision: str) -> Iterator[None]:
    """Runs networks in `precision`: bfloat16 by autocast; float32 without TF32 in cuDNN's convolutions, which is on by
    PyTorch's default; tf32 as that default has it, where convolutions round what they multiply to 10 bits."""
    with contextlib.ExitStack() as stack:
        if precision == "bfloat16":
            stack.enter_context(torch.autocast(device.type, dtype=torch.bfloat16))
        elif device.type == "cuda":
            stack.enter_context(_convolutions(tf32=precision == "tf32"))
        yield


def _convolutions(*, tf32: bool) -> contextlib.AbstractContextManager[None]:
    cudnn = torch.backends.cudnn
    flags: contextlib.AbstractContextManager[None] = cudnn.flags(
        enabled=cudnn.enabled,
        benchmark=cudnn.benchmark,
        deterministic=cudnn.deterministic,
        allow_tf32=tf32,
    )
    return flags


def _best() -> str:
    return next((kind for kind in ("cuda", "mps") if _present(kind)), "cpu")


def _present(kind: str) -> int:
    """Number of devices of this kind."""
    with warnings.catch_warnings():  # an old driver is warned about; here it only means that there is none
        warnings.simplefilter("ignore")
        if kind == "cuda":
            return torch.cuda.device_count() if torch.cuda.is_available() else 0
        if kind == "mps":
            return int(torch.backends.mps.is_available())
    return 1


def _multiplies_bfloat16(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.version.hip is not None or torch.cuda.get_device_capability(device) >= (8, 0)
    return device.type == "cpu" and bool(_cpu_flags() & {"amx_bf16", "avx512_bf16"})


def _cpu_flags() -> set[str]:
    """What Linux says that the first core can do; empty elsewhere."""
    try:
        lines = Path("/proc/cpuinfo").read_text(errors="replace").splitlines()
    except OSError:
        return set()
    return set(next((line for line in lines if line.startswith("flags")), "").split())

"""The bundled separator's model, its weights on disk, and how good it is."""

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from demucs.apply import Model, apply_model
from demucs.hdemucs import HDemucs

from schedopt.demo.synth import SAMPLE_RATE, STEMS, synthesize
from schedopt.separators import save_safetensors

WEIGHTS = Path(__file__).parent / "weights" / "demo.safetensors"
RECORD = WEIGHTS.with_name("training.json")

# 5.6 million parameters, frequency branch only: 8 times faster than HDemucs as published. The segment is the longest
# that is separated at once; at 14 s, with Demucs' overlap of 0.25, an excerpt of 10 s is one segment and not two.
MODEL_CLASS = "demucs.hdemucs.HDemucs"
MODEL_ARGUMENTS: Mapping[str, Any] = {
    "sources": list(STEMS),
    "channels": 16,
    "hybrid": False,
    "dconv_mode": 0,
    "samplerate": SAMPLE_RATE,
    "segment": 14,
}


def build_model() -> HDemucs:
    """The separator with random weights."""
    model: HDemucs = HDemucs(**MODEL_ARGUMENTS)  # demucs is untyped
    return model


def save_weights(model: HDemucs, path: Path) -> str:
    """Write `model` as safetensors that `demucs.hf.load_safetensors_model` reads; returns the file's SHA-256.

    Tensors are stored in half precision, which halves the file and moves the estimates by some 60 dB below them.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    save_safetensors(model, path, half=True)
    return sha256_of(path)


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, as hexadecimal digits."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def separate(model: Model, mixture: torch.Tensor) -> torch.Tensor:
    """Estimates (stems, channels, samples) of a mixture (channels, samples), normalised as `demucs.api` does."""
    mono = mixture.mean(dim=0)
    mean, deviation = mono.mean(), mono.std() + 1e-8
    estimates: torch.Tensor = apply_model(model, ((mixture - mean) / deviation)[None], shifts=0, overlap=0.25)[0]
    return estimates * deviation + mean


def plain_snr(references: torch.Tensor, estimates: torch.Tensor) -> npt.NDArray[np.float64]:
    """10·log10(‖x‖² / ‖x − x̂‖²) in dB over channels and samples, (stems,), of two (stems, channels, samples)."""
    signal = references.double().square().sum(dim=(1, 2))
    error = (references - estimates).double().square().sum(dim=(1, 2))
    return np.asarray(10 * torch.log10(signal / error))


def measure(model: Model, seeds: Iterable[int], seconds: float) -> npt.NDArray[np.float64]:
    """Plain SNR in dB of generated songs of `seconds`, (songs, stems); one pass a song."""
    model.eval()
    rows = []
    for seed in seeds:
        references = torch.from_numpy(synthesize(seed, seconds))
        rows.append(plain_snr(references, separate(model, references.sum(dim=0))))
    return np.stack(rows)

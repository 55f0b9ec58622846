"""A separator for schedopt: Open-Unmix's own classes with random weights."""

from __future__ import annotations

import sys
import types

import torch
from torch import Tensor

try:
    import torchaudio  # noqa: F401
except (ImportError, OSError):  # no build for this torch; Open-Unmix needs it for files only
    sys.modules["torchaudio"] = types.ModuleType("torchaudio")

from openunmix.model import OpenUnmix, Separator

N_FFT = 1024


class RandomOpenUnmix:
    stems = ("vocals", "drums", "bass", "other")
    sample_rate = 44_100
    channels = 2
    device = torch.device("cpu")
    fingerprint = "openunmix 1.3, hidden 8, seed 0"
    segment = 2.0

    def __init__(self) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            models = {stem: OpenUnmix(N_FFT // 2 + 1, hidden_size=8, nb_layers=1) for stem in self.stems}
            self.separator = Separator(models, niter=0, n_fft=N_FFT, n_hop=N_FFT // 4).eval()

    def __call__(self, mixtures: Tensor) -> Tensor:
        estimates: Tensor = self.separator(mixtures)
        return estimates

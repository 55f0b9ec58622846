"""Demucs behind one small interface: mixtures in, estimates of all stems out."""

from schedopt.separators.demucs.devices import resolve_device, resolve_precision
from schedopt.separators.demucs.load import load_model, load_separator
from schedopt.separators.demucs.separator import Separator
from schedopt.separators.demucs.stream import Level, LevelMeter, Wave
from schedopt.separators.demucs.weights import save_safetensors

__all__ = [
    "Level",
    "LevelMeter",
    "Separator",
    "Wave",
    "load_model",
    "load_separator",
    "resolve_device",
    "resolve_precision",
    "save_safetensors",
]

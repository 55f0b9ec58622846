"""Demucs behind one small interface: mixtures in, estimates of all stems out."""

from schedopt.separator._device import resolve_device, resolve_precision
from schedopt.separator._load import load_model, load_separator
from schedopt.separator._stream import Level, LevelMeter, Wave
from schedopt.separator._weights import save_safetensors
from schedopt.separator.separator import Separator

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

"""Separators: mixtures in, estimates of all stems out. Demucs' models, and those of other packages."""

from schedopt.separators.demucs.load import list_models, load_model
from schedopt.separators.demucs.weights import save_safetensors
from schedopt.separators.devices import resolve_device, resolve_precision
from schedopt.separators.load import as_separator, load_separator
from schedopt.separators.plugins import SEPARATORS, Plugin
from schedopt.separators.separator import Separator

__all__ = [
    "SEPARATORS",
    "Plugin",
    "Separator",
    "as_separator",
    "list_models",
    "load_model",
    "load_separator",
    "resolve_device",
    "resolve_precision",
    "save_safetensors",
]

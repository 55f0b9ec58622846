"""The YAML file that says which models make a bag, checked before anything it names is opened."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml
from torch import nn

from schedopt.errors import SeparatorError
from schedopt.separators.demucs.bag import make_bag

SIGNATURE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
"""What may name a model's file; nothing that leaves its folder."""

LARGEST_FILE = 65_536  # bytes; those in use have 200
LARGEST_BAG = 16  # models


def read_bag(path: Path, load: Callable[[str], nn.Module]) -> nn.Module:
    """The bag that a YAML file describes, its models by `load(signature)`, each once.

    Raises:
        SeparatorError: a file that is missing, broken, or names models by anything but plain names.
    """
    content = _read(path)
    signatures = content.get("models")
    if not isinstance(signatures, list) or not 0 < len(signatures) <= LARGEST_BAG:
        raise SeparatorError(f"{path}: models is not a list of 1 to {LARGEST_BAG} names")
    for signature in signatures:
        if not isinstance(signature, str) or not SIGNATURE.fullmatch(signature):
            raise SeparatorError(f"{path}: model {signature!r} is not a plain name")
    models = {signature: load(signature) for signature in dict.fromkeys(signatures)}
    return make_bag([models[one] for one in signatures], content.get("weights"), content.get("segment"), str(path))


def _read(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > LARGEST_FILE:
            raise SeparatorError(f"{path}: too large for the list of a bag's models")
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise SeparatorError(f"{path}: not a readable YAML file ({reason})") from None
    if not isinstance(content, dict):
        raise SeparatorError(f"{path}: not a YAML file of a bag of models")
    return content

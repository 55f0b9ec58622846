"""The YAML file that says which models make a bag, checked before anything it names is opened."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml
from torch import nn

from schedopt.errors import SeparatorError, reason
from schedopt.files.reading import read_text
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


class _PlainLoader(yaml.SafeLoader):
    """Without aliases: nested ones make gigabytes of a few hundred bytes."""

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("it holds an alias (*name)")
        return super().compose_node(parent, index)


def _read(path: Path) -> dict[str, Any]:
    text = read_text(path, LARGEST_FILE, "list of a bag's models", SeparatorError)
    try:
        content = yaml.load(text, _PlainLoader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # ValueError: a number or date that is none
        raise SeparatorError(f"{path}: not a readable YAML file ({reason(error)})") from None
    if not isinstance(content, dict):
        raise SeparatorError(f"{path}: not a YAML file of a bag of models")
    return content

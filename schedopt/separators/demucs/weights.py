"""One model in one file, in demucs' safetensors format: written, and read without trusting it.

The file's metadata name a class and its arguments in JSON; `demucs.hf` imports and calls whatever stands there.
Here only demucs' own model classes and plain arguments of sane size pass, and nothing is imported or built before.
"""

from __future__ import annotations

import importlib
import inspect
import itertools
import json
import math
import os
import warnings
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import torch
from demucs.states import load_model as build_model
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from schedopt.errors import SeparatorError
from schedopt.separators.demucs.bag import DEMUCS, HDEMUCS, HTDEMUCS, Model

CLASSES = {
    "demucs.demucs.Demucs": DEMUCS,
    "demucs.hdemucs.HDemucs": HDEMUCS,
    "demucs.htdemucs.HTDemucs": HTDEMUCS,
    "demucs.wdemucs.WDemucs": HDEMUCS,  # its name in older files
}
"""Every class that a file's metadata may name."""

QUANTIZERS = ("diffq.diffq.DiffQuantizer", "diffq.uniform.UniformQuantizer")
"""Every class that a quantised state may name."""

LARGEST = {"depth": 16, "dconv_depth": 16, "lstm_layers": 16, "t_layers": 64, "segment": 600, "samplerate": 384_000}
"""Bounds of single arguments; those that make loops or buffers whose size the file's own size does not bound."""

LARGEST_NUMBER = 2**20
LONGEST = 256  # of a list or a string; the longest in use is the list of stems
WEIGHTS_PER_BYTE = 1  # of a file, at most; half precision has half a weight a byte
QUANTISED_PER_BYTE = 32  # 83 million weights took 20 MB; unpacking makes copies
SMALLEST_ALLOWANCE = 2**20
DEEPEST = 100  # levels of nested lists and objects; those in use have 15
LONGEST_REASON = 160  # characters of a message; PyTorch may list every weight


def save_safetensors(model: Model, path: Path | str, *, half: bool = False) -> None:
    """Writes a demucs model as demucs reads it (`hf.load_safetensors_model`); replaces `path` only when complete.

    Args:
        model: `Demucs`, `HDemucs` or `HTDemucs`, on any device.
        path: ends in `.safetensors`.
        half: store float16, half the size; reading gives float32 again.
    """
    name = next((name for name, klass in CLASSES.items() if klass is type(model)), None)
    if name is None:
        raise SeparatorError(f"{type(model).__name__} is not one of demucs' model classes")
    args, kwargs = model._init_args_kwargs
    metadata = {"klass": name, "args": _encode(list(args)), "kwargs": _encode(kwargs)}
    dtype = torch.float16 if half else None
    state = {key: value.detach().to("cpu", dtype).contiguous() for key, value in model.state_dict().items()}
    path = Path(path)
    partial = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        save_file(state, partial, metadata)
        partial.chmod(0o644)  # safetensors writes for the owner alone
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def read_model(path: Path) -> nn.Module:
    """The model of a safetensors file in demucs' format.

    Raises:
        SeparatorError: a file that is missing, broken, not in demucs' format, or asks for what is not allowed.
    """
    metadata, tensors = _read(path)
    klass, args, kwargs = _class_and_arguments(metadata, path)
    state: Any = tensors
    per_byte = WEIGHTS_PER_BYTE
    if "structure" in metadata:
        state = _state(_json(metadata, "structure", path), tensors, path)
        per_byte = QUANTISED_PER_BYTE
    package = {"klass": klass, "args": args, "kwargs": kwargs, "state": state}
    return _build(package, max(SMALLEST_ALLOWANCE, path.stat().st_size * per_byte), path)


def _not_a_file(path: Path) -> str:
    if path.is_symlink() and not path.exists():
        return f"a link to {os.readlink(path)}, which is not there"
    if path.is_dir():
        return "a folder, a safetensors file was expected"
    return "not a regular file" if path.exists() else "no such file"


def _read(path: Path) -> tuple[Mapping[str, str], dict[str, Tensor]]:
    if not path.is_file():
        raise SeparatorError(f"{path}: {_not_a_file(path)}")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            if missing := [key for key in ("klass", "args", "kwargs") if key not in metadata]:
                raise SeparatorError(f"{path}: not in demucs' format, its metadata lack {', '.join(missing)}")
            if metadata["klass"] not in CLASSES:
                allowed = ", ".join(sorted({klass.__name__ for klass in CLASSES.values()}))
                raise SeparatorError(f"{path}: class {metadata['klass']!r} is not one of demucs' models ({allowed})")
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - not a mapping
    except (SafetensorError, OSError, ValueError) as error:
        raise SeparatorError(f"{path}: not a readable safetensors file ({_line(error)})") from None
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise SeparatorError(f"{path}: weights {name} hold NaN or infinity")
    return metadata, tensors


def _class_and_arguments(metadata: Mapping[str, str], path: Path) -> tuple[type[nn.Module], list[Any], dict[str, Any]]:
    klass = CLASSES[metadata["klass"]]
    args, kwargs = _json(metadata, "args", path), _json(metadata, "kwargs", path)
    if not isinstance(args, list) or not isinstance(kwargs, dict):
        raise SeparatorError(f"{path}: args and kwargs of its metadata are not a JSON list and object")
    parameters = list(inspect.signature(klass).parameters)
    values = [_plain(value, "args", path) for value in args]
    named = {key: _plain(value, key, path) for key, value in kwargs.items()}
    for key, value in (*zip(parameters, values, strict=False), *named.items()):
        if key in LARGEST and not (isinstance(value, (int, float, Fraction)) and 0 <= value <= LARGEST[key]):
            raise SeparatorError(f"{path}: {key} = {_short(value)} is not a number from 0 to {LARGEST[key]}")
    return klass, values, named


def _plain(value: Any, key: str, path: Path) -> Any:
    """A constructor argument, decoded: numbers, strings, fractions and lists of them, all of sane size."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, (int, float)) and math.isfinite(value) and abs(value) <= LARGEST_NUMBER:
        return value
    if isinstance(value, str) and len(value) <= LONGEST:
        return value
    if isinstance(value, list) and len(value) <= LONGEST:
        return [_plain(item, key, path) for item in value]
    if isinstance(value, dict) and set(value) == {"_type", "numerator", "denominator"}:
        over, under = value["numerator"], value["denominator"]
        if isinstance(over, int) and isinstance(under, int) and under > 0 and abs(over) <= LARGEST_NUMBER * under:
            return Fraction(over, under)
    raise SeparatorError(f"{path}: {key} = {_short(value)} is not a plain value of sane size")


def _state(node: Any, tensors: Mapping[str, Tensor], path: Path) -> Any:
    """A nested state (quantised weights) from its JSON structure: one key a node says what the node is."""
    if not isinstance(node, (dict, list)):
        return node
    kind, value = next(iter(node.items())) if isinstance(node, dict) and len(node) == 1 else ("", None)
    if kind == "_tensor" and isinstance(value, str) and value in tensors:
        return tensors[value]
    if kind == "_dict" and isinstance(value, list) and all(isinstance(x, list) and len(x) == 2 for x in value):
        return {str(key): _state(item, tensors, path) for key, item in value}
    if kind in ("_list", "_tuple") and isinstance(value, list):
        items = [_state(item, tensors, path) for item in value]
        return items if kind == "_list" else tuple(items)
    if kind == "_class":
        return _quantizer(value, path)
    raise SeparatorError(f"{path}: its structure holds {_short(node)}, which demucs' format does not know")


def _quantizer(name: Any, path: Path) -> Any:
    if name not in QUANTIZERS:
        raise SeparatorError(f"{path}: class {name!r} is not one of demucs' quantizers ({', '.join(QUANTIZERS)})")
    try:
        diffq = importlib.import_module("diffq")
    except ImportError:
        raise SeparatorError(f"{path}: quantised weights need the package diffq: pip install diffq") from None
    return getattr(diffq, str(name).rsplit(".", 1)[1])


def _build(package: dict[str, Any], allowance: int, path: Path) -> nn.Module:
    name = package["klass"].__name__
    try:
        with warnings.catch_warnings(), torch.random.fork_rng(devices=[]), _Allowance(allowance):
            warnings.simplefilter("ignore")  # demucs says which arguments of older versions it drops
            model: nn.Module = build_model(package)  # type: ignore[no-untyped-call]
    except Exception as error:  # whatever arguments and tensors that do not belong together bring about
        raise SeparatorError(f"{path}: {name} and the file's weights do not fit ({_misfit(error)})") from None
    return model


def _misfit(error: BaseException) -> str:
    """The first reason in what PyTorch says, which begins with a headline and may list every weight."""
    lines = [" ".join(line.split()) for line in str(error).splitlines()]
    first = next((line for line in lines if line and not line.startswith("Error(s) in loading")), "")
    first = first.rstrip(".") or type(error).__name__
    return first if len(first) <= LONGEST_REASON else f"{first[:LONGEST_REASON].rpartition(' ')[0]} …"


class _Allowance(TorchFunctionMode):
    """Stops a model's constructor before it allocates more weights than its file can hold."""

    def __init__(self, numbers: int) -> None:
        super().__init__()
        self.left = numbers

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in (torch.empty, torch.zeros):
            sizes = args[0] if len(args) == 1 and not isinstance(args[0], int) else args
            self.left -= math.prod(sizes)
            if self.left < 0:
                raise ValueError("its arguments ask for a larger model than the file holds")
        return func(*args, **(kwargs or {}))


def _json(metadata: Mapping[str, str], key: str, path: Path) -> Any:
    steps = (1 if c in "[{" else -1 if c in "]}" else 0 for c in metadata[key])
    if max(itertools.accumulate(steps), default=0) > DEEPEST:
        raise SeparatorError(f"{path}: {key} of its metadata is nested deeper than {DEEPEST} levels")
    try:
        return json.loads(metadata[key])
    except (ValueError, RecursionError) as error:
        raise SeparatorError(f"{path}: {key} of its metadata is not JSON ({_line(error)})") from None


def _encode(value: Any) -> str:
    return json.dumps(value, default=_encode_fraction)


def _encode_fraction(value: Any) -> Any:
    if isinstance(value, Fraction):
        return {"_type": "fraction", "numerator": value.numerator, "denominator": value.denominator}
    raise SeparatorError(f"{value!r} is not a plain argument that a safetensors file can hold")


def _line(error: BaseException) -> str:
    """The first line of an error's text."""
    return next(iter(str(error).splitlines()), "") or type(error).__name__


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."

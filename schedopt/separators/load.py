"""From what a user calls a model to a separator: demucs' models in all their places, or a plug-in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from schedopt.errors import SeparatorError
from schedopt.separators import plugins
from schedopt.separators.demucs import build as demucs
from schedopt.separators.demucs.load import load_model
from schedopt.separators.devices import resolve_device, resolve_precision
from schedopt.separators.plugins import PREFIX, Plugin
from schedopt.separators.separator import Separator

SAMPLE_RATE = 44_100  # of all audio in schedopt, Hz
CHANNELS = 2


def load_separator(
    model: str,
    *,
    device: str = "auto",
    precision: str = "float32",
    overlap: float = 0.25,
    segment: float | None = None,
    batch_segments: int | None = None,
    stems: Mapping[str, Sequence[str]] | None = None,
    trust_pickle: bool = False,
    cache_dir: Path | str | None = None,
    optimise: bool = False,
) -> Separator:
    """The separator that `model` names, ready to run. No file is trusted: see `schedopt.separators.demucs.weights`.

    Args:
        model: `demo` (bundled); a demucs name (`htdemucs`, `htdemucs_6s`, `hdemucs_mmi`, …); `hf://namespace/name`;
            `FILE.safetensors`; `DIR` with one model or bag, or `DIR/NAME` where there are several; `plugin:NAME`, a
            separator that an installed package offers. A bare name that demucs knows is that model even where a folder
            is called so; `./htdemucs` is the folder.
        device: auto, cpu, cuda, cuda:N or mps. A plug-in says by itself where it computes.
        precision: float32, tf32 (cuda), bfloat16, or auto (bfloat16 where the hardware multiplies in it).
        overlap: of neighbouring segments, as a part of a segment; from 0 to below 1.
        segment: seconds; the model's own where None; `math.inf`: audio is not cut, which a transformer does not allow.
        batch_segments: the most segments that go through a network at once; by device where None (1 on a CPU).
        stems: stems that are sums of the model's own, see `Separator.with_stems`.
        trust_pickle: allow `.th` files in a folder, whose loading runs code that is in them.
        cache_dir: Hugging Face cache folder; the library's own where None.
        optimise: on a CPU in float32, measure once which settings make passes of this model cheaper on this machine,
            and use them; estimates stay the same to within rounding (`schedopt.separators.demucs.faster`).

    Raises:
        SeparatorError: one line on what is missing, broken or not allowed.

    >>> import schedopt
    >>> schedopt.load_separator("demo", device="cpu").stems
    ('drums', 'bass', 'other', 'vocals')
    """
    resolve_precision(precision, resolve_device(device))  # before anything is fetched
    if model.startswith(PREFIX):
        separator = plugins.load_plugin(model.removeprefix(PREFIX), overlap=overlap, segment=segment)
    else:
        separator = demucs.build(
            load_model(model, trust_pickle=trust_pickle, cache_dir=cache_dir),
            name=model,
            device=device,
            precision=precision,
            overlap=overlap,
            segment=segment,
            batch_segments=batch_segments,
            optimise=optimise,
            adopt=True,
        )
    if (separator.sample_rate, separator.channels) != (SAMPLE_RATE, CHANNELS):
        raise SeparatorError(
            f"{separator.name}: works on {separator.channels} channels at {separator.sample_rate} Hz;"
            f" schedopt's audio has {CHANNELS} at {SAMPLE_RATE} Hz"
        )
    return separator.with_stems(stems) if stems else separator


def from_model(model: Any, **options: Any) -> Separator:
    """See `Separator.from_model`."""
    if not isinstance(model, nn.Module) or (isinstance(model, Plugin) and not hasattr(model, "sources")):
        return plugins.build(model, **options)
    return demucs.build(model, **options)


def as_separator(separator: Separator | Plugin) -> Separator:
    """`separator` itself, or the separator that a `Plugin` makes."""
    return separator if isinstance(separator, Separator) else plugins.build(separator)

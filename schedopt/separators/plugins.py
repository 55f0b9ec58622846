"""Separators of other packages: what they have to offer, and how one becomes a `Separator`.

A package offers one under the entry-point group `schedopt.separators`: a callable without arguments that returns a
`Plugin`. `model = "plugin:NAME"` names it in study files and `-n plugin:NAME` on the command line; a program passes the
object itself to `Evaluator`, or registers it:

    SEPARATORS.register("mine", MySeparator)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from schedopt.errors import SeparatorError
from schedopt.registry import Registry
from schedopt.separators.overlap_add import Batch, Cut
from schedopt.separators.separator import Member, Separator, short_hash

PREFIX = "plugin:"
ATTRIBUTES = ("stems", "sample_rate", "channels", "device", "fingerprint")


@runtime_checkable
class Plugin(Protocol):
    """A separator of any kind. One call costs one pass per mixture.

    Attributes:
        stems: what it separates, in the order of its estimates.
        sample_rate: Hz.
        channels: of mixtures and estimates.
        device: where it computes; mixtures arrive there.
        fingerprint: any text that changes with the weights and with anything else that changes an estimate.

    An attribute `segment` (seconds), where there is one, has long mixtures cut into overlapping segments of that length
    for bounded memory; without it a mixture arrives whole. The mixture is not normalised.
    """

    @property
    def stems(self) -> Sequence[str]: ...

    @property
    def sample_rate(self) -> int: ...

    @property
    def channels(self) -> int: ...

    @property
    def device(self) -> torch.device: ...

    @property
    def fingerprint(self) -> str: ...

    def __call__(self, mixtures: Tensor) -> Tensor:
        """(batch, channels, samples) float32 → (batch, stems, channels, samples), finite."""
        ...


SEPARATORS: Registry[Callable[[], Plugin]] = Registry("separator", "schedopt.separators", SeparatorError, {})


def load_plugin(name: str, *, overlap: float = 0.25, segment: float | None = None) -> Separator:
    """The separator that a package offers, or a program registered, as `name`.

    Raises:
        SeparatorError: there is none, or it does not follow `Plugin`.
    """
    make = SEPARATORS.find(name)
    try:
        plugin = make()
    except SeparatorError:
        raise
    except Exception as error:  # whatever foreign code raises
        reason = " ".join(str(error).split()) or type(error).__name__
        raise SeparatorError(f"{PREFIX}{name}: cannot be made: {reason}") from error
    return build(plugin, name=PREFIX + name, overlap=overlap, segment=segment)


def build(
    plugin: Plugin,
    *,
    name: str = "plugin",
    overlap: float = 0.25,
    segment: float | None = None,
    batch_segments: int | None = None,
) -> Separator:
    """`plugin` as a separator; `segment` in seconds replaces its own (inf: none).

    Raises:
        SeparatorError: it does not follow `Plugin`.
    """
    missing = [key for key in ATTRIBUTES if not hasattr(plugin, key)]
    if missing or not callable(plugin):
        raise SeparatorError(
            f"{name}: a separator needs {', '.join(missing) or '__call__'}; see schedopt.separators.Plugin"
        )
    stems = tuple(str(stem) for stem in plugin.stems)
    seconds = None if segment == math.inf else segment or getattr(plugin, "segment", None)
    length = int(seconds * plugin.sample_rate) if seconds else None
    if length is not None and int((1 - overlap) * length) < 1:
        raise SeparatorError(f"{name}: a segment of {seconds:g} s with overlap {overlap:g} moves by less than a sample")

    def network(inputs: Tensor, chosen: Sequence[int]) -> Tensor:
        estimates = plugin(inputs)
        wanted = (len(inputs), len(stems), *inputs.shape[1:])
        if tuple(estimates.shape) != wanted:
            raise SeparatorError(f"{name}: gives estimates of shape {tuple(estimates.shape)}; {wanted} was expected")
        return estimates[:, list(chosen)]

    weights = short_hash(["plugin", str(plugin.fingerprint)])
    cut = Cut(length, max(1, int((1 - overlap) * length)) if length else 0)
    return Separator(
        name=name,
        stems=stems,
        sample_rate=int(plugin.sample_rate),
        channels=int(plugin.channels),
        fingerprint=short_hash([weights, length, overlap, stems]),
        weights=weights,
        device=torch.device(plugin.device),
        precision="float32",
        members=(Member(network, (1.0,) * len(stems), cut),),
        parts=tuple((index,) for index in range(len(stems))),
        batch=Batch(batch_segments or 1),
        normalises=False,
        model=plugin,
    )

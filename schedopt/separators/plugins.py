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

from schedopt.errors import SchedoptError, SeparatorError, reason
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
        raise SeparatorError(f"{PREFIX}{name}: cannot be made: {reason(error)}") from error
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
    if not stems or len(set(stems)) < len(stems):
        raise SeparatorError(f"{name}: its stems are {', '.join(stems) or 'none'}; each is named once")
    try:
        device, sample_rate, channels = torch.device(plugin.device), int(plugin.sample_rate), int(plugin.channels)
    except (RuntimeError, TypeError, ValueError) as error:
        raise SeparatorError(f"{name}: device, sample_rate or channels: {reason(error)}") from None
    seconds = None if segment == math.inf else segment or getattr(plugin, "segment", None)
    if seconds is not None and not (isinstance(seconds, (int, float)) and 0 < seconds < math.inf):
        raise SeparatorError(f"{name}: segment is {seconds!r}; it is seconds above 0, or None")
    length = int(seconds * sample_rate) if seconds else None
    if length is not None and int((1 - overlap) * length) < 1:
        raise SeparatorError(f"{name}: a segment of {seconds:g} s with overlap {overlap:g} moves by less than a sample")

    def network(inputs: Tensor, chosen: Sequence[int]) -> Tensor:
        estimates = _called(plugin, name, inputs)
        wanted = (len(inputs), len(stems), *inputs.shape[1:])
        if tuple(estimates.shape) != wanted:
            raise SeparatorError(f"{name}: gives estimates of shape {tuple(estimates.shape)}; {wanted} was expected")
        if not bool(torch.isfinite(estimates).all()):
            raise SeparatorError(f"{name}: gives estimates that are not finite")
        return estimates[:, list(chosen)]

    weights = short_hash(["plugin", str(plugin.fingerprint)])
    cut = Cut(length, max(1, int((1 - overlap) * length)) if length else 0)
    return Separator(
        name=name,
        stems=stems,
        sample_rate=sample_rate,
        channels=channels,
        fingerprint=short_hash([weights, length, overlap, stems]),
        weights=weights,
        device=device,
        precision="float32",
        members=(Member(network, (1.0,) * len(stems), cut),),
        parts=tuple((index,) for index in range(len(stems))),
        batch=Batch(batch_segments or 1),
        normalises=False,
        model=plugin,
    )


def _called(plugin: Plugin, name: str, inputs: Tensor) -> Tensor:
    try:
        estimates = plugin(inputs)
    except (SchedoptError, RuntimeError, MemoryError):
        raise  # PyTorch's: memory that does not suffice is one, after which a smaller batch is tried
    except Exception as error:  # whatever foreign code raises
        raise SeparatorError(f"{name}: {type(error).__name__}: {reason(error)}") from error
    if not isinstance(estimates, Tensor) or not estimates.is_floating_point():
        what = estimates.dtype if isinstance(estimates, Tensor) else type(estimates).__name__
        raise SeparatorError(f"{name}: gives {what}; a tensor of floating-point numbers was expected")
    return estimates

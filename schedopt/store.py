"""A separator that remembers its passes by what went into them.

The key of a pass is the separator (its fingerprint, device kind, precision, settings, the code and versions that run
it), the stems, the shift and a hash of the input's samples; its value are the estimates. So every equal input is
shared, whatever rule, target, output, family or study led to it, and changed code or a changed formula never meets an
old estimate.
"""

from __future__ import annotations

import functools
import hashlib
import struct
from collections import OrderedDict
from collections.abc import Hashable, Iterable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

import torch
import xxhash
from torch import Tensor

from schedopt.arrays import BLOCK, CPU
from schedopt.disk import DiskStore
from schedopt.separators import Separator

DEFAULT_BUDGET = 2 * 2**30
"""Bytes of estimates kept in memory by one process."""

GPU_SHARE = 0.25
"""Part of a GPU's free memory that estimates may take: the rest is for the passes."""

LASTING_STEPS = 2
"""Passes of steps up to this one go to disk too, where there is a disk store: longer prefixes are hardly met again."""


class Store:
    """Estimates by key, at most `budget` bytes in memory: those unused for longest go first.

    `scores` holds the single numbers that came of them; they are tiny and kept for good. `mixtures` holds what somebody
    else keeps alive anyway, so that evaluators of several targets keep it once. `disk` keeps lasting values for other
    processes and later runs.
    """

    def __init__(self, budget: int = DEFAULT_BUDGET, disk: DiskStore | None = None) -> None:
        self.budget = budget
        self.disk = disk
        self.nbytes = 0
        self.scores: dict[Hashable, float] = {}
        self.mixtures: WeakValueDictionary[Hashable, Tensor] = WeakValueDictionary()
        self._values: OrderedDict[Hashable, Tensor] = OrderedDict()

    def __len__(self) -> int:
        return len(self._values)

    def __contains__(self, key: Hashable) -> bool:
        return key in self._values

    def get(self, key: Hashable, device: torch.device = CPU, *, lasting: bool = False) -> Tensor | None:
        """The estimates kept under `key`, or None; used now. `lasting` ones are looked for on disk too."""
        if key in self._values:
            self._values.move_to_end(key)
            return self._values[key]
        found = self.disk.get(key) if lasting and self.disk is not None else None
        if found is not None:
            found = torch.from_numpy(found).to(device)
            self._remember(key, found)
        return found

    def put(self, key: Hashable, value: Tensor, *, lasting: bool = False) -> None:
        """Keep `value` under `key`; a value larger than the budget is not kept in memory."""
        if value.untyped_storage().nbytes() > value.nbytes:
            value = value.clone()  # a view of a batch would keep all of it
        self._remember(key, value)
        if lasting and self.disk is not None:
            self.disk.put(key, value.cpu().numpy(), value.nbytes)  # pickled in a quarter of a tensor's time

    def _remember(self, key: Hashable, value: Tensor) -> None:
        self._drop(key)
        budget = _within(value.device, self.budget)
        if value.nbytes > budget:
            return
        self._values[key] = value
        self.nbytes += value.nbytes
        while self.nbytes > budget:
            self._drop(next(iter(self._values)))

    def _drop(self, key: Hashable) -> None:
        if key in self._values:
            self.nbytes -= self._values.pop(key).nbytes


@functools.cache
def _within(device: torch.device, budget: int) -> int:
    """`budget`, or a share of what was free on the GPU when it was first asked for."""
    if device.type != "cuda":
        return budget
    free, _ = torch.cuda.mem_get_info(device)
    return min(budget, int(GPU_SHARE * free))


class Memoised:
    """`separator` with its passes in `store`: what `schedopt.trajectory` runs.

    Args:
        mixtures: inputs that other targets will ask for too; passes over them estimate the stems `shared`.

    Attributes:
        passes: number of passes that were run, not remembered.
    """

    def __init__(
        self, separator: Separator, store: Store, mixtures: Iterable[Tensor] = (), shared: tuple[str, ...] = ()
    ) -> None:
        self.separator = separator
        self.store = store
        self.shared = shared
        self.passes = 0
        self._mixtures = {digest(mixture) for mixture in mixtures} if shared else set()
        self._prefix = pass_key(separator)

    @property
    def stems(self) -> tuple[str, ...]:
        return self.separator.stems

    @property
    def sample_rate(self) -> int:
        return self.separator.sample_rate

    def mean_of(self, audio: Tensor) -> Tensor:
        return self.separator.mean_of(audio)

    def run(self, inputs: Sequence[Tensor], shift: int, stems: tuple[str, ...], step: int) -> list[Tensor]:
        """Estimates of `stems` for each input; costs a pass for each distinct input that is not remembered."""
        lasting = step <= LASTING_STEPS
        keys = [digest(audio) for audio in inputs]
        found = {key: self._remembered(key, shift, stems, lasting) for key in keys}
        missing = {key: audio for key, audio in zip(keys, inputs, strict=True) if found[key] is None}
        for wanted, group in self._by_stems(missing, stems).items():
            batch = torch.stack([missing[key] for key in group])
            self.passes += len(group)
            for key, estimates in zip(group, self.separator(batch, shift=shift, stems=wanted), strict=True):
                self.store.put(self._key(key, shift, wanted), estimates, lasting=lasting)
                found[key] = _chosen(estimates, wanted, stems)
        return [estimates for key in keys if (estimates := found[key]) is not None]

    def _by_stems(self, keys: Iterable[str], stems: tuple[str, ...]) -> dict[tuple[str, ...], list[str]]:
        """Inputs by the stems that their pass is to estimate."""
        wide = tuple(stem for stem in self.stems if stem in {*stems, *self.shared})
        groups: dict[tuple[str, ...], list[str]] = {}
        for key in keys:
            groups.setdefault(wide if key in self._mixtures else stems, []).append(key)
        return groups

    def _remembered(self, key: str, shift: int, stems: tuple[str, ...], lasting: bool) -> Tensor | None:
        for held in dict.fromkeys((stems, self.shared, self.stems)):
            if set(stems) <= set(held):
                kept = self.store.get(self._key(key, shift, held), self.separator.device, lasting=lasting)
                if kept is not None:
                    return _chosen(kept, held, stems)
        return None

    def _key(self, key: str, shift: int, stems: tuple[str, ...]) -> Hashable:
        return (*self._prefix, stems, shift, key)


def _chosen(estimates: Tensor, held: tuple[str, ...], stems: tuple[str, ...]) -> Tensor:
    """The estimates of `stems`, of those (held, channels, samples)."""
    return estimates if held == stems else estimates[[held.index(stem) for stem in stems]]


def pass_key(separator: Separator) -> tuple[str, ...]:
    """All that an estimate depends on beside the input, the stems and the shift."""
    versions = f"torch {torch.__version__}, demucs {version('demucs')}, code {_code()}"
    settings = " ".join(separator.optimised)
    return (separator.fingerprint, separator.device.type, separator.precision, settings, versions)


@functools.cache
def _code() -> str:
    """Hash of the sources that make estimates of mixtures."""
    folder = Path(__file__).parent / "separators"
    sources = b"\0".join(path.read_bytes() for path in sorted(folder.rglob("*.py")))
    return hashlib.blake2b(sources, digest_size=8).hexdigest()


def digest(audio: Tensor) -> str:
    """128-bit hash of the samples and the shape of (channels, samples) float32: 0.2 ms for 5 s of stereo on a CPU.

    On another device the samples stay there: each block of words is multiplied by fixed random numbers and summed
    modulo 2⁶⁴, twice, and the sums are hashed.
    """
    if audio.device.type == "cpu":
        content: Any = audio.contiguous().numpy()
    else:
        words = audio.contiguous().view(torch.int32).flatten()
        factors = _factors(words.device)
        sums = [(block.to(torch.int64) * factors[:, : len(block)]).sum(dim=1) for block in torch.split(words, BLOCK)]
        content = struct.pack(f"{2 * len(sums)}q", *torch.cat(sums).tolist())
    return f"{tuple(audio.shape)} {xxhash.xxh3_128_hexdigest(content)}"


@functools.cache
def _factors(device: torch.device) -> Tensor:
    """Random odd 64-bit numbers, the same in every process: (2, BLOCK)."""
    generator = torch.Generator().manual_seed(0)
    numbers = torch.randint(-(2**63), 2**63 - 1, (2, BLOCK), generator=generator, dtype=torch.int64)
    return (numbers | 1).to(device)

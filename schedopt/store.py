"""A memory of bounded size for what several trials compute alike: the states and scores of common prefixes.

Keys name everything that a value depends on (fingerprints of separator and excerpt, refinement, β_1 … β_n),
so a hit can never be another computation's value.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import Any
from weakref import WeakValueDictionary

from torch import Tensor

from schedopt.disk import DiskStore

DEFAULT_BUDGET = 2 * 2**30
"""Bytes of states kept in memory by one process."""


class Store:
    """Least-recently-used memory of at most `budget` bytes; a value larger than the budget is not kept.

    `scores` holds the single numbers that came out of those values; they are tiny and kept for good. `mixtures` holds
    what somebody else keeps alive anyway, so that evaluators of several targets keep it once; it counts for nothing.
    `disk` keeps the values that are put there as lasting, for other processes and later runs.
    """

    def __init__(self, budget: int = DEFAULT_BUDGET, disk: DiskStore | None = None) -> None:
        self.budget = budget
        self.disk = disk
        self.nbytes = 0
        self.scores: dict[Hashable, float] = {}
        self.mixtures: WeakValueDictionary[Hashable, Tensor] = WeakValueDictionary()
        self._values: OrderedDict[Hashable, tuple[Any, int]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._values)

    def __contains__(self, key: Hashable) -> bool:
        return key in self._values

    def get(self, key: Hashable, *, lasting: bool = False) -> Any:
        """The value kept under `key`, or None; it counts as used now. `lasting` values are looked for on disk too."""
        if key in self._values:
            self._values.move_to_end(key)
            return self._values[key][0]
        if not lasting or self.disk is None:
            return None
        value = self.disk.get(key)
        if value is not None:
            self._remember(key, value, value.nbytes)
        return value

    def put(self, key: Hashable, value: Any, *, lasting: bool = False) -> None:
        """Keep `value` (anything with `nbytes`) under `key`; the values unused for longest make room."""
        self._remember(key, value, value.nbytes)
        if lasting and self.disk is not None:
            self.disk.put(key, value, value.nbytes)

    def _remember(self, key: Hashable, value: Any, nbytes: int) -> None:
        self._drop(key)
        if nbytes > self.budget:
            return
        self._values[key] = (value, nbytes)
        self.nbytes += nbytes
        while self.nbytes > self.budget:
            self._drop(next(iter(self._values)))

    def _drop(self, key: Hashable) -> None:
        if key in self._values:
            self.nbytes -= self._values.pop(key)[1]

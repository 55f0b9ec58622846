"""Named parts of one kind: families, rules, outputs, metrics, separators.

A registry holds this package's own parts, those that a program registers, and those that installed packages offer under
an entry-point group. An installed plug-in is imported when its name is asked for, never before.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterator, Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Generic, TypeVar

import cloudpickle

from schedopt.errors import SchedoptError
from schedopt.files.explain import nearest

T = TypeVar("T")

_registries: dict[str, Registry[Any]] = {}
"""All of them, by entry-point group."""


class Registry(Mapping[str, T], Generic[T]):
    """Parts by name.

    Args:
        kind: what one of them is called in messages.
        group: the entry-point group under which packages offer such parts.
        error: raised for a name that is not known.
        own: this package's parts. Iterating yields their names and the registered ones, not the installed plug-ins.
    """

    def __init__(self, kind: str, group: str, error: type[SchedoptError], own: Mapping[str, T]) -> None:
        self.kind = kind
        self.group = group
        self.error = error
        self.added: dict[str, T] = {}
        self._own = dict(own)
        _registries[group] = self

    def register(self, name: str, part: T) -> T:
        """Make `part` known under `name` in this process and in the workers that it starts.

        Raises:
            SchedoptError: the name is one of this package's own, or no name: a line of text that can be printed.
        """
        if not isinstance(name, str) or not name.strip() or not name.isprintable():
            raise self.error(f"{name!r} is no name for a {self.kind}: it is one line of text")
        if name in self._own:
            raise self.error(f"{self.kind} {name!r} belongs to schedopt; choose another name")
        self.added[name] = part
        return part

    def find(self, name: str) -> T:
        """The part called `name`.

        Raises:
            SchedoptError: there is none, or its package cannot be imported.
        """
        for known in (self._own, self.added):
            if name in known:
                return known[name]
        plugin = self._plugins().get(name)
        if plugin is None:
            names = [*self, *self._plugins()]
            listed = ", ".join(names) or "none"
            raise self.error(f"there is no {self.kind} {name[:80]!r}{nearest(name, names)}; there are {listed}")
        try:
            self.added[name] = plugin.load()
        except Exception as error:  # whatever the import of foreign code raises
            reason = " ".join(str(error).split()) or type(error).__name__
            raise self.error(f"{self.kind} {name!r} of {plugin.value} cannot be imported: {reason}") from error
        return self.added[name]

    def knows(self, name: str) -> bool:
        """Whether there is a part of this name, installed plug-ins included; imports nothing."""
        return name in self._own or name in self.added or name in self._plugins()

    def _plugins(self) -> dict[str, EntryPoint]:
        return {point.name: point for point in entry_points(group=self.group)}

    def __getitem__(self, name: str) -> T:
        try:
            return {**self._own, **self.added}[name]
        except KeyError:
            if self.knows(name):
                return self.find(name)
            raise

    def __iter__(self) -> Iterator[str]:
        return iter({**self._own, **self.added})

    def __len__(self) -> int:
        return len({**self._own, **self.added})


def pickled_parts() -> bytes:
    """The parts that were added to the registries of this process, for `add_pickled` in another one.

    Functions and classes of a script or a notebook travel with their code.

    Raises:
        SchedoptError: a part cannot be pickled.
    """
    found: dict[tuple[str, str], bytes] = {}
    for group, registry in _registries.items():
        for name, part in registry.added.items():
            try:
                found[group, name] = cloudpickle.dumps(part)
            except Exception as error:  # whatever the part's own code raises
                reason = " ".join(str(error).split()) or type(error).__name__
                raise registry.error(f"{registry.kind} {name!r} cannot be sent to worker processes: {reason}") from None
    return pickle.dumps(found)


def add_pickled(parts: bytes) -> None:
    """Register what `pickled_parts` of the process that started this one returned.

    Raises:
        SchedoptError: the package of a part cannot be imported here.
    """
    for (group, name), part in pickle.loads(parts).items():
        registry = _registries[group]
        try:
            registry.register(name, pickle.loads(part))
        except Exception as error:  # whatever the import of foreign code raises
            reason = " ".join(str(error).split()) or type(error).__name__
            raise registry.error(f"{registry.kind} {name!r} cannot be used in this worker process: {reason}") from None

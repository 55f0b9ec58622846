"""States on disk, shared by workers, resumed studies and studies of other families: joblib's cache, kept bounded.

Each value has a checksum, since a study that reads a damaged one would take its scores for true.

joblib writes every value under another name first and renames it when it is complete, so a process that is
killed while it writes leaves no half value behind.
"""

from __future__ import annotations

import contextlib
import logging
import os
import pickle
import warnings
from collections.abc import Callable, Hashable
from pathlib import Path
from typing import Any

import joblib
import xxhash

TRIM_SHARE = 0.1
"""The folder is looked through again after so much of its budget has been written."""

log = logging.getLogger("schedopt")


def default_folder() -> Path:
    """Where states are kept: $SCHEDOPT_CACHE, else schedopt in the user's cache folder."""
    named = os.environ.get("SCHEDOPT_CACHE")
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(named) if named else Path(base) / "schedopt"


class _MissError(Exception):
    """There is no value under this key."""


def _keep(key: Hashable, make: Callable[[], Any]) -> Any:
    """What joblib caches, by `key` alone."""
    return make()


def _sealed(value: Any) -> tuple[bytes, bytes]:
    """Checksum and pickle of `value`."""
    content = pickle.dumps(value, protocol=pickle.HIGHEST_PROTOCOL)
    return xxhash.xxh3_128_digest(content), content


class DiskStore:
    """Values by key in `folder`, at most about `budget` bytes; the values unused for longest go first.

    A folder that cannot be written is said once and not used; it never stops a study.
    """

    def __init__(self, folder: Path, budget: int) -> None:
        self.folder = folder
        self.budget = budget
        self._written = budget  # trims what earlier runs left at the first write
        self._usable = True
        try:
            with warnings.catch_warnings():
                # joblib warns of what we say in one line of our own, here or at the first write.
                warnings.simplefilter("ignore")
                self._memory = joblib.Memory(folder, verbose=0)
            self._cached = self._memory.cache(_keep, ignore=["make"])
        except OSError as error:
            self._give_up(error.strerror or str(error))

    def get(self, key: Hashable) -> Any:
        """The value under `key`, or None; a value that is not as it was written is removed."""

        def miss() -> Any:
            raise _MissError

        if not self._usable or not self._cached.check_call_in_cache(key, None):
            return None
        try:
            kept = self._cached.call_and_shelve(key, miss)
        except _MissError:  # another process removed it in between
            return None
        try:
            digest, content = kept.get()
            if digest == xxhash.xxh3_128_digest(content):
                return pickle.loads(content)
        except Exception as error:  # whatever a cut-off or damaged file raises
            log.debug("%s: a state cannot be read: %r", self.folder, error)
        with contextlib.suppress(OSError):
            kept.clear()
        return None

    def put(self, key: Hashable, value: Any, nbytes: int) -> None:
        """Keep `value` of about `nbytes` bytes."""
        if not self._usable or nbytes > self.budget:
            return
        try:
            with warnings.catch_warnings():
                # joblib only warns where a value cannot be written (a full disk, say).
                warnings.simplefilter("error", joblib.memory.CacheWarning)
                self._cached(key, lambda: _sealed(value))
            self._written += nbytes
            if self._written > TRIM_SHARE * self.budget:
                self._memory.reduce_size(bytes_limit=int(self.budget * (1 - TRIM_SHARE)))
                self._written = 0
        except (OSError, joblib.memory.CacheWarning) as error:
            self._give_up(str(error).splitlines()[0])

    def _give_up(self, reason: str) -> None:
        self._usable = False
        log.warning("%s: states are not kept on disk: %s", self.folder, reason)

"""When Ctrl-C and SIGTERM end a search: while it computes or waits, not in the middle of what must not be cut off.

Python raises `KeyboardInterrupt` between any two of its instructions. In a database driver that may leave a lock, in
Optuna a thread that goes on sending heartbeats for ever, and a trial that failed without a reason. Where something is
just collected, Python drops it (python/cpython issue 95959).
"""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from types import FrameType

INSISTS_SECONDS = 1.0
"""A second signal that comes so much later ends the program wherever it is; sooner, it is the same one sent twice."""


SWALLOWING = ("weakref", "_weakrefset", "sqlalchemy", "threading", "logging")
"""Modules whose functions Python calls when something is collected: a signal that finds one waits for a moment."""


@dataclass
class _State:
    """Of the main thread, which alone hears signals."""

    shielded: bool = False
    since: float | None = None
    """When the signal came that nobody has obeyed yet."""


_state = _State()


def _is_main() -> bool:
    return threading.current_thread() is threading.main_thread()


def _heard(_number: int, frame: FrameType | None) -> None:
    now = time.monotonic()
    insists = _state.since is not None and now - _state.since >= INSISTS_SECONDS
    if _state.since is None:
        _state.since = now
    if insists or not (_state.shielded or _swallows(frame)):
        raise KeyboardInterrupt


def _swallows(frame: FrameType | None) -> bool:
    """Whether the interrupted code may be that of a reference's end, where Python drops what is raised."""
    module = "" if frame is None else str(frame.f_globals.get("__name__", ""))
    return module.partition(".")[0] in SWALLOWING


def obeyed() -> None:
    """The signal has done what it was to do: what is put in order now is not ended by it."""
    if _is_main():
        _state.since = None


@contextlib.contextmanager
def shielded() -> Iterator[None]:
    """In here signals that raise `KeyboardInterrupt` wait until `open_to_interrupts` is entered, or this is left."""
    if not _is_main() or _state.shielded:
        yield
        return
    # Handlers of the caller's own (a notebook's, a service's) stay as they are.
    numbers = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
    numbers = [number for number in numbers if signal.getsignal(number) is signal.default_int_handler]
    _state.since, _state.shielded = None, True
    try:
        for number in numbers:
            signal.signal(number, _heard)
        yield
    finally:
        for number in numbers:
            signal.signal(number, signal.default_int_handler)
        _state.shielded = False
        pending, _state.since = _state.since is not None, None
    if pending:
        raise KeyboardInterrupt


@contextlib.contextmanager
def open_to_interrupts() -> Iterator[None]:
    """Within `shielded` a piece that may be cut off.

    Raises:
        KeyboardInterrupt: a signal came before, or comes meanwhile.
    """
    if not _is_main() or not _state.shielded:
        yield
        return
    try:
        _state.shielded = False
        _raise_pending()
        yield
    finally:
        _state.shielded = True


@contextlib.contextmanager
def shielded_again() -> Iterator[None]:
    """Within `open_to_interrupts` a piece that must not be cut off, as a call of the storage; elsewhere nothing."""
    # Only where the handlers are in place: a signal that nobody holds back is raised at once, as ever.
    if not _is_main() or _state.shielded or not _is_installed():
        yield
        return
    _state.shielded = True
    try:
        yield
    finally:
        _state.shielded = False
    _raise_pending()


def sleep(seconds: float) -> None:
    """`time.sleep` that an interrupt ends."""
    with open_to_interrupts():
        time.sleep(seconds)


def _is_installed() -> bool:
    return signal.getsignal(signal.SIGINT) is _heard or signal.getsignal(signal.SIGTERM) is _heard


def _raise_pending() -> None:
    if _state.since is not None:
        raise KeyboardInterrupt

"""Several tasks at once, in threads that share the cores of a CPU; an interrupted one ends all."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

from schedopt.workers.processes import threads_each

T = TypeVar("T")


class Cancelled(BaseException):
    """Ends a task whose results nobody waits for any more."""


class _OfThisThread(threading.local):
    cancelled: threading.Event | None = None


_this_thread = _OfThisThread()


def in_threads(tasks: Sequence[Callable[[], T]], count: int) -> Iterator[T]:
    """The results of `tasks`, in their order; `count` run at once, each with its share of the cores.

    Where the iteration ends early (Ctrl-C, an exception, `close`), no further task begins, and those that run end at
    their next `end_if_cancelled`.
    """
    cancelled = threading.Event()

    def begin() -> None:
        _this_thread.cancelled = cancelled
        torch.set_num_threads(threads_each(count))  # of this thread

    pool = ThreadPoolExecutor(count, initializer=begin)
    try:
        yield from pool.map(lambda task: task(), tasks)
    finally:
        cancelled.set()
        pool.shutdown(cancel_futures=True)


def end_if_cancelled() -> None:
    """Called by a task now and then.

    Raises:
        Cancelled: it runs in `in_threads`, which has ended.
    """
    if _this_thread.cancelled is not None and _this_thread.cancelled.is_set():
        raise Cancelled

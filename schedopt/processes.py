"""Several processes of this machine (joblib's loky), watched by one that answers Ctrl-C."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Sequence
from typing import Any

import joblib
from joblib.externals.loky import get_reusable_executor, process_executor

POLL_SECONDS = 1.0


def threads_each(workers: int) -> int:
    """CPU threads of each of so many processes."""
    return max(1, (os.cpu_count() or 1) // workers)


Task = tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]
"""A call to be made elsewhere, as `joblib.delayed` gives it."""


def in_processes(tasks: Sequence[Task], workers: int, tick: Callable[[], None] = lambda: None) -> list[Any]:
    """What `tasks` (of `joblib.delayed`) return, in their order, run by `workers` processes; `tick` is called every
    second.

    The processes stay for the next call with as many workers. NumPy arrays over 1 MB among the arguments are mapped
    into their memory, one copy for all; they may write to them, each into pages of its own.

    Raises:
        TerminatedWorkerError: a process was killed.
        BaseException: what a task raised; or KeyboardInterrupt as it comes, after the processes were ended.
    """
    results: list[Any] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            _ignore_interrupts()
            with joblib.parallel_config("loky", n_jobs=workers, inner_max_num_threads=threads_each(workers)):
                parallel = joblib.Parallel(batch_size=1, pre_dispatch="all", mmap_mode="c")
                results.extend(parallel(joblib.delayed(_call_here)(task) for task in tasks))
        except BaseException as error:
            errors.append(error)

    # Joblib blocks, so it runs in a thread while this one watches and listens to Ctrl-C.
    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        while thread.is_alive():
            thread.join(POLL_SECONDS)
            tick()
    except BaseException:
        _end(thread)
        raise
    if errors:
        _end(thread)
        raise errors[0]
    return results


def _call_here(task: Task) -> Any:
    # Loky takes a process that has grown by 300 MB for one that leaks, and ends it; it holds a model and its store.
    process_executor._MAX_MEMORY_LEAK_SIZE = 2**62
    call, args, kwargs = task
    return call(*args, **kwargs)


def _end(thread: threading.Thread) -> None:
    """Kill the processes: a pass may take minutes."""
    get_reusable_executor(reuse=True).shutdown(kill_workers=True, wait=True)
    while thread.is_alive():
        # It was about to start them.
        thread.join(0.1)
        get_reusable_executor(reuse=True).shutdown(kill_workers=True, wait=True)


def _ignore_interrupts() -> None:
    """Ctrl-C reaches every process of the terminal; only the parent is to answer. Children inherit the mask."""
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})

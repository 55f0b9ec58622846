"""Several processes of this machine (joblib's loky), watched by one that answers Ctrl-C."""

from __future__ import annotations

import gc
import os
import signal
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing import resource_tracker
from typing import Any

import joblib
from joblib.externals.loky import get_reusable_executor, process_executor
from joblib.externals.loky.process_executor import TerminatedWorkerError

POLL_SECONDS = 1.0
MAX_RESTARTS = 3
"""How often the processes are made anew after one of them was killed (out of memory, kill −9)."""

Task = tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]
"""A call to be made elsewhere, as `joblib.delayed` gives it."""


@dataclass(frozen=True)
class ParentGone:
    """Whether the process that started this one has ended (kill −9): nobody would stop this one then."""

    parent: int

    def __call__(self) -> bool:
        # In the parent itself too: joblib runs tasks there where it may not start processes.
        return self.parent not in (os.getpid(), os.getppid())


def threads_each(workers: int) -> int:
    """CPU threads of each of so many processes."""
    return max(1, (os.cpu_count() or 1) // workers)


def in_processes(
    tasks: Sequence[Task], workers: int, tick: Callable[[], None] = lambda: None, *, restarts: int = MAX_RESTARTS
) -> list[Any]:
    """What `tasks` return, in their order, run by `workers` processes; `tick` is called every second.

    The processes stay for the next call with as many workers, and end with the one that called. Where one is killed
    all start anew, with all tasks. NumPy arrays over 1 MB among the arguments are mapped into their memory, one copy
    for all; they may write to them, each into pages of its own. Results are to be small: a process that is killed
    while it sends a large one leaves the others waiting.

    Raises:
        TerminatedWorkerError: processes keep being killed.
        BaseException: what a task raised; or KeyboardInterrupt as it comes, after the processes were ended.
    """
    try:
        return _once(tasks, workers, tick)
    except TerminatedWorkerError:
        if not restarts:
            raise
    return in_processes(tasks, workers, tick, restarts=restarts - 1)


def _once(tasks: Sequence[Task], workers: int, tick: Callable[[], None]) -> list[Any]:
    results: list[Any] = []
    errors: list[BaseException] = []
    gone = ParentGone(os.getpid())

    def run() -> None:
        try:
            _ignore_interrupts()
            with joblib.parallel_config("loky", n_jobs=workers, inner_max_num_threads=threads_each(workers)):
                parallel = joblib.Parallel(batch_size=1, pre_dispatch="all", mmap_mode="c")
                results.extend(parallel(joblib.delayed(_call_here)(task, gone) for task in tasks))
        except BaseException as error:
            errors.append(error)

    # Joblib blocks, so it runs in a thread while this one watches and listens to Ctrl-C.
    thread = threading.Thread(target=run, daemon=True)
    try:
        thread.start()
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


def _call_here(task: Task, parent_gone: ParentGone) -> Any:
    # Loky takes a process that has grown by 300 MB for one that leaks, and ends it; it holds a model and its store.
    process_executor._MAX_MEMORY_LEAK_SIZE = 2**62
    call, args, kwargs = task
    try:
        return call(*args, **kwargs)
    finally:
        if parent_gone():
            # Loky would keep the process for minutes.
            os._exit(1)
        # A pruned trial's exception holds on to all that its frames saw, mapped arrays too.
        gc.collect()


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
        # Python starts its tracker with the first child, and unblocks the signal then.
        resource_tracker.ensure_running()
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})

"""Processes of this machine that answer calls, started so that scripts and notebooks need no main guard."""

from __future__ import annotations

import contextlib
import gc
import logging
import math
import os
import pickle
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

import psutil

from schedopt.errors import SchedoptError, StudyError

POLL_SECONDS = 1.0

MAX_RESTARTS = 3
"""How often one process is started again after it was killed (out of memory, kill −9)."""

KILLED = "workers keep being killed; is the memory full? Try fewer --workers"

Call = tuple[Callable[..., Any], tuple[Any, ...]]
"""A function of a module and its arguments."""

log = logging.getLogger("schedopt")


def usable_cores() -> int:
    """CPU cores that this process may use: its affinity mask (Slurm), and its control group's quota (containers)."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with contextlib.suppress(OSError, ValueError):  # no such file, or no quota ("max")
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        cores = min(cores, max(1, math.ceil(int(quota) / int(period))))
    return cores


def threads_each(workers: int) -> int:
    """CPU threads of each of so many processes."""
    return max(1, usable_cores() // workers)


class Processes:
    """`count` processes with the environment variables `environment`; they stay until `end`, and end with this one.

    Ctrl-C reaches this process only.
    """

    def __init__(self, count: int, environment: Mapping[str, str]) -> None:
        paths = {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
        self._processes = [_Process({**os.environ, **environment, **paths}) for _ in range(count)]
        self._threads = ThreadPoolExecutor(count, initializer=_block_interrupts)

    def run(self, calls: Sequence[Call], tick: Callable[[], None] = lambda: None) -> list[Any]:
        """What `calls` return, one a process; instead of it the `StudyError` that it raised. `tick` is called every
        second.

        A call whose process is killed is made again by a new one.

        Raises:
            BaseException: what `tick` raised, and KeyboardInterrupt, after the processes were ended.
        """
        pairs = zip(self._processes, calls, strict=True)
        futures = [self._threads.submit(process.answer, call) for process, call in pairs]
        try:
            while wait(futures, timeout=POLL_SECONDS).not_done:
                tick()
        except BaseException:
            self.end()
            raise
        return [future.result() for future in futures]

    def end(self) -> None:
        """Kill the processes: a pass may take minutes."""
        for process in self._processes:
            # All of them before the first is killed: another one would take its trial for one that died.
            process.suspend()
        for process in self._processes:
            process.kill()
        self._threads.shutdown()
        for process in self._processes:
            process.reap()


class _Process:
    """One process; calls and answers cross as pickles on its standard input and output."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment
        self._lock = threading.Lock()
        self._ended = False
        self._process: subprocess.Popen[bytes] | None = None

    def answer(self, call: Call) -> Any:
        for _ in range(1 + MAX_RESTARTS):
            with contextlib.suppress(EOFError, OSError, pickle.UnpicklingError):
                return self._answer(call)
            self.reap()
            if self._ended:
                break
        return StudyError(KILLED)

    def _answer(self, call: Call) -> Any:
        with self._lock:
            if self._ended:
                raise EOFError
            if self._process is None:
                command = [sys.executable, "-c", "from schedopt.workers.processes import serve; serve()"]
                pipe = subprocess.PIPE
                self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, env=self._environment)
        calls, answers = self._process.stdin, self._process.stdout
        assert calls is not None
        assert answers is not None
        pickle.dump(call, calls)
        calls.flush()
        return pickle.load(answers)

    def suspend(self) -> None:
        with self._lock, contextlib.suppress(psutil.Error):
            if self._process is not None:
                psutil.Process(self._process.pid).suspend()

    def kill(self) -> None:
        with self._lock:
            self._ended = True
            if self._process is not None:
                self._process.kill()

    def reap(self) -> None:
        """End the process and close its pipes; nobody may be reading them."""
        if self._process is not None:
            self._process.kill()
            with contextlib.suppress(OSError):
                self._process.communicate()
            self._process = None


def serve() -> None:
    """What such a process does: answer calls until the one that started it is gone."""
    with os.fdopen(os.dup(1), "wb") as answers:
        os.dup2(2, 1)  # what a library prints is no answer
        with contextlib.suppress(EOFError, BrokenPipeError):
            while True:
                answer = _result(pickle.load(sys.stdin.buffer))
                pickle.dump(answer, answers)
                answers.flush()
                # A pruned trial's exception holds on to all that its frames saw.
                gc.collect()


def _result(call: Call) -> Any:
    function, arguments = call
    try:
        return function(*arguments)
    except SchedoptError as error:
        return StudyError(str(error))
    except Exception as error:
        log.debug("a call failed", exc_info=True)
        return StudyError(" ".join(f"{type(error).__name__}: {error}".split()))


def _block_interrupts() -> None:
    """A terminal sends Ctrl-C to all its processes; those that this thread starts inherit that it is blocked."""
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})

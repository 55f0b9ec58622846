"""Processes that share arrays, stay for the next call whatever they hold, and end with Ctrl-C."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import joblib
import numpy as np
import pytest
from joblib.externals.loky.process_executor import TerminatedWorkerError
from numpy.typing import NDArray

from schedopt.processes import ParentGone, in_processes
from tests.servers import environment

HELD: list[NDArray[np.uint8]] = []


def hold(megabytes: int) -> int:
    """Keep so much memory, and say which process this is; time for loky to look at its size."""
    HELD.append(np.ones(megabytes * 2**20, np.uint8))
    time.sleep(1.1)
    return os.getpid()


def file_behind(array: NDArray[np.float32]) -> str:
    assert isinstance(array, np.memmap)
    array[0] = 7  # a page of its own
    return str(array.filename)


def test_a_process_that_holds_a_lot_is_kept() -> None:
    pids = [set(in_processes([joblib.delayed(hold)(size)] * 2, 2)) for size in (1, 400, 1)]
    assert pids[0] == pids[1] == pids[2]


def test_arrays_lie_in_memory_once_and_stay_as_they_are() -> None:
    array = np.zeros(2**20, np.float32)
    first, second = in_processes([joblib.delayed(file_behind)(array)] * 2, 2)
    assert first == second
    assert not array.any()
    assert not os.path.exists(first)


def blocked() -> bool:
    """Whether Ctrl-C is kept from this process."""
    return signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, ())


def die_once(marker: Path) -> int:
    if not marker.exists():
        marker.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return 7


def test_only_the_caller_hears_ctrl_c() -> None:
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "from tests.test_processes import *; print(in_processes([(blocked, (), {})] * 2, 2))",
        ],
        capture_output=True,
        text=True,
        env=environment(),
        check=True,
    )
    assert done.stdout.strip() == "[True, True]"


def test_a_killed_one_is_made_up_for_and_many_are_not(tmp_path: Path) -> None:
    assert in_processes([(die_once, (tmp_path / "marker",), {})], 2) == [7]
    with pytest.raises(TerminatedWorkerError):
        in_processes([(die_once, (tmp_path / "other",), {})] * 2, 2, restarts=0)


def test_a_process_notices_that_its_parent_is_gone() -> None:
    assert not ParentGone(os.getppid())()
    assert not ParentGone(os.getpid())(), "joblib may run a task in the caller"
    assert ParentGone(2**30)()


def test_ctrl_c_ends_them() -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        in_processes([joblib.delayed(time.sleep)(60)] * 2, 2, interrupt)
    assert time.monotonic() - began < 30

"""Processes that share arrays, stay for the next call whatever they hold, and end with Ctrl-C."""

from __future__ import annotations

import os
import time

import joblib
import numpy as np
import pytest
from numpy.typing import NDArray

from schedopt.processes import in_processes

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


def test_ctrl_c_ends_them() -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        in_processes([joblib.delayed(time.sleep)(60)] * 2, 2, interrupt)
    assert time.monotonic() - began < 30

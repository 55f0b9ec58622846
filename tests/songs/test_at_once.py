"""Tasks in threads: results in their order, cores shared, and an end that ends all."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial

import pytest
import torch

from schedopt.songs.at_once import Cancelled, end_if_cancelled, in_threads
from schedopt.workers.processes import threads_each


def test_results_come_in_order_though_the_first_ends_last() -> None:
    second_done = threading.Event()

    def first() -> str:
        assert second_done.wait(30), "the second task runs beside the first"
        return "first"

    def second() -> str:
        second_done.set()
        return "second"

    tasks: list[Callable[[], str]] = [first, second]
    assert list(in_threads(tasks, 2)) == ["first", "second"]


def test_threads_share_the_cores_and_leave_this_one_as_it_was() -> None:
    before = torch.get_num_threads()
    assert list(in_threads([torch.get_num_threads] * 3, 2)) == [threads_each(2)] * 3
    assert torch.get_num_threads() == before


def test_an_end_ends_tasks_that_run_and_begins_no_other() -> None:
    began, ended = [], []

    def task(number: int) -> int:
        began.append(number)
        if number == 0:
            return 0
        try:
            while True:
                end_if_cancelled()
        except Cancelled:
            ended.append(number)
            raise

    results = in_threads([partial(task, number) for number in range(9)], 2)
    assert next(results) == 0
    results.close()  # type: ignore[attr-defined]
    assert sorted(ended) == sorted(began[1:])
    assert len(began) < 9


def test_a_failure_is_raised_here_and_ends_the_others() -> None:
    def endless() -> None:
        while True:
            end_if_cancelled()

    def fail() -> None:
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        list(in_threads([fail, endless], 2))


def test_outside_of_threads_nothing_is_cancelled() -> None:
    end_if_cancelled()

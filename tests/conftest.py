"""Fixtures for all tests. Real demucs classes with few channels and random weights stand for big models."""

from __future__ import annotations

import os
import signal

import optuna
import pytest
import torch

from schedopt.workers.processes import usable_cores

# Commands and workers that tests start share two cores with the tests: threads of theirs would wait for one another.
os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")

# Nothing in a test may reach out; a cache that a test makes is found without the network.
os.environ["HF_HUB_OFFLINE"] = "1"


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """One more than there are cores: a quarter of the suite's time is waiting for processes, servers and browsers."""
    return usable_cores() + 1


def pytest_sessionstart(session: pytest.Session) -> None:
    # A shell that starts the tests in the background has Ctrl-C ignored, and so would every command that they start.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test keeps its states in a folder of its own."""
    monkeypatch.setenv("SCHEDOPT_CACHE", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    torch.set_num_threads(1)
    optuna.logging.set_verbosity(optuna.logging.CRITICAL)

"""How a run is watched: the command line draws its live view from these calls."""

from __future__ import annotations

from typing import Protocol

from schedopt.search.study import Summary


class Watcher(Protocol):
    """Is told how a run goes on."""

    def study(self, summary: Summary, trials: int) -> None:
        """A study begins or goes on, with `trials` to reach."""

    def excerpt(self, done: int, total: int) -> None:
        """The running trial has scored `done` of its excerpts (only with one worker)."""

    def trial(self, summary: Summary) -> None:
        """A trial has finished, or some time has passed."""


class Silent:
    """A watcher that shows nothing."""

    def study(self, summary: Summary, trials: int) -> None:
        pass

    def excerpt(self, done: int, total: int) -> None:
        pass

    def trial(self, summary: Summary) -> None:
        pass

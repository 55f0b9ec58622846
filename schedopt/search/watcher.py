"""How a run is watched, and the bars that a terminal or a notebook shows of it."""

from __future__ import annotations

import time
from typing import Protocol

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.text import Text

from schedopt.search.summary import NamedTrial, Summary

PLAIN_EVERY = 10
"""Without a terminal, a line of progress is printed after so many trials, unless told otherwise."""


class Watcher(Protocol):
    """Is told how a run goes on."""

    def study(self, summary: Summary, trials: int) -> None:
        """A study begins or goes on, with `trials` to reach."""

    def excerpt(self, done: int, total: int) -> None:
        """The running trial has scored `done` of its excerpts (only with one worker)."""

    def trial(self, summary: Summary) -> None:
        """A trial has finished, or some time has passed."""


class SilentWatcher:
    """A watcher that shows nothing."""

    def study(self, summary: Summary, trials: int) -> None:
        pass

    def excerpt(self, done: int, total: int) -> None:
        pass

    def trial(self, summary: Summary) -> None:
        pass


def db(value: float | None, *, sign: bool = False) -> str:
    """A level or gain in dB with two (gains: three) decimals; a dash where there is none."""
    if value is None:
        return "–"
    return f"{value:+.3f} dB" if sign else f"{value:.2f} dB"


def not_selected(highest: NamedTrial, reason: str) -> str:
    """Why the highest trial of a study is not the selected one."""
    return f"highest: trial {highest.number}, {db(highest.gain, sign=True)} over one pass, but {reason}"


class ProgressBars:
    """A watcher: a bar for the trials of all workers, one for the excerpts of the trial.

    Counts, the selected trial and passes a second come from the study, so they cover every process that works on it.
    """

    def __init__(self, every: int = PLAIN_EVERY) -> None:
        """`every`: a line is printed after so many trials, in a terminal only for 1; 0: nothing is shown."""
        self.console = Console(stderr=True)
        self.every = every
        self._began, self._passes_before = 0.0, 0
        self.bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
        )
        self.state = Text(overflow="ellipsis", no_wrap=True)
        # A line of its own, since beside the bars it would not fit into 80 columns.
        self.live = Live(Group(self.bars, self.state), console=self.console, auto_refresh=True)
        self._trials: TaskID | None = None
        self._excerpts: TaskID | None = None
        self._total = 0
        self._printed = 0

    def __enter__(self) -> ProgressBars:
        if self.console.is_terminal and self.every:
            self.live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.live.stop()

    def study(self, summary: Summary, trials: int) -> None:
        for bar in (self._trials, self._excerpts):
            if bar is not None:
                self.bars.remove_task(bar)
        self._total, self._printed = trials, summary.finished
        self._trials = self.bars.add_task(summary.study, total=trials, completed=summary.finished)
        # Several workers have no "this trial": the bar shows with the first excerpt that is reported.
        self._excerpts = self.bars.add_task("excerpts of this trial", total=1, visible=False)
        self._began, self._passes_before = time.monotonic(), summary.passes_run
        if not self.console.is_terminal and self.every and summary.finished < trials:
            self.console.print(Text(f"{summary.study}: {summary.finished} of {trials} trials finished"), soft_wrap=True)

    def excerpt(self, done: int, total: int) -> None:
        if self._excerpts is not None:
            self.bars.update(self._excerpts, completed=done, total=total, visible=True)

    def trial(self, summary: Summary) -> None:
        assert self._trials is not None
        note = self._note(summary)
        self.bars.update(self._trials, completed=summary.finished)
        self.state.plain = note
        live = self.console.is_terminal and self.every != 1
        if self.every and not live and summary.finished // self.every > self._printed // self.every:
            self._printed = summary.finished
            line = Text(f"{summary.study}: {summary.finished} of {self._total} trials, {note}")
            self.console.print(line, soft_wrap=True)  # above the bars, where there are any

    def _note(self, summary: Summary) -> str:
        parts = [summary.not_complete]
        for name, trial in (("selected", summary.selected), ("highest", summary.highest if summary.reason else None)):
            if trial:
                parts.append(f"{name} {db(trial.value)} ({db(trial.gain, sign=True)})")
        passes, seconds = summary.passes_run - self._passes_before, time.monotonic() - self._began
        if passes > 0 and seconds > 0:
            parts.append(f"{passes / seconds:.1f} passes/s")
        return ", ".join(parts)

"""The command `schedopt`. Exit codes: 0 done; 1 a user's mistake or a failed run; 2 wrong usage; 130 interrupted.

Commands are imported when they are called, so that `schedopt --help` answers at once.
"""

from __future__ import annotations

import contextlib
import importlib
import logging
import os
import re
import signal
import sys
import threading
from collections.abc import Iterator
from typing import Any

import click

from schedopt import __version__
from schedopt.errors import SchedoptError

COMMANDS = {
    "run": ("schedopt.cli.study", "Launch or resume the study of a study file."),
    "status": ("schedopt.cli.study", "Show the studies of a file or storage: trials, best, gain, passes."),
    "dashboard": ("schedopt.cli.dashboard", "Serve Optuna's dashboard with our figures, notes and audio."),
    "export": ("schedopt.cli.study", "Write the best schedule of a study as a schedule file."),
    "benchmark": (
        "schedopt.cli.benchmark",
        "Compare schedule files with one pass and other methods on held-out tracks.",
    ),
    "verify": ("schedopt.cli.benchmark", "Recompute a benchmark's conclusions from its JSON; name what was changed."),
    "sweep": ("schedopt.cli.benchmark", "Vary one stem's weight in the mixture; show the score of all stems."),
    "report": ("schedopt.cli.report", "Write a study or a benchmark as one HTML file, with figures and audio."),
    "reproduce": ("schedopt.cli.study", "Replay the method's published table beside its figures."),
    "separate": ("schedopt.cli.separate", "Separate your own songs with a schedule."),
    "evaluate": ("schedopt.cli.audio", "Score a folder of estimated stems against one of true stems."),
    "demo": ("schedopt.cli.audio", "Write the generated demo tracks as WAV files, to listen to."),
}


class LazyGroup(click.Group):
    """A group that knows its commands' names and first lines without importing them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        module, _ = COMMANDS[name]
        command = getattr(importlib.import_module(module), name)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in COMMANDS.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="schedopt")
def schedopt() -> None:
    """Find the β schedule with which a pretrained Demucs, run again on its own output, separates better.

    Start with: schedopt run studies/demo-vocals-linear.toml
    """


def main(argv: list[str] | None = None) -> None:
    """Entry point: runs a command and turns errors into one line on stderr and an exit code."""
    sys.exit(call(sys.argv[1:] if argv is None else argv))


def call(argv: list[str]) -> int:
    """Run the command line `argv`; its exit code."""
    # Threads that wait for one another by spinning made a pass 4 times slower where a core was busy with something
    # else (measured on 2 cores under load). It must be said before torch is imported.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # An interrupt in the middle of a query makes SQLAlchemy log a traceback while it closes its cursor.
    logging.getLogger("sqlalchemy").setLevel(logging.CRITICAL)
    try:
        with _ended_by_signals():
            result: Any = schedopt.main(args=argv, prog_name="schedopt", standalone_mode=False)
    except click.exceptions.Abort:
        click.echo("schedopt: interrupted; the same command carries on", err=True)
        return 130
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except SchedoptError as error:
        # Whatever is quoted, a password in a URL is not.
        line = re.sub(r"://([^:/@\s]*):\S*@", r"://\1:***@", " ".join(str(error).split()))
        click.echo(f"schedopt: {line}", err=True)
        return 1
    except BrokenPipeError:
        # The reader (`| head`) has seen enough. Python would complain again when it closes stdout.
        sys.stdout = None
        return 0
    return result if isinstance(result, int) else 0


@contextlib.contextmanager
def _ended_by_signals() -> Iterator[None]:
    """In here SIGTERM (of a batch system or a service manager) and SIGHUP (of a terminal that was closed) end a command
    as cleanly as Ctrl-C does; what `nohup` has told to ignore SIGHUP goes on ignoring it."""
    if threading.current_thread() is not threading.main_thread():
        # Python lets only the main thread hear signals.
        yield
        return
    heard = [signal.SIGTERM]
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
        heard.append(signal.SIGHUP)
    before = [signal.signal(name, signal.default_int_handler) for name in heard]
    try:
        yield
    finally:
        for name, handler in zip(heard, before, strict=True):
            signal.signal(name, handler)

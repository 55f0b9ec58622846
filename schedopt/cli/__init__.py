"""The command `schedopt`. Exit codes: 0 done; 1 a user's mistake or a failed run; 2 wrong usage; 130 interrupted.

Commands are imported when they are called, so that `schedopt --help` answers at once.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import logging
import os
import re
import signal
import sys
import threading
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from schedopt import __version__
from schedopt.cli._streams import tolerant_streams
from schedopt.errors import SchedoptError, reason, shortened, shown

COMMANDS = {
    "init": ("schedopt.cli.init", "Write a study file for your music and model, with a comment on every key."),
    "run": ("schedopt.cli.study", "Launch or resume the study of a study file."),
    "status": ("schedopt.cli.study", "Show the studies of a file or storage: trials, gain, passes."),
    "dashboard": ("schedopt.cli.dashboard", "Serve Optuna's dashboard with our figures, notes and audio."),
    "export": ("schedopt.cli.study", "Write the selected schedule of a study as a schedule file."),
    "benchmark": (
        "schedopt.cli.benchmark",
        "Compare schedule files with one pass and other methods on held-out tracks.",
    ),
    "verify": ("schedopt.cli.benchmark", "Recompute a benchmark's conclusions from its JSON; name what was changed."),
    "sweep": ("schedopt.cli.benchmark", "Vary one stem's weight in the mixture; show the score of all stems."),
    "report": ("schedopt.cli.report", "Write a study or a benchmark as one HTML file, with figures and audio."),
    "reproduce": ("schedopt.cli.benchmark", "Replay the method's published table beside its figures."),
    "separate": ("schedopt.cli.separate", "Separate your own songs with a schedule."),
    "evaluate": ("schedopt.cli.audio", "Score a folder of estimated stems against one of true stems."),
    "demo": ("schedopt.cli.audio", "Write the generated demo tracks as WAV files, to listen to."),
}

WORKING = ("run", "benchmark", "sweep", "reproduce", "separate")
"""Commands that run a model."""

DATABASE_PACKAGES = ("sqlalchemy", "psycopg", "psycopg2", "pymysql", "MySQLdb", "redis")


@dataclass
class Settings:
    """What every command takes."""

    debug: bool = False


def _set_debug(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted:
        ctx.find_object(Settings).debug = True  # type: ignore[union-attr]


DEBUG = click.Option(
    ["--debug"],
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_set_debug,
    help="Show the traceback of an error.",
)


class LazyGroup(click.Group):
    """A group that knows its commands' names and first lines without importing them, and gives each `--debug`."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        module, _ = COMMANDS[name]
        command = getattr(importlib.import_module(module), name)
        assert isinstance(command, click.Command)
        if DEBUG not in command.params:
            command.params.append(DEBUG)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Tells at once that work begins: to load PyTorch takes seconds. Commands that only read tell people alone."""
        silent = {"-h", "--help", "-q", "--quiet", "--schema"} & set(args)
        told = args[0] in WORKING or (args[0] in COMMANDS and sys.stderr.isatty())
        if told and not silent and "torch" not in sys.modules:
            click.echo(f"note: schedopt {args[0]}: loading PyTorch", err=True)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in COMMANDS.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="schedopt")
def schedopt() -> None:
    """Find the β schedule with which a pretrained Demucs, run again on its own output, separates better.

    Start with: schedopt run studies/demo-vocals-linear.toml
    """


schedopt.params.append(DEBUG)


def main(argv: list[str] | None = None) -> None:
    """Entry point: runs a command and turns errors into one line on stderr and an exit code."""
    code = call(sys.argv[1:] if argv is None else argv)
    # Where Ctrl-C came while some module ran a string as code (dataclasses do), Python remembers that nobody handled it
    # there, and `python -m schedopt` would end by the signal, not with the code. The next such string clears that.
    exec("")
    sys.exit(code)


def call(argv: list[str]) -> int:
    """Run the command line `argv`; its exit code."""
    # Threads that wait for one another by spinning made a pass 4 times slower where a core was busy with something
    # else (measured on 2 cores under load). It must be said before torch is imported.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # An interrupt in the middle of a query makes SQLAlchemy log a traceback while it closes its cursor.
    logging.getLogger("sqlalchemy").setLevel(logging.CRITICAL)
    with tolerant_streams() as out:
        code = _answered(argv)
        out.flush()
        if out.failure is None or isinstance(out.failure, BrokenPipeError):
            return code  # a reader (`| head`) that has seen enough is no failure
        click.echo(f"schedopt: standard output cannot be written: {reason(out.failure)}", err=True)
        return code or 1


def _answered(argv: list[str]) -> int:
    """Run `argv`; whatever goes wrong is one line on stderr."""
    settings = Settings()
    try:
        with _ended_by_signals():
            result: Any = schedopt.main(args=argv, prog_name="schedopt", standalone_mode=False, obj=settings)
    except (click.exceptions.Abort, KeyboardInterrupt):
        click.echo("schedopt: interrupted; the same command carries on", err=True)
        return 130
    except click.ClickException as error:
        said = io.StringIO()
        error.show(said)
        click.echo("\n".join(shortened(line) for line in said.getvalue().splitlines()), err=True)
        return error.exit_code
    except SystemExit as end:  # of shell completion
        return end.code if isinstance(end.code, int) else 1
    except Exception as error:
        if settings.debug:
            click.echo(_redacted(traceback.format_exc()), err=True)
        click.echo(f"schedopt: {_one_line(error)}", err=True)
        return 1
    return result if isinstance(result, int) else 0


def _one_line(error: Exception) -> str:
    """What a user reads of an error: all of ours; of one that nobody foresaw, what and where it is."""
    if isinstance(error, SchedoptError):
        return _redacted(" ".join(str(error).split()))
    if isinstance(error, OSError) and error.strerror:
        named = "" if error.filename is None else f"{shown(os.fsdecode(error.filename))}: "
        return shortened(f"{named}{error.strerror.lower()} (--debug shows the traceback)")
    name = type(error).__name__
    # Database drivers may quote a piece of a URL with a password in it.
    quotable = type(error).__module__.partition(".")[0] not in DATABASE_PACKAGES
    said = f"{name}: {reason(error)}" if quotable and reason(error) != name else name
    frame = traceback.extract_tb(error.__traceback__)[-1]
    where = f"{Path(frame.filename).name}, line {frame.lineno}"
    return _redacted(shortened(f"unforeseen error: {said} ({where}); --debug shows the traceback"))


def _redacted(text: str) -> str:
    """Whatever is quoted, a password in a URL is not."""
    return re.sub(r"://([^:/@\s]*):\S*@", r"://\1:***@", text)


@contextlib.contextmanager
def _ended_by_signals() -> Iterator[None]:
    """In here SIGTERM (of a batch system or a service manager) and SIGHUP (of a terminal that was closed) end a command
    as cleanly as Ctrl-C does; what `nohup` has told to ignore SIGHUP goes on ignoring it."""
    if threading.current_thread() is not threading.main_thread():
        # Python lets only the main thread hear signals.
        yield
        return
    received = [signal.SIGTERM]
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
        received.append(signal.SIGHUP)
    before = [signal.signal(name, signal.default_int_handler) for name in received]
    try:
        yield
    finally:
        for name, handler in zip(received, before, strict=True):
            signal.signal(name, handler)

"""What commands print: notes, tables and progress on stderr; results on stdout."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from schedopt.files.writing import json_text

Command = Callable[..., Any]

PIPE_WIDTH = 200
"""Columns that a table may take in a file or a pipe; a terminal says its own width."""


def print_json(document: Any) -> None:
    """The one JSON document of a command called with `--json`."""
    click.echo(json_text(document, sys.stdout.encoding or "utf-8"), nl=False)


def schema_option(schema: Callable[[], Any], what: str) -> Callable[[Command], Command]:
    """The option `--schema` of a command: prints the JSON schema of `what` and nothing else."""

    def show(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
        if wanted:
            print_json(schema())
            ctx.exit()

    text = f"Print the JSON schema of {what}, and nothing else."
    return click.option("--schema", is_flag=True, is_eager=True, expose_value=False, callback=show, help=text)


def print_table(header: Sequence[str], rows: Iterable[Sequence[str]], title: str | None = None) -> None:
    """A table on stdout: first column left, the others right."""
    table = Table(title=title, title_justify="left", box=None, pad_edge=False, header_style="bold")
    for index, name in enumerate(header):
        table.add_column(name, justify="left" if index == 0 else "right", overflow="fold")
    for row in rows:
        table.add_row(*row)
    console = Console(soft_wrap=False)
    if not console.is_terminal:
        console.width = PIPE_WIDTH
    wanted = console.measure(table, options=console.options.update(width=10_000)).maximum
    if wanted > console.width:
        click.echo(
            f"note: this table has {wanted} columns and the terminal {console.width}: widen it, or scroll sideways with"
            " | less -S",
            err=True,
        )
    console.print(table)


def betas(values: Sequence[float]) -> str:
    return " ".join(f"{value:g}" for value in values)


class Notes(logging.Handler):
    """Shows the package's warnings as one line each on stderr."""

    def emit(self, record: logging.LogRecord) -> None:
        click.echo(f"note: {' '.join(record.getMessage().split())}", err=True)


def show_notes(*, quiet: bool = False) -> None:
    """Send the logger `schedopt` to stderr, once; where `quiet`, only errors."""
    logger = logging.getLogger("schedopt")
    logger.setLevel(logging.ERROR if quiet else logging.NOTSET)
    if not any(isinstance(handler, Notes) for handler in logger.handlers):
        logger.addHandler(Notes())
        logger.propagate = False

"""The options `--figures DIR` and `--figure-format`, the same for every command that can draw."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from schedopt.cli._paths import PATH

if TYPE_CHECKING:
    from schedopt.view.figures import Charts

Command = Callable[..., Any]


def _writable(_: click.Context, __: click.Parameter, folder: Path | None) -> Path | None:
    """The folder, once it is known that files can be written there: the work before it may take hours."""
    if folder is not None:
        from schedopt.files.writing import check_writable

        check_writable(folder / "figure")
    return folder


def figures(command: Command) -> Command:
    """Adds both options."""
    where = click.option(
        "--figures",
        "folder",
        metavar="DIR",
        type=PATH,
        callback=_writable,
        help="Write the figures into this folder.",
    )
    style = click.option(
        "--figure-format", "style", type=click.Choice(["png", "svg", "pdf"]), default="png", show_default=True
    )
    decorated: Command = where(style(command))
    return decorated


def write(charts: Callable[[], Charts], folder: Path | None, style: str) -> None:
    """Draw `charts` into `folder`, if one is named, and say what was written; drawing libraries load only then."""
    if folder is None:
        return
    from schedopt.view.figures import save_charts

    for path in save_charts(charts(), folder, style):
        click.echo(f"figure: {path}", err=True)

"""The options `--figures DIR` and `--figure-format`, the same for every command that can draw."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from schedopt.cli._paths import PATH

if TYPE_CHECKING:
    from schedopt.view.figures import Figures

Command = Callable[..., Any]


def _writable(_: click.Context, __: click.Parameter, folder: Path | None) -> Path | None:
    """The folder, once it is known that files can be written there: the work before it may take hours."""
    if folder is not None:
        from schedopt.errors import require
        from schedopt.files.writing import check_writable

        require("plotly", "figures need", "report")
        check_writable(folder / "figure")
    return folder


def _drawable(_: click.Context, __: click.Parameter, style: str) -> str:
    if style != "html":
        from schedopt.view.files import check_format

        check_format(style)
    return style


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
        "--figure-format",
        "style",
        type=click.Choice(["html", "png", "svg", "pdf"]),
        default="html",
        show_default=True,
        callback=_drawable,
        help="Images need pip install '.[images]' and Chrome or Chromium.",
    )
    decorated: Command = where(style(command))
    return decorated


def write(figures: Callable[[], Figures], folder: Path | None, style: str) -> None:
    """Draw `figures` into `folder`, if one is named, and say what was written; drawing libraries load only then."""
    if folder is None:
        return
    from schedopt.view.files import save_figures

    for path in save_figures(figures(), folder, style):
        click.echo(f"figure: {path}", err=True)

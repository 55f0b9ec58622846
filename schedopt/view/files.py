"""Figures as files: HTML pages, or images where Kaleido is installed."""

from __future__ import annotations

import importlib
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from schedopt.errors import StudyError
from schedopt.files.writing import write_bytes, write_text
from schedopt.view.figures import Figures, heading
from schedopt.view.report.html import LIBRARY, plotly_js, render
from schedopt.view.report.page import Page, Section

if TYPE_CHECKING:
    import plotly.graph_objects as go

FORMATS = ("html", "png", "svg", "pdf")


def check_format(style: str) -> None:
    """Raise a `StudyError` where figures cannot be written as `style` here."""
    try:
        if style != "html":
            importlib.import_module("kaleido")
    except ImportError:
        raise StudyError(
            f"--figure-format {style}: images need Kaleido: pip install '.[images]'; html needs nothing more"
        ) from None


def save_figures(figures: Figures, folder: Path, style: str = "html") -> list[Path]:
    """Write every figure as `folder`/NAME.`style` (one of `FORMATS`); the files in the order of the figures.

    HTML files share one copy of the drawing library, which lies beside them. Images start a browser once.

    Raises:
        StudyError: a file cannot be written, or images cannot be made here.
    """
    check_format(style)
    written = {folder / f"{name}.{style}": figure for name, figure in figures.items()}
    if style == "html":
        write_text(folder / LIBRARY, plotly_js())
        for path, figure in written.items():
            section = Section("figure", "", figures={path.stem: figure})
            write_text(path, render(Page(heading(figure), "", (section,)), library=LIBRARY))
        return list(written)
    for path, content in zip(written, images(list(figures.values()), style), strict=True):
        write_bytes(path, content)
    return list(written)


def images(figures: Sequence[go.Figure], style: str = "png") -> list[bytes]:
    """The contents of image files; takes seconds, since it starts a browser (once).

    Raises:
        StudyError: Kaleido or its browser is missing.
    """
    check_format(style)
    import kaleido

    with tempfile.TemporaryDirectory(prefix="schedopt-") as folder:
        paths = [Path(folder) / f"{n}.{style}" for n in range(len(figures))]
        jobs = [
            {"fig": figure, "path": path, "opts": {"format": style, **_size(figure, style)}}
            for figure, path in zip(figures, paths, strict=True)
        ]
        try:
            # Without MathJax, which would come from the network.
            kaleido.write_fig_from_object_sync(jobs, kopts={"mathjax": False}, cancel_on_error=True)
            return [path.read_bytes() for path in paths]
        except Exception as error:
            reason = " ".join(str(error).split())[:200] or type(error).__name__
            raise StudyError(
                f"--figure-format {style}: {reason}; images need Chrome or Chromium, html needs nothing more"
            ) from None


def _size(figure: go.Figure, style: str) -> dict[str, float]:
    """Pixels at 96 to an inch, of which a PNG has half as many again in each direction."""
    meta = figure.layout.meta or {}
    width = 700 if meta.get("panels", 1) == 1 else 1100
    return {"width": width, "height": figure.layout.height or 450, "scale": 1.5 if style == "png" else 1}

"""Runs `studies/tour.ipynb`; `python -m tests.tour` stores its outputs, with pictures of the figures beside their data."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

STUDIES = Path(__file__).parents[1] / "studies"
TOUR = STUDIES / "tour.ipynb"
STUDY = STUDIES / "demo-drums.toml"
"""What the notebook reads."""


def read() -> Any:
    return nbformat.read(TOUR, as_version=4)  # type: ignore[no-untyped-call]


def execute(notebook: Any, folder: Path) -> Any:
    """Run all cells of `notebook`, in place, with `folder` as the current one: the database and the cache lie there."""
    shutil.copy(STUDY, folder)
    resources = {"metadata": {"path": str(folder)}}
    return NotebookClient(notebook, timeout=1800, resources=resources).execute()


def main() -> None:
    # Static pages (as on a code host's site) show pictures only.
    os.environ["PLOTLY_RENDERER"] = "plotly_mimetype+png"
    notebook = read()
    with tempfile.TemporaryDirectory() as folder:
        execute(notebook, Path(folder))
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)  # the times of day
    nbformat.write(notebook, TOUR)  # type: ignore[no-untyped-call]


if __name__ == "__main__":
    main()

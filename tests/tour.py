"""Runs `studies/tour.ipynb`; `python -m tests.tour` stores its outputs, with pictures beside the figures."""

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
STUDY = STUDIES / "demo-vocals.toml"
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
        notebook = nbformat.from_dict(_without(folder, notebook))  # type: ignore[no-untyped-call]
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)  # the times of day
        if cell.cell_type == "code":  # without notes of libraries, which hold paths of this machine
            cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
    nbformat.write(notebook, TOUR)  # type: ignore[no-untyped-call]


def _without(folder: str, node: Any) -> Any:
    """`node` with "…" for the temporary folder in its texts."""
    if isinstance(node, dict):
        return {key: _without(folder, value) for key, value in node.items()}
    if isinstance(node, list):
        return [_without(folder, value) for value in node]
    return node.replace(folder, "…") if isinstance(node, str) else node


if __name__ == "__main__":
    main()

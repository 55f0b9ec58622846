"""The notebook runs from top to bottom, in a copy of `studies/`, and is kept without outputs."""

from __future__ import annotations

import shutil
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

STUDIES = Path(__file__).parents[1] / "studies"


# Jupyter's client leaves sockets to the garbage collector.
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_the_tour_runs(tmp_path: Path) -> None:
    shutil.copy(STUDIES / "demo-vocals-linear.toml", tmp_path)
    notebook = nbformat.read(STUDIES / "tour.ipynb", as_version=4)  # type: ignore[no-untyped-call]
    NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(tmp_path)}}).execute()
    printed = "".join(
        output.text
        for cell in notebook.cells
        if cell.cell_type == "code"
        for output in cell.outputs
        if output.output_type == "stream" and output.name == "stdout"
    )
    assert "dB over one pass, on the excerpts that chose it" in printed
    assert '"kind": "schedopt schedule"' in printed
    shown = [
        output.data
        for cell in notebook.cells
        if cell.cell_type == "code"
        for output in cell.outputs
        if "data" in output
    ]
    assert {"application/vnd.plotly.v1+json", "text/html"} <= {kind for data in shown for kind in data}


def test_it_is_kept_without_outputs() -> None:
    notebook = nbformat.read(STUDIES / "tour.ipynb", as_version=4)  # type: ignore[no-untyped-call]
    nbformat.validate(notebook)
    assert all(not cell.outputs and cell.execution_count is None for cell in notebook.cells if cell.cell_type == "code")

"""The notebook runs from top to bottom, in a copy of what it reads, and is kept with the outputs of a whole run."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import nbformat
import pytest

from tests.tour import execute, read

FEWER = {"TRIALS = 16": "TRIALS = 3", "TRACKS = 24": "TRACKS = 2", "data.tracks=12": "data.tracks=2"}
"""What makes the run short; nothing else in it differs."""


def code(notebook: Any) -> list[Any]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def printed(notebook: Any) -> str:
    outputs = [output for cell in code(notebook) for output in cell.outputs]
    return "".join(output.text for output in outputs if output.output_type == "stream" and output.name == "stdout")


def kinds(notebook: Any) -> set[str]:
    return {kind for cell in code(notebook) for output in cell.outputs for kind in output.get("data", {})}


# Jupyter's client leaves sockets to the garbage collector.
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_the_tour_runs(tmp_path: Path) -> None:
    notebook = read()
    for written, fewer in FEWER.items():
        (cell,) = [cell for cell in code(notebook) if written in cell.source]
        cell.source = cell.source.replace(written, fewer)
    execute(notebook, tmp_path)
    assert "dB over one pass, on the excerpts that chose it" in printed(notebook)
    assert '"kind": "schedopt schedule"' in printed(notebook)
    assert {"application/vnd.plotly.v1+json", "text/html"} <= kinds(notebook)


def test_it_is_kept_with_the_outputs_of_a_whole_run() -> None:
    notebook = read()
    nbformat.validate(notebook)
    cells = code(notebook)
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert all(output.output_type != "error" for cell in cells for output in cell.outputs)
    assert all(written in "".join(cell.source for cell in cells) for written in FEWER)
    # Pictures beside the figures' data: pages that run no scripts show them.
    assert {"application/vnd.plotly.v1+json", "image/png"} <= kinds(notebook)
    assert "/tmp" not in printed(notebook)


def test_it_ends_with_a_schedule_that_is_better_on_tracks_that_no_search_has_used() -> None:
    (verdict,) = re.findall("tour, vocals: .*", printed(read()))
    assert re.match(r"tour, vocals: better than one pass \(\+0\.\d+ dB, 95 % interval \+0\.\d+ … \+0\.\d+, p", verdict)
    assert "better than the shift trick at as many passes (+0." in verdict


def test_it_names_what_is_installed() -> None:
    first = read().cells[0].source
    assert "pip install -c constraints.txt '.[report]' notebook" in first

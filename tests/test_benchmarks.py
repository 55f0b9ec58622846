"""The benchmarks that need no long computation run as commands, in small, and write their result file."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

SMALL = {
    "samplers": "--seeds 2 --trials 3 --limit 4 --scores mixed --families linear --samplers prefix-gp --pruners none",
    "stopping": "--seeds 2 --trials 9 --samplers prefix-gp",
    "pruners": "--seeds 2 --trials 3 --scores vocals --families linear --recorded 5",
}


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALL)
def test_the_command_writes_its_result(name: str, tmp_path: Path) -> None:
    """With processes of its own where it has some: they must find what they are sent."""
    path = tmp_path / "result.json"
    command = [sys.executable, "-m", f"benchmarks.{name}", *SMALL[name].split(), "--json", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[1])
    assert done.returncode == 0, done.stderr
    rows = json.loads(path.read_text())["rows"]
    assert rows
    assert done.stdout.count("\n|") >= 2 + len(rows) - 1

"""The benchmarks that need no long computation run as commands, in small, and write their result file."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from benchmarks._models import operations

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


@pytest.mark.parametrize("fused", [True, False])
def test_operations_are_counted_as_by_hand(fused: bool) -> None:
    """PyTorch's fast path for self-attention, and another tensor as key and value, which keeps it off."""
    torch.manual_seed(0)
    layer, convolution = nn.MultiheadAttention(16, 2, batch_first=True).eval(), nn.Conv1d(3, 4, 5)
    x = torch.randn(1, 10, 16)

    def work() -> None:
        convolution(torch.randn(1, 3, 24))
        layer(x, *((x, x) if fused else (x.clone(),) * 2), need_weights=False)

    with torch.inference_mode():
        found = operations(work)
    assert found == {
        "convolutions": 2 * 3 * 4 * 5 * 20,
        "linear layers": 2 * 10 * 16 * 16 * 4,
        "attention": 2 * 10 * 10 * 16 * 2,
    }

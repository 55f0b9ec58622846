"""Peak memory of a study by excerpts, length, workers and store budget: `python -m benchmarks.memory`.

Each row is a `schedopt run` of a few trials in a process of its own on the demo model; its peak resident memory (and
that of its largest worker) is read from the system afterwards.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks._harness import table, write_result

STUDY = """
[study]
name = "memory"
storage = "sqlite:///{folder}/s.db"
trials = {trials}
workers = {workers}
[data]
tracks = {tracks}
excerpts_per_track = {cuts}
excerpt = {seconds}
[search]
pruner = "none"
[store]
memory = {budget}
disk = {disk}
folder = "{folder}/cache"
"""

# Measures its own largest child, so that rows do not see each other's.
MEASURE = "import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL)\n" + (
    "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
)


def peak(**settings: Any) -> float:
    """GiB of the largest process of a run with these settings."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "memory.toml"
        path.write_text(STUDY.format(folder=folder, **settings))
        command = [sys.executable, "-c", MEASURE, sys.executable, "-m", "schedopt", "run", str(path)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
    return int(done.stdout) / 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=2)
    parser.add_argument("--json", type=Path, help="file of the result; default: benchmarks/results/memory.json")
    options = parser.parse_args()
    base = {"trials": options.trials, "workers": 1, "tracks": 8, "cuts": 1, "seconds": 6.0, "budget": 2.0, "disk": 0.0}
    variants: list[dict[str, Any]] = [
        {},
        {"tracks": 32},
        {"tracks": 50, "seconds": 18.0},
        {"workers": 2},
        {"budget": 0.0},
        {"budget": 0.5},
        {"disk": 1.0},
    ]
    rows = []
    for variant in variants:
        settings = {**base, **variant}
        rows.append({**settings, "peak GiB": peak(**settings)})
        print(rows[-1], flush=True)
    print(table(rows))
    write_result("memory", rows, options.json)


if __name__ == "__main__":
    main()

"""A demo study by one worker with one thread, one worker with all, and several workers: `python -m benchmarks.workers`.

Whole `schedopt run` commands on fresh databases, start-up included; no pruning, random sampler, so that all run
the same number of passes but for chance hits.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks._harness import table, write_result


def seconds(workers: int, threads: int, trials: int, tracks: int) -> float:
    """Wall time of one study."""
    with tempfile.TemporaryDirectory() as folder:
        sets = {
            "study.trials": trials,
            "study.workers": workers,
            "study.storage": f"sqlite:///{folder}/s.db",
            "data.tracks": tracks,
            "search.sampler": "random",
            "search.pruner": "none",
            "store.folder": f"{folder}/cache",
        }
        path = Path(folder) / "study.toml"
        path.write_text('[study]\nname = "workers"\n')
        command = [sys.executable, "-m", "schedopt", "run", str(path), "--json"]
        for key, value in sets.items():
            command += ["--set", f"{key}={value}"]
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
        began = time.perf_counter()
        subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=24)
    parser.add_argument("--tracks", type=int, default=6)
    parser.add_argument("--json", type=Path, help="file of the result; default: benchmarks/results/workers.json")
    options = parser.parse_args()
    cores = os.cpu_count() or 1
    rows: list[dict[str, Any]] = []
    for workers, threads in ((1, 1), (1, cores), (cores, 1)):
        took = seconds(workers, threads, options.trials, options.tracks)
        first = rows[0]["seconds"] if rows else took
        rows.append({"workers": workers, "threads each": threads, "seconds": took, "times as fast": first / took})
        print(rows[-1], flush=True)
    print(table(rows))
    write_result("workers", rows, options.json, trials=options.trials, tracks=options.tracks)


if __name__ == "__main__":
    main()

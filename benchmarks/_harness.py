"""What every benchmark needs: the machine in words, results as JSON, tables as text.

A result file holds `name`, `date` (UTC), `command`, `machine`, `versions`, any further facts, and `rows`: one dict a
line of the table, figures unrounded.
"""

from __future__ import annotations

import datetime
import json
import multiprocessing
import os
import platform
import shlex
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

RESULTS = Path(__file__).parent / "results"

PACKAGES = ("schedopt", "torch", "numpy", "scipy", "demucs", "optuna", "mir_eval", "torchmetrics")

Row = Mapping[str, Any]


def machine() -> dict[str, Any]:
    """Processor, cores that this process may use, torch's threads, memory in GiB, graphics card (or None), system."""
    return {
        "cpu": _cpu_model(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "threads": torch.get_num_threads(),
        "memory_gib": _memory_gib(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "system": platform.platform(),
    }


def versions() -> dict[str, str]:
    """Versions of Python and of those of `PACKAGES` that are installed."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def best_of(repeats: int, work: Callable[[], object]) -> float:
    """Seconds of the fastest of `repeats` runs: the one that other processes disturbed least."""
    return min(_seconds(work) for _ in range(repeats))


def seconds_of(work: Callable[[], object]) -> tuple[float, float]:
    """CPU time of this process, which others disturb little, and the time on the clock, for one run of `work`."""
    cpu, wall = time.process_time(), time.perf_counter()
    work()
    return time.process_time() - cpu, time.perf_counter() - wall


def fresh_process() -> ProcessPoolExecutor:
    """A process that has none of the settings that schedopt makes in this one."""
    return ProcessPoolExecutor(1, multiprocessing.get_context("spawn"))


def table(rows: Sequence[Row]) -> str:
    """Rows as a Markdown table, columns in the order of the first row; None is shown as –, floats with 4 digits."""
    if not rows:
        return "(no rows)"
    head = list(rows[0])
    cells = [[name.replace("|", "\\|") for name in head], *([_cell(row.get(name)) for name in head] for row in rows)]
    widths = [max(len(line[column]) for line in cells) for column in range(len(head))]
    lines = [
        "| " + " | ".join(text.rjust(width) for text, width in zip(line, widths, strict=True)) + " |" for line in cells
    ]
    lines.insert(1, "|" + "|".join("-" * (width + 1) + ":" for width in widths) + "|")
    return "\n".join(lines)


def write_result(name: str, rows: Sequence[Row], path: Path | None = None, **facts: Any) -> Path:
    """Writes rows and `facts` to `path` (results/NAME.json) with date, command, machine, versions; returns the path."""
    path = path or RESULTS / f"{name}.json"
    document = {
        "name": name,
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "command": shlex.join(["python", *sys.orig_argv[1:]]),
        "machine": machine(),
        "versions": versions(),
        **facts,
        "rows": [dict(row) for row in rows],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return path


def _seconds(work: Callable[[], object]) -> float:
    return seconds_of(work)[1]


def _cell(value: object) -> str:
    if value is None:
        return "–"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _memory_gib() -> float | None:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    except (AttributeError, ValueError, OSError):
        return None

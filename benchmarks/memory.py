"""Peak memory of a study by excerpts, length, workers and store budget: `python -m benchmarks.memory`.

Each row is a `schedopt run` of a few trials on the demo model, over WAV files. Its processes are looked at
five times a second (Linux's proportional set size: what several share counts once); the largest sum is the peak.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from benchmarks._harness import table, write_result
from schedopt.data import SAMPLE_RATE, load_tracks
from schedopt.types import STEMS

STUDY = """
[study]
name = "memory"
storage = "sqlite:///{folder}/s.db"
trials = {trials}
workers = {workers}
[data]
source = "folder:{music}"
tracks = {tracks}
excerpt = {seconds}
[refinement]
steps = {steps}
[search]
pruner = "none"
[store]
memory = {budget}
disk = 0.0
"""


def write_music(folder: Path, tracks: int, seconds: float) -> None:
    """Tracks of a generated song that goes round and round, each from another place on."""
    (song,) = load_tracks("demo", "search", 1)
    stems = song.read(0, song.seconds).numpy()
    for track in range(tracks):
        place = folder / "search" / f"track-{track:02}"
        place.mkdir(parents=True)
        for name, stem in zip(STEMS, stems, strict=True):
            turned = np.resize(np.roll(stem, 4410 * track, axis=1).T, (round(seconds * SAMPLE_RATE), 2))
            soundfile.write(place / f"{name}.wav", turned, SAMPLE_RATE)


def peak(**settings: Any) -> float:
    """GiB of a run with these settings, all of its processes together."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "memory.toml"
        path.write_text(STUDY.format(folder=folder, **settings))
        command = [sys.executable, "-m", "schedopt", "run", str(path)]
        # A session of its own tells its processes from others.
        with subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        ) as run:
            most = 0
            while run.poll() is None:
                most = max(most, session_memory(run.pid))
                time.sleep(0.2)
        if run.returncode:
            raise subprocess.CalledProcessError(run.returncode, command)
    return most / 2**20


def session_memory(session: int) -> int:
    """KiB of the processes of a session."""
    total = 0
    for entry in Path("/proc").glob("[0-9]*"):
        # Processes end while one looks.
        with contextlib.suppress(OSError):
            if os.getsid(int(entry.name)) == session:
                found = re.search(r"^Pss: +(\d+)", (entry / "smaps_rollup").read_text(), re.MULTILINE)
                total += int(found[1]) if found else 0
    return total


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=2)
    parser.add_argument("--json", type=Path, help="file of the result; default: benchmarks/results/memory.json")
    options = parser.parse_args()
    base = {"trials": options.trials, "steps": 1, "tracks": 8, "seconds": 6.0, "workers": 1, "budget": 2.0}
    large = {"tracks": 50, "seconds": 30.0}
    variants: list[dict[str, Any]] = [
        {},
        {"workers": 2},
        {"tracks": 32},
        {**large, "budget": 0.0},
        large,
        {**large, "workers": 2},
        {**large, "budget": 4.0},
    ]
    rows = []
    with tempfile.TemporaryDirectory() as music:
        write_music(Path(music), 50, 31.0)
        for variant in variants:
            settings = {**base, **variant}
            rows.append({**settings, "peak GiB": peak(music=music, **settings)})
            print(rows[-1], flush=True)
    print(table(rows))
    write_result("memory", rows, options.json)


if __name__ == "__main__":
    main()

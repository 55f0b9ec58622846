"""Peak memory of a study by excerpts, length, workers and store budget: `python -m benchmarks.memory`.

Each row is a `schedopt run` of a few trials in a process of its own on the demo model, over WAV files; the peak
resident memory of its largest process is read from the system afterwards.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
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
disk = {disk}
folder = "{folder}/cache"
"""

# Measures its own largest child, so that rows do not see each other's.
MEASURE = "import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL)\n" + (
    "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
)


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
    base = {"trials": options.trials, "steps": 1, "workers": 1, "tracks": 8, "seconds": 6.0, "budget": 2.0, "disk": 0.0}
    variants: list[dict[str, Any]] = [
        {},
        {"tracks": 32},
        {"workers": 2},
        {"budget": 0.0},
        {"disk": 1.0},
        {"tracks": 50, "seconds": 30.0},
        {"tracks": 50, "seconds": 30.0, "workers": 2},
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

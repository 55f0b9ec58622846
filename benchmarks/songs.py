"""Memory and time of `schedopt separate` on one long song: `python -m benchmarks.songs --minutes 60`.

The song is a generated one repeated; the demo model with its preset schedules refines all four stems. Anonymous
resident memory (Linux's RssAnon: what the kernel cannot drop; scratch files are mapped and do not count) is read five
times a second. The model's own share is that of a song of 10 s, separated the same way.
"""

from __future__ import annotations

import argparse
import contextlib
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


def write_song(path: Path, seconds: float) -> None:
    (track,) = load_tracks("demo", "held-out", 1)
    song = track.read(0, track.seconds).sum(0).numpy().T
    left = round(seconds * SAMPLE_RATE)
    with soundfile.SoundFile(path, "w", SAMPLE_RATE, 2, subtype="PCM_16") as file:
        while left > 0:
            file.write(np.clip(song[:left], -1, 1))
            left -= len(song)


def separated(folder: Path, seconds: float, schedule: str) -> tuple[float, float]:
    """Peak of RssAnon in MiB, and seconds, of one song."""
    song = folder / f"{seconds:g}.flac"
    write_song(song, seconds)
    command = [sys.executable, "-m", "schedopt", "separate", str(song), "--schedule", schedule, "-o", str(folder)]
    began, peak = time.monotonic(), 0
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as run:
        while run.poll() is None:
            with contextlib.suppress(OSError):
                found = re.search(r"RssAnon:\s+(\d+)", Path(f"/proc/{run.pid}/status").read_text())
                peak = max(peak, int(found[1]) if found else 0)
            time.sleep(0.2)
    if run.returncode:
        raise subprocess.CalledProcessError(run.returncode, command)
    return peak / 1024, time.monotonic() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, nargs="+", default=[4.0, 60.0])
    parser.add_argument("--schedule", default="demo", help="preset or schedule file")
    parser.add_argument("--json", type=Path, help="file of the result; default: benchmarks/results/songs.json")
    options = parser.parse_args()
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        base, _ = separated(Path(folder), 10.0, options.schedule)
        for minutes in options.minutes:
            peak, seconds = separated(Path(folder), 60 * minutes, options.schedule)
            rows.append({"minutes": minutes, "peak MiB": peak, "above 10 s MiB": peak - base, "seconds": seconds})
            print(rows[-1], flush=True)
    print(table(rows))
    write_result("songs", rows, options.json)


if __name__ == "__main__":
    main()

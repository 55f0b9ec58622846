"""How long an excerpt should be: `python -m benchmarks.excerpts`.

Gains over one pass of some schedules on excerpts of the demo's search tracks, against those on the whole tracks.

htdemucs always separates a whole segment of 7.8 s: excerpts of up to 7.3 s, which leave room for a shift of 0.5 s, cost
it the same pass. Other models' passes, the demo's too, grow with the length.

Columns: length; htdemucs segments a pass; spread: standard deviation over tracks of a schedule's gain (root mean
square over schedules), dB; error: root mean square difference of a track's gain from that on the whole track, dB;
tracks: how many give a mean gain that is as sure as that of 10 tracks at 5.3 s; bias: mean over tracks and schedules
of the gain less that on whole tracks, dB.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks._harness import table, write_result
from schedopt.data import cut_excerpts, load_tracks
from schedopt.evaluation import Evaluator
from schedopt.refinement import Refinement
from schedopt.schedules import Schedule, family
from schedopt.separators import Separator, load_separator
from schedopt.store import Store
from schedopt.types import STEMS, ExcerptLength

SEGMENT, SHIFT = 7.8, 0.5
"""htdemucs's segment and Demucs' longest shift, seconds."""

SHORT = 5.3
LENGTHS: tuple[ExcerptLength, ...] = (3.0, SHORT, SEGMENT - SHIFT, "track")
STEPS = 4
ENDS = ((0.5, 0.1), (0.5, 0.5), (0.2, 0.8))
"""Start and end of the linear schedules whose gains are compared."""


def schedules() -> list[Schedule]:
    made = family("linear", STEPS)
    return [made.make({"start": start, "end": end}) for start, end in ENDS]


Gains = dict[str, NDArray[np.float64]]
"""Track → gain over one pass of each schedule, dB."""


def gains(separator: Separator, stems: Sequence[str], length: ExcerptLength, tracks: int) -> dict[str, Gains]:
    """By stem. Costs at most 1 + 4 · 3 passes a stem and track, the first for all stems together."""
    found: dict[str, Gains] = {stem: {} for stem in stems}
    for track in load_tracks("demo", "search", tracks):
        (excerpt,) = cut_excerpts([track], length)
        store = Store()
        for stem in excerpt.audible & set(stems):
            evaluator = Evaluator(separator, [excerpt], Refinement(stem), store=store, shared_stems=tuple(stems))
            scores = np.stack([evaluator.scores(betas)[0] for betas in schedules()])
            found[stem][track.name] = scores[:, -1] - scores[:, 0]
    return found


def rows_of(stem: str, by_length: dict[ExcerptLength, Gains]) -> list[dict[str, Any]]:
    shared = sorted(set.intersection(*(set(found) for found in by_length.values())))
    of = {length: np.stack([found[name] for name in shared]) for length, found in by_length.items()}
    spread = {length: math.sqrt(found.var(axis=0, ddof=1).mean()) for length, found in of.items()}
    whole = of["track"]
    return [
        {
            "target": stem,
            "excerpt s": length,
            "segments": math.ceil((length + SHIFT) / SEGMENT) if isinstance(length, float) else None,
            "searched": len(shared),
            "spread": round(spread[length], 4),
            "error": round(float(np.sqrt(((found - whole) ** 2).mean())), 4),
            "tracks": round(10 * (spread[length] / spread[SHORT]) ** 2, 1),
            "bias": round(float((found - whole).mean()), 4),
        }
        for length, found in of.items()
    ]


def measure(stems: Sequence[str], tracks: int) -> list[dict[str, Any]]:
    separator = load_separator("demo", device="cpu")
    found = {length: gains(separator, stems, length, tracks) for length in LENGTHS}
    return [row for stem in stems for row in rows_of(stem, {length: found[length][stem] for length in LENGTHS})]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--targets", nargs="+", default=list(STEMS), choices=STEMS)
    parser.add_argument("--tracks", type=int, default=24)
    parser.add_argument("--json", type=Path, help="file of the result; default: benchmarks/results/excerpts.json")
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = measure(options.targets, options.tracks)
    write_result("excerpts", rows, options.json)
    print(table(rows))


if __name__ == "__main__":
    main()

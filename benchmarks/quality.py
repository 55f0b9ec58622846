"""What the self-remix score of `schedopt separate --quality` says of the true SI-SDR.

Whole demo songs are separated by the plain pass and by the preset `demo`. On search tracks a line is fitted for each
stem (true SI-SDR = intercept + slope · score, least squares) with the half width of its interval: the quantile of the
absolute residuals that each track has from the line fitted on the others, with the correction of conformal prediction
for the number of tracks. On held-out tracks, which nothing was fitted on, the table shows

    ρ           Spearman's rank correlation of score and true SI-SDR, with its 95 % interval (Fisher's z)
    covered %   of the tracks whose true SI-SDR lies within the interval (80 % are aimed at); `none`: tracks outside the
                calibrated scores, which get no interval
    ±dB         half the interval's width, and that of one which does not look at the score (same method, slope 0)

Costs 2 passes of all stems a track, and 18 of one stem for the preset. What was measured is kept in --raw as it comes.

    python -m benchmarks.quality --write     # also replaces the calibration in the package
"""

from __future__ import annotations

import argparse
import datetime
import json
import math
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import scipy.stats
from numpy.typing import NDArray

from benchmarks._harness import Row, table, versions, write_result
from schedopt.data import Split, load_tracks, mix
from schedopt.files.presets import open_schedule
from schedopt.files.schedule_file import Entry
from schedopt.files.writing import json_text
from schedopt.metrics import si_sdr
from schedopt.separators import Separator, load_separator
from schedopt.songs.quality import CALIBRATION, COVERAGE, Line, how, quality
from schedopt.songs.refining import SongPasses, separate, stems_to_estimate
from schedopt.types import STEMS, Track

SONGS = "generated demo songs of 20 s"
WAYS = ("plain pass", "preset demo")

Array = NDArray[np.float64]


def entries_of(way: str) -> dict[str, Entry]:
    """The schedules of one of `WAYS`, by stem."""
    return {} if way == "plain pass" else open_schedule("demo").entries()


def measure(separator: Separator, track: Track, entries: Mapping[str, Entry]) -> dict[str, dict[str, float | None]]:
    """By stem that sounds: self-remix score, and true SI-SDR; dB."""
    references = track.read(0.0, track.seconds)
    mixture = mix(references)
    needed = stems_to_estimate(separator, entries, separator.stems)
    estimates = dict(separate(SongPasses(separator, mixture, needed), entries, separator.stems))
    found = quality(separator, mixture, estimates, entries)
    return {
        stem: {
            "score": found[stem].self_remix,
            "true": float(si_sdr(references[track.stems.index(stem)], estimates[stem])),
        }
        for stem in separator.stems
        if references[track.stems.index(stem)].any()
    }


def measured(raw: Path, wanted: Mapping[str, Mapping[Split, int]]) -> list[dict[str, Any]]:
    """All rows, a way, track and stem each; those that are missing are measured and added to the file."""
    rows = [json.loads(line) for line in raw.read_text().splitlines()] if raw.exists() else []
    done = {(row["way"], row["track"]) for row in rows}
    separator = load_separator("demo", device="cpu", precision="float32")
    raw.parent.mkdir(parents=True, exist_ok=True)
    for way, splits in wanted.items():
        for split, count in splits.items():
            for track in load_tracks("demo", split, count):
                if (way, track.name) not in done:
                    facts = {"way": way, "split": split, "track": track.name, "how": how(entries_of(way))}
                    new = [
                        {**facts, "stem": stem, **scores}
                        for stem, scores in measure(separator, track, entries_of(way)).items()
                    ]
                    with raw.open("a") as file:
                        file.write("".join(json.dumps(row) + "\n" for row in new))
                    rows += new
                    print(f"{way}: {track.name}", flush=True)
    return rows


def pairs(rows: Sequence[Row], way: str, split: Split, stem: str, count: int) -> Array:
    """(tracks, 2): score and true SI-SDR of the first `count` tracks, where both are known."""
    names = [track.name for track in load_tracks("demo", split, count)]
    chosen = [row for row in rows if (row["way"], row["split"], row["stem"]) == (way, split, stem)]
    kept = [(row["score"], row["true"]) for row in chosen if row["track"] in names and row["score"] is not None]
    return np.array(kept, dtype=np.float64)


def fitted(points: Array, *, with_score: bool = True) -> Line:
    """The line through (tracks, 2), with the half width of its interval."""
    x, y = points.T
    slope, intercept = _least_squares(x, y, with_score=with_score)
    residuals = []
    for left_out in range(len(x)):
        others = np.arange(len(x)) != left_out
        b, a = _least_squares(x[others], y[others], with_score=with_score)
        residuals.append(abs(y[left_out] - a - b * x[left_out]))
    rank = min(len(x), math.ceil((len(x) + 1) * COVERAGE))
    return Line(intercept, slope, float(np.sort(residuals)[rank - 1]), float(x.min()), float(x.max()), len(x))


def _least_squares(x: Array, y: Array, *, with_score: bool) -> tuple[float, float]:
    if not with_score:
        return 0.0, float(y.mean())
    slope, intercept = np.polyfit(x, y, 1)
    return float(slope), float(intercept)


def report(rows: Sequence[Row], wanted: Mapping[str, Mapping[Split, int]]) -> Iterator[dict[str, Any]]:
    """A line of the table for each way and stem."""
    for way, counts in wanted.items():
        for stem in STEMS:
            search = pairs(rows, way, "search", stem, counts["search"])
            fresh = pairs(rows, way, "held-out", stem, counts["held-out"])
            line, blind = fitted(search), fitted(search, with_score=False)
            rho = float(scipy.stats.spearmanr(fresh[:, 0], fresh[:, 1]).statistic)
            low, high = np.tanh(np.arctanh(rho) + np.array([-1, 1]) * 1.96 / np.sqrt(len(fresh) - 3))
            judged = [(line.quality(score, SONGS).interval, true) for score, true in fresh]
            inside = [interval[0] <= true <= interval[1] for interval, true in judged if interval is not None]
            yield {
                "way": way,
                "stem": stem,
                "search tracks": len(search),
                "held-out tracks": len(fresh),
                "ρ": f"{rho:.2f} [{low:.2f}, {high:.2f}]",
                "covered %": round(100 * float(np.mean(inside)), 1),
                "none": len(fresh) - len(inside),
                "±dB": round(line.half_width, 2),
                "±dB without": round(blind.half_width, 2),
            }


def calibrations(rows: Sequence[Row], wanted: Mapping[str, Mapping[Split, int]]) -> list[dict[str, Any]]:
    """What `schedopt.songs.quality` reads."""
    separator = load_separator("demo", device="cpu", precision="float32")
    return [
        {
            "model": separator.name,
            "fingerprint": separator.fingerprint,
            "weights": separator.weights,
            "way": way,
            "how": how(entries_of(way)),
            "songs": SONGS,
            "stems": {stem: vars(fitted(pairs(rows, way, "search", stem, counts["search"]))) for stem in STEMS},
        }
        for way, counts in wanted.items()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--search", type=int, nargs=2, default=[48, 0], help="search tracks, plain and preset (0: none)"
    )
    parser.add_argument("--held-out", type=int, nargs=2, default=[48, 0], help="held-out tracks, likewise")
    parser.add_argument("--raw", type=Path, default=Path("build/quality.jsonl"), help="scores, kept as they come")
    parser.add_argument("--json", type=Path, nargs="?", const=Path(), help="keep the result (default results/)")
    parser.add_argument("--write", action="store_true", help="replace the calibration in the package")
    arguments = parser.parse_args()
    wanted: dict[str, dict[Split, int]] = {
        way: {"search": search, "held-out": held_out}
        for way, search, held_out in zip(WAYS, arguments.search, arguments.held_out, strict=True)
        if search
    }
    rows = measured(arguments.raw, wanted)
    lines = list(report(rows, wanted))
    print(table(lines))
    facts = {"coverage": COVERAGE, "songs": SONGS}
    if arguments.write:
        made = {
            "kind": "schedopt quality calibration",
            "created": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
            "command": shlex.join(["python", *sys.orig_argv[1:]]),
            "versions": versions(),
            **facts,
        }
        Path(str(CALIBRATION)).write_text(json_text({**made, "calibrations": calibrations(rows, wanted)}), "utf-8")
        print(f"\nwritten: {CALIBRATION}")
    if arguments.json is not None:
        path = arguments.json if arguments.json.name else None
        print(f"\nwritten: {write_result('quality', lines, path, **facts)}")


if __name__ == "__main__":
    main()

"""Which outputs pay on tracks that were not searched on: `python -m benchmarks.outputs`.

Over the same passes (three steps with β = 0, each shifted: the shift trick) every output of the registry makes an
estimate of each stem of the demo's held-out tracks. Mixers have the weights that a study of this one schedule finds on
search tracks (`schedopt.search.mixing`); `left-out gain` is what the study says of them: SDR over the shift trick, dB
± standard error over tracks, each under weights that were fitted on the others.

Gains are over the shift trick (output `mean`) at as many passes, in dB, with the 95 % interval of
`schedopt.proof.statistics` over tracks, corrected for the comparisons of one metric.

Fits and scores are kept one by one: the same command goes on where it stopped.
"""

from __future__ import annotations

import argparse
import itertools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from benchmarks._harness import table, write_result
from schedopt.data import cut_excerpts, load_tracks
from schedopt.evaluation import Evaluator
from schedopt.metrics import scorer
from schedopt.outputs import OUTPUTS, Weights
from schedopt.proof.statistics import Comparison, compare
from schedopt.refinement import Refinement
from schedopt.search.mixing import mixed
from schedopt.separators import Separator, load_separator
from schedopt.store import Store
from schedopt.types import STEMS, Excerpt

STEPS = 3
ZEROS = (0.0,) * STEPS
SECONDS = 5.3
METRICS = ("sdr", "si_sdr", "snr")
BASE = "mean"
STORE = Store(budget=3 * 2**30)

Scores = dict[str, dict[str, dict[str, dict[str, float]]]]
"""Track → stem → output → metric → dB."""


def refinement(stem: str, output: str, weights: Weights | None = None) -> Refinement:
    return Refinement(stem, output=output, shift=True, weights=weights)


def evaluator(separator: Separator, music: Sequence[Excerpt], stem: str, output: str, metric: str) -> Evaluator:
    return Evaluator(separator, music, refinement(stem, output), metric=metric, store=STORE, shared_stems=STEMS)


def fit(separator: Separator, raw: Path, tracks: int) -> list[dict[str, Any]]:
    """For each mixer and stem the weights (None: the mean is as good) and the left-out gains on search tracks.

    Costs four passes a track, none for what `raw` has.
    """
    found: list[dict[str, Any]] = json.loads(raw.read_text()) if raw.exists() else []
    music: Sequence[Excerpt] = []
    for name, stem in itertools.product([name for name in OUTPUTS if OUTPUTS.find(name).bands], STEMS):
        if any(row["output"] == name and row["stem"] == stem and row["search"] == tracks for row in found):
            continue
        music = music or cut_excerpts(load_tracks("demo", "search", tracks), SECONDS)
        one = evaluator(separator, music, stem, name, METRICS[0])
        scores = one.scores(ZEROS)
        made = mixed(one.refinement, one, ZEROS, scores, [STEPS])
        gains = (made.scores - scores)[:, STEPS]
        found.append({
            "output": name,
            "stem": stem,
            "search": tracks,
            "tracks": len(gains),
            "gain": float(gains.mean()),
            "error": float(gains.std(ddof=1) / np.sqrt(len(gains))),
            "weights": made.weights[STEPS],
        })  # fmt: skip
        raw.parent.mkdir(parents=True, exist_ok=True)
        raw.write_text(json.dumps(found))
        print("fitted", name, stem, flush=True)
    return [row for row in found if row["search"] == tracks]


def scored(
    separator: Separator, raw: Path, tracks: slice, fits: Sequence[Mapping[str, Any]], length: float | Literal["track"]
) -> Scores:
    """Every output on these held-out tracks; what `raw` has of the same weights is not scored again."""
    weights = {f"{row['output']} {row['stem']}": row["weights"] for row in fits}
    kept: dict[str, Any] = json.loads(raw.read_text()) if raw.exists() else {"weights": {}, "scores": {}}
    same = {key for key, rows in weights.items() if kept["weights"].get(key) == rows}
    found: Scores = {
        track: {
            stem: {o: one for o, one in by.items() if f"{o} {stem}" in same or not OUTPUTS.find(o).bands}
            for stem, by in by_stem.items()
        }
        for track, by_stem in kept["scores"].items()
    }
    wanted = load_tracks("demo", "held-out")[tracks]
    for track in wanted:
        if track.name in found and all(by.keys() == OUTPUTS.keys() for by in found[track.name].values()):
            continue
        for excerpt in cut_excerpts([track], length):
            for stem in sorted(excerpt.audible):
                there = found.setdefault(track.name, {}).setdefault(stem, {})
                there |= _scores(separator, excerpt, stem, weights, [name for name in OUTPUTS if name not in there])
        raw.write_text(json.dumps({"weights": weights, "scores": found}))
        print("scored", track.name, flush=True)
    return {track.name: found[track.name] for track in wanted}


def _scores(
    separator: Separator, excerpt: Excerpt, stem: str, weights: Mapping[str, Any], outputs: Sequence[str]
) -> dict[str, dict[str, float]]:
    """Output → metric → dB, of one stem of an excerpt."""
    one, made = evaluator(separator, [excerpt], stem, BASE, METRICS[0]), {}
    scores = {metric: scorer(metric, one.tasks[0].reference) for metric in METRICS}
    for name in outputs:
        rows = weights.get(f"{name} {stem}")
        how = refinement(stem, name, None if rows is None else tuple(map(tuple, rows)))
        *_, last = one.states(ZEROS, 0, refinement=how)
        estimate = last.output()
        made[name] = {metric: float(score(estimate)) for metric, score in scores.items()}
    return made


def gains_table(scores: Scores) -> list[dict[str, Any]]:
    """Gain of each output over the mean, by metric and stem, and of the mean over the stems of each track."""
    rows = []
    for metric in METRICS:
        names, differences = [], []
        for output in OUTPUTS:
            if output == BASE:
                continue
            by_stem = {
                stem: {
                    track: by[stem][output][metric] - by[stem][BASE][metric]
                    for track, by in scores.items()
                    if stem in by
                }
                for stem in STEMS
            }
            whole = [track for track, by in scores.items() if len(by) == len(STEMS)]
            by_stem["mean of stems"] = {
                track: float(np.mean([by_stem[stem][track] for stem in STEMS])) for track in whole
            }
            names += [(output, stem) for stem in by_stem]
            differences += list(by_stem.values())
        made = compare(differences, np.random.default_rng(0))
        rows += [_row(output, stem, metric, one) for (output, stem), one in zip(names, made, strict=True)]
    return rows


def _row(output: str, stem: str, metric: str, one: Comparison) -> dict[str, Any]:
    return {
        "output": output,
        "metric": metric,
        "stem": stem,
        "tracks": one.tracks,
        "gain": round(one.mean, 4),
        "low": None if one.low is None else round(one.low, 4),
        "high": None if one.high is None else round(one.high, 4),
        "verdict": one.verdict,
    }


def wide(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """A line for each output and metric, a column for each stem."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for row in rows:
        line = found.setdefault((row["output"], row["metric"]), {"output": row["output"], "metric": row["metric"]})
        interval = "" if row["low"] is None else f" [{row['low']:+.3f}, {row['high']:+.3f}]"
        line[row["stem"]] = f"{row['gain']:+.3f}{interval}"
    return [found[key] for key in sorted(found, key=lambda key: (list(OUTPUTS).index(key[0]), METRICS.index(key[1])))]


def fits_table(fits: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    return [
        {
            "output": row["output"],
            "stem": row["stem"],
            "search tracks": row["tracks"],
            "left-out gain": f"{row['gain']:+.3f} ± {row['error']:.3f}",
            "kept": "mean" if row["weights"] is None else "weights",
        }
        for row in fits
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--search", type=int, default=40, help="search tracks to fit on (default 40; 4 passes each)")
    parser.add_argument("--held-out", type=int, default=64, help="held-out tracks (default 64; 4 passes each)")
    parser.add_argument("--skip", type=int, default=0, help="held-out tracks to leave out first (default 0)")
    parser.add_argument("--whole", action="store_true", help="score whole held-out songs (20 s) instead of excerpts")
    parser.add_argument("--raw", type=Path, default=Path("build/outputs"), help="folder of what is kept on the way")
    parser.add_argument("--json", type=Path, nargs="?", const=Path(), help="keep the result (default results/)")
    options = parser.parse_args()
    torch.set_num_threads(1)
    separator = load_separator("demo", device="cpu", precision="float32")
    fits = fit(separator, options.raw / "search.json", options.search)
    print(table(fits_table(fits)), flush=True)
    tracks = slice(options.skip, options.held_out)
    length: float | Literal["track"] = "track" if options.whole else SECONDS
    scores = scored(separator, options.raw / f"held-out{'-whole' * options.whole}.json", tracks, fits, length)
    gains = gains_table(scores)
    print("", table(wide(gains)), sep="\n")
    if options.json is not None:
        facts: dict[str, Any] = {"steps": STEPS, "seconds": length, "fits": fits, "gains": gains, "scores": scores}
        path = write_result("outputs", wide(gains), options.json if options.json.name else None, **facts)
        print(f"\nwritten: {path}")


if __name__ == "__main__":
    main()

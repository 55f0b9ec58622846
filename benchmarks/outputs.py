"""Which outputs pay on tracks that were not searched on: `python -m benchmarks.outputs`.

Over the same passes (three steps with β = 0, each shifted: the shift trick) every output of the registry makes an estimate
of each stem of the demo's held-out tracks. Mixers have the weights that `schedopt.search.mixing` fits on search
tracks, from recorded inner products. Gains are over the shift trick (output `mean`) at as many passes, in dB, with the
95 % interval of `schedopt.proof.statistics` over tracks, corrected for the comparisons of one metric; `left out` is what
the search itself says of the gain in the metric: each search track under weights that were fitted on the others.

Recordings and scores are kept track by track: the same command goes on where it stopped.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks._harness import table, write_result
from schedopt.data import cut_excerpts, load_tracks
from schedopt.evaluation import Evaluator
from schedopt.outputs import OUTPUTS, Weights
from schedopt.proof.statistics import Comparison, compare
from schedopt.refinement import Refinement
from schedopt.search.mixing import Products, Tracks, as_rows, fitted, left_out, products_of
from schedopt.separators import Separator, load_separator
from schedopt.store import Store
from schedopt.types import STEMS, Excerpt

STEPS = 3
ZEROS = (0.0,) * STEPS
SECONDS = 5.3
METRICS = ("sdr", "si_sdr", "snr")
BASE = "mean"
RECORDED = "mixer-bands"
"""The richest mixer: inner products of the others are sums of its own."""

Scores = dict[str, dict[str, dict[str, dict[str, float]]]]
"""Track → stem → output → metric → dB."""


def refinement(stem: str, output: str, weights: Weights | None = None) -> Refinement:
    return Refinement(stem, output=output, shift=True, weights=weights)


def evaluator(separator: Separator, excerpt: Excerpt, stem: str, store: Store, metric: str = "snr") -> Evaluator:
    how = refinement(stem, BASE if metric != "snr" else RECORDED)
    return Evaluator(separator, [excerpt], how, metric=metric, store=store, shared_stems=separator.stems)


def excerpts(split: str, tracks: int, done: Sequence[str]) -> Iterator[Excerpt]:
    """One excerpt of each of the first `tracks` tracks that is not `done`."""
    for track in load_tracks("demo", split, tracks):  # type: ignore[arg-type]
        if track.name not in done:
            yield from cut_excerpts([track], SECONDS)


def record(separator: Separator, folder: Path, tracks: int) -> None:
    """Inner products of the shift trick's passes over search tracks, a file each. Costs four passes a track."""
    folder.mkdir(parents=True, exist_ok=True)
    for excerpt in excerpts("search", tracks, [path.stem for path in folder.glob("*.npz")]):
        store, found = Store(), dict[str, Any]()
        for stem in sorted(excerpt.audible):
            made = products_of(evaluator(separator, excerpt, stem, store), ZEROS, 0, OUTPUTS.find(RECORDED).bands)
            found |= {f"{stem} {name}": value for name, value in dataclasses.asdict(made).items()}
        np.savez_compressed(folder / "part", **found)
        (folder / "part.npz").rename(folder / f"{excerpt.track}.npz")
        print("recorded", excerpt.track, flush=True)


def recorded(folder: Path, tracks: int, stem: str, bands: int) -> tuple[list[Products], list[str]]:
    """Those of the tracks in which the stem sounds, in one band or in all, and their names."""
    found, names = [], []
    for track in load_tracks("demo", "search", tracks):
        with np.load(folder / f"{track.name}.npz") as file:
            if f"{stem} gram" in file:
                fields = {field.name: file[f"{stem} {field.name}"] for field in dataclasses.fields(Products)}
                made = Products(**{k: v if v.ndim else v.item() for k, v in fields.items()})
                found.append(made if bands > 1 else in_one_band(made))
                names.append(track.name)
    return found, names


def in_one_band(products: Products) -> Products:
    """The bands add up to the signal."""
    return dataclasses.replace(
        products,
        gram=products.gram.sum(axis=(2, 5), keepdims=True),
        cross=products.cross.sum(axis=2, keepdims=True),
        ones=products.ones.sum(axis=2, keepdims=True),
    )


def fit(folder: Path, tracks: int) -> tuple[dict[str, dict[str, Weights]], list[dict[str, Any]]]:
    """Output → stem → weights (none where the mean is as good), and the left-out gains on the search tracks."""
    found: dict[str, dict[str, Weights]] = {}
    rows = []
    for name in OUTPUTS:
        bands = OUTPUTS.find(name).bands
        for stem in STEMS if bands else ():
            data = Tracks.of(*recorded(folder, tracks, stem, bands), STEPS)
            weights = fitted(data)
            if not np.array_equal(weights, data.start):
                found.setdefault(name, {})[stem] = as_rows(weights, bands)
            # One track at a time under its own weights: the diagonal.
            gains = np.diagonal(data.gains(left_out(data)), axis1=1, axis2=2)
            error = gains.std(axis=1, ddof=1) / np.sqrt(len(data))
            row: dict[str, Any] = {"output": name, "stem": stem, "tracks": len(data)}
            for metric, value, doubt in zip(("SNR", "SI-SDR"), gains.mean(axis=1), error, strict=True):
                row[f"left out {metric}"] = f"{value:+.3f} ± {doubt:.3f}"
            rows.append(row | {"weights": "mean" if np.array_equal(weights, data.start) else "own"})
    return found, rows


def score(separator: Separator, raw: Path, tracks: int, weights: Mapping[str, Mapping[str, Weights]]) -> Scores:
    """Every output on held-out tracks; those that `raw` has of these weights are not scored again."""
    key = json.dumps(weights, sort_keys=True)
    kept = json.loads(raw.read_text()) if raw.exists() else {}
    found: Scores = kept["scores"] if kept.get("weights") == key else {}
    for excerpt in excerpts("held-out", tracks, list(found)):
        store = Store()
        found[excerpt.track] = {}
        for stem in sorted(excerpt.audible):
            by_output: dict[str, dict[str, float]] = {}
            for metric in METRICS:
                one = evaluator(separator, excerpt, stem, store, metric)
                for name in OUTPUTS:
                    how = refinement(stem, name, weights.get(name, {}).get(stem))
                    value = float(one.scores(ZEROS, every_step=False, refinement=how)[0, 0])
                    by_output.setdefault(name, {})[metric] = value
            found[excerpt.track][stem] = by_output
        raw.write_text(json.dumps({"weights": key, "scores": found}))
        print("scored", excerpt.track, flush=True)
    return found


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
        line = found.setdefault(
            (row["output"], row["metric"]), {"output": row["output"], "metric": row["metric"]}
        )
        interval = "" if row["low"] is None else f" [{row['low']:+.3f}, {row['high']:+.3f}]"
        line[row["stem"]] = f"{row['gain']:+.3f}{interval}"
    return [found[key] for key in sorted(found, key=lambda key: (list(OUTPUTS).index(key[0]), METRICS.index(key[1])))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--search", type=int, default=40, help="search tracks to fit on (default 40; 4 passes each)")
    parser.add_argument("--held-out", type=int, default=48, help="held-out tracks (default 48; 4 passes each)")
    parser.add_argument("--raw", type=Path, default=Path("build/outputs"), help="folder of recordings and scores")
    parser.add_argument("--json", type=Path, nargs="?", const=Path(), help="keep the result (default results/)")
    options = parser.parse_args()
    torch.set_num_threads(1)
    separator = load_separator("demo", device="cpu", precision="float32")
    record(separator, options.raw, options.search)
    weights, search = fit(options.raw, options.search)
    print(table(search))
    scores = score(separator, options.raw / "held-out.json", options.held_out, weights)
    rows = gains_table(scores)
    print("", table(wide(rows)), sep="\n")
    if options.json is not None:
        facts: dict[str, Any] = {"steps": STEPS, "seconds": SECONDS, "search": search, "weights": weights}
        path = write_result("outputs", rows, options.json if options.json.name else None, scores=scores, **facts)
        print(f"\nwritten: {path}")


if __name__ == "__main__":
    main()

"""A benchmark whose scores are drawn at random: everything but the separating is real."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from schedopt.files.benchmark_file import BenchmarkFile, read_benchmark
from schedopt.files.schedule_file import ScheduleFile
from schedopt.proof.benchmark import Benchmark, ExcerptScores, Music, Options
from schedopt.proof.findings import document
from schedopt.proof.methods import compared
from tests.models import noise_excerpt

TRACKS = 8


def made_document(*, tracks: int = TRACKS, ceilings: bool = True, metric: str = "sdr") -> dict[str, Any]:
    """Two files, vocals twice and bass once; the last track is silent in bass."""
    entries: list[dict[str, Any]] = [
        {"vocals": {"rule": "remix", "betas": [0.3, 0.6]}, "bass": {"rule": "remix", "betas": [0.5]}},
        {"vocals": {"rule": "resum", "betas": [0.1, 0.2]}},
    ]
    files = {
        f"{name}.schedule.json": ScheduleFile.model_validate_json(
            json.dumps({"format": 1, "kind": "schedopt schedule", "model": {"model": "x"}, "schedules": schedules})
        )
        for name, schedules in zip(("<b>ours", "other"), entries, strict=True)
    }
    silent = {tracks - 1: ("bass",)}
    bench = Benchmark(
        Music("folder:<i>music</i>", 0.1, 1),
        "x",
        "0" * 16,
        0.25,
        metric,
        compared(files, ceilings=ceilings),
        [noise_excerpt(seed, 0.1, silent.get(seed, ())) for seed in range(tracks)],
        Options(),
    )
    rng = np.random.default_rng(0)
    for excerpt in bench.excerpts:
        for stem in bench.stems:
            start = rng.normal(6, 2)
            for method in bench.methods:
                if stem in method.settings and stem in excerpt.audible:
                    count = len(method.settings[stem].betas)
                    scores = start + np.cumsum([0, *rng.normal(0.1, 0.2, count)])
                    scored = ExcerptScores(excerpt.track, {"sdr": scores, "si_sdr": scores / 2, "snr": scores + 1})
                    bench.scores.setdefault((method.name, stem), []).append(scored)
    return document(bench)


def made_benchmark(**options: Any) -> BenchmarkFile:
    return read_benchmark(json.loads(json.dumps(made_document(**options))))

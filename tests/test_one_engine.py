"""A study on whole tracks, the benchmark and `separate` are one engine: the same schedule and track, the same score."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from schedopt.cli import call
from schedopt.config import load_config
from schedopt.data import mix
from schedopt.files.schedule_file import load_schedule_file
from schedopt.metrics import sdr
from schedopt.proof.benchmark import Options, benchmark
from schedopt.search.prepared import PreparedSearch
from tests.models import RATE
from tests.proof.schedules import write_bench, write_schedule
from tests.studies import write_study

BETAS = {
    "vocals": {"betas": [0.5, 0.3], "shift": True, "output": "mean"},
    "bass": {"betas": [0.4], "rule": "unmix", "residual": 0.25},
}


@pytest.mark.parametrize("stem", list(BETAS))
def test_study_benchmark_and_separate_agree(stem: str, tmp_path: Path) -> None:
    write_bench(tmp_path, tracks=2)
    path = write_schedule(tmp_path, "one", **{stem: BETAS[stem]})
    file = load_schedule_file(path)
    entry = file.schedules[stem]

    bench = benchmark({"one": file}, Options(device="cpu", against=(), tracks=2))
    by_benchmark = {heard.track: float(heard.by_step["sdr"][-1]) for heard in bench.scores[bench.methods[1].name, stem]}
    assert bench.music.excerpt == "track"

    options = {key: value for key, value in BETAS[stem].items() if key != "betas"}
    study = write_study(
        tmp_path,
        data={"source": bench.music.source, "excerpt": "track"},
        separator={"model": file.model.model},
        refinement={
            "target": stem,
            **options,
            "steps": len(entry.betas),
        },
    )
    study_search = PreparedSearch.prepare(load_config(study), split="held-out")
    (evaluator,) = study_search.objective(stem).evaluators
    by_study = dict(zip(evaluator.tracks, evaluator.scores(entry.betas)[:, -1].tolist(), strict=True))

    for task in evaluator.tasks:
        excerpt = task.excerpt
        song = tmp_path / f"{excerpt.track}.wav"
        soundfile.write(song, mix(excerpt.references).numpy().T, RATE, subtype="FLOAT")
        command = ["separate", str(song), "--schedule", str(path), "-o", str(tmp_path / "out"), "--float32"]
        assert call([*command, "--two-stems", stem, "--other-method", "none", "-d", "cpu"]) == 0
        (made,) = (tmp_path / "out").rglob(f"{excerpt.track}/{stem}.wav")
        estimate = torch.from_numpy(soundfile.read(made, dtype="float32")[0].T.copy())
        separated = float(sdr(excerpt.references[excerpt.stems.index(stem)], estimate))
        scores = [by_benchmark[excerpt.track], by_study[excerpt.track], separated]
        assert np.ptp(scores) < 1e-6, json.dumps(scores)

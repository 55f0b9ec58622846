"""`python -m benchmarks.false_verdicts` on a made benchmark: its gains, its guard, its rates."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks import false_verdicts
from benchmarks.false_verdicts import better, candidates_of, main, measure, recorded_gains
from schedopt.errors import DataError
from schedopt.proof.statistics import ALPHA, Inference
from tests.view.figures.benchmarks import made_benchmark, made_document

FILE = made_benchmark(tracks=34, ceilings=False)


def test_gains_are_over_the_shift_trick_at_as_many_passes() -> None:
    metrics, gains = recorded_gains(FILE)
    assert metrics == ("sdr", "si_sdr", "snr")
    assert gains.shape == (3, 2, 33)  # the last track is silent in bass
    ours, trick = (
        next(m for m in FILE.methods if m.name == name).stems["vocals"].tracks["track-5"]
        for name in ("<b>ours", "shift trick, 3 passes")
    )
    order = sorted(f"track-{n}" for n in range(33)).index("track-5")
    stem = list(FILE.methods[1].stems).index("vocals")
    assert gains[2, stem, order] == pytest.approx(ours["snr"][-1] - trick["snr"][-1])


def test_candidates_gain_nothing_and_keep_the_metrics_together() -> None:
    rng = np.random.default_rng(0)
    _, gains = recorded_gains(FILE)
    gains = gains + np.array([5.0, 5.0, 5.0])[:, None, None]  # a gain that the flips must take out
    made = np.stack([candidates_of(gains, 4, rng) for _ in range(400)])  # (searches, metrics, stems, count, tracks)
    assert np.abs(made.mean(axis=(0, 3, 4))).max() < 0.2
    between = np.corrcoef(made[:, 0, 0].ravel(), made[:, 2, 0].ravel())[0, 1]
    assert between > 0.99  # in the made benchmark SNR is SDR + 1


def test_a_gain_that_a_guard_pays_for_is_no_verdict() -> None:
    low, high = np.array([[0.1, 0.1, -0.1], [-0.2, -0.2, 0.0], [-0.9, -0.1, 0.0]]), np.zeros((3, 3))
    high[:] = [[0.3, 0.3, 0.3], [0.2, 0.2, 0.2], [-0.1, 0.4, 0.2]]
    gain, verdict = better(Inference(np.ones((3, 3)), low, high), ("sdr", "si_sdr", "snr"))
    assert gain.tolist() == [True, True, False]
    assert verdict.tolist() == [False, True, False]
    # SDR is no guard: it forgives any filter of 512 taps.
    gain, verdict = better(Inference(np.ones((3, 3)), low, high), ("snr", "si_sdr", "sdr"))
    assert gain.tolist() == verdict.tolist() == [True, True, False]


def test_rates_of_a_small_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(false_verdicts, "RESAMPLES", 999)
    rows = [measure(FILE, choose, 60, 10) for choose in ("selected trial", "highest trial")]
    for row in rows:
        assert row["verdict"] <= row["gain"] <= 100 * ALPHA + 5  # standard error 2.8
        assert row["claimed"] >= row["gain"]
    assert rows[1]["claimed"] > 0


def test_the_command_reads_a_document_and_keeps_the_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(false_verdicts, "RESAMPLES", 199)
    path = tmp_path / "b.json"
    path.write_text(json.dumps(made_document(tracks=30)), encoding="utf-8")
    main(["--benchmark", str(path), "--searches", "3", "--candidates", "4", "--json", str(tmp_path / "r.json")])
    assert "verdict" in capsys.readouterr().out
    rows = json.loads((tmp_path / "r.json").read_text())["rows"]
    assert [row["searches"] for row in rows] == [3, 3]
    path.write_text(json.dumps({**made_document(), "format": 1}), encoding="utf-8")
    with pytest.raises(DataError, match="reads format 2"):
        main(["--benchmark", str(path)])

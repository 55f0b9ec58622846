"""A bleed dial on held-out tracks: every point is measured, and the file that was written gives the scores again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

import schedopt
from schedopt.api import Separator
from schedopt.cli import call
from schedopt.errors import ScheduleError
from schedopt.files.schedule_file import load_schedule_file
from schedopt.metrics import si_sar, si_sir
from schedopt.proof.findings import sentences
from schedopt.proof.verify import verify
from tests.proof.schedules import schedule, write_bench
from tests.songs.songs import read_stems, write_song
from tests.view.figures.benchmarks import made_benchmark

RESULT = Path(__file__).parents[2] / "benchmarks" / "results" / "demo-dial-held-out.json"
BETAS = {"clean": [0.9], "balanced": [0.4, 0.6], "full": [0.0]}


def entry(betas: list[float]) -> dict[str, Any]:
    score = {"baseline": 1.0, "value": 2.0, "gain": 1.0, "excerpts": 4}
    return {"rule": "remix", "betas": betas, "metric": "si_sdr", "objectives": {"si_sir": score, "si_sar": score}}


@pytest.fixture(scope="module")
def dial(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_bench(tmp_path_factory.mktemp("dial"))
    document = schedule(folder, vocals=entry(BETAS["balanced"]))
    document |= {"format": 3, "points": {name: {"vocals": entry(betas)} for name, betas in BETAS.items()}}
    path = folder / "d.schedule.json"
    path.write_text(json.dumps(document), encoding="utf-8")
    return path


def measured(path: Path, result: Path, *options: str) -> dict[str, Any]:
    assert call(["benchmark", str(path), "--against", "shift", "-o", str(result), *options]) == 0
    found: dict[str, Any] = json.loads(result.read_text(encoding="utf-8"))
    return found


def test_every_point_is_measured_and_the_file_gives_the_scores_again(
    dial: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = measured(dial, tmp_path / "a.json", "--write")
    said = capsys.readouterr().out
    assert "d, clean, vocals: SI-SIR" in said
    assert verify(tmp_path / "a.json")[1] == []
    assert first["objectives"] == ["si_sir", "si_sar"]
    assert [m["point"] for m in first["methods"] if m["kind"] == "schedule"] == list(BETAS)
    rows = {row["method"]: row for row in first["findings"]}
    file = load_schedule_file(dial)
    for name in BETAS:
        noted = file.points[name]["vocals"].held_out
        assert noted is not None
        for metric in ("si_sir", "si_sar"):
            compared = rows[f"d, {name}"]["versus"]["baseline"][metric]
            assert noted.objectives[metric].mean == compared["mean"]
            assert list(noted.objectives[metric].interval) == compared["interval"]
            assert compared["interval"][0] <= compared["mean"] <= compared["interval"][1]
    assert file.schedules == file.points["balanced"]
    again = measured(dial, tmp_path / "b.json")
    assert [m["stems"]["vocals"]["tracks"] for m in again["methods"]] == [
        m["stems"]["vocals"]["tracks"] for m in first["methods"]
    ]
    for one, two in zip(first["findings"], again["findings"], strict=True):
        assert two | {"seconds": one["seconds"]} == one


def test_scores_are_those_of_what_separate_gives(dial: Path, tmp_path: Path) -> None:
    """The point's estimates from `load_schedule`, scored by hand, are the benchmark's numbers."""
    result = measured(dial, tmp_path / "a.json", "--point", "clean", "--tracks", "1")
    (method,) = (m for m in result["methods"] if m["kind"] == "schedule")
    assert method["stems"]["vocals"]["betas"] == BETAS["clean"]
    (track,) = schedopt.load_tracks(f"folder:{dial.parent / 'music'}", "held-out", 1)
    references = track.read(0.0, track.seconds)
    estimate = schedopt.load_schedule(dial, point="clean", device="cpu").refine(schedopt.mix(references))["vocals"]
    target = track.stems.index("vocals")
    (scores,) = method["stems"]["vocals"]["tracks"].values()
    assert scores["si_sir"][-1] == pytest.approx(si_sir(references, target, estimate).item(), abs=1e-4)
    assert scores["si_sar"][-1] == pytest.approx(si_sar(references, target, estimate).item(), abs=1e-4)


def test_separate_and_the_api_take_a_point(dial: Path, tmp_path: Path) -> None:
    song = write_song(tmp_path / "song.wav")
    made = {}
    for name in (None, *BETAS):
        out = tmp_path / str(name)
        options = [] if name is None else ["--point", name]
        assert call(["separate", str(song), "--schedule", str(dial), "-o", str(out), "--float32", *options]) == 0
        made[name] = read_stems(next(out.iterdir()) / "song")["vocals"]
        ours = Separator(schedule=dial, point=name, device="cpu").separate_audio_file(song)[1]["vocals"]
        torch.testing.assert_close(ours, torch.from_numpy(made[name]), atol=1e-5, rtol=0)
    assert (made[None] == made["balanced"]).all()
    assert (made["clean"] != made["balanced"]).any()
    assert (made["clean"] != made["full"]).any()


def test_the_preset_gives_the_scores_of_its_published_table() -> None:
    """Loaded, its points have on the first held-out song the scores that the benchmark's document holds of it."""
    document = json.loads(RESULT.read_text(encoding="utf-8"))
    assert verify(RESULT)[1] == []
    (track,) = schedopt.load_tracks("demo", "held-out", 1)
    references = track.read(0.0, track.seconds)
    song, target = schedopt.mix(references), track.stems.index("vocals")
    for method in document["methods"]:
        if method["kind"] == "schedule":
            schedule = schedopt.load_schedule("demo-dial", point=method["point"], device="cpu")
            assert list(schedule.betas["vocals"]) == method["stems"]["vocals"]["betas"]
            estimate = schedule.refine(song, stems=["vocals"])["vocals"]
            kept = method["stems"]["vocals"]["tracks"][track.name]
            assert si_sir(references, target, estimate).item() == pytest.approx(kept["si_sir"][-1], abs=0.01)
            assert si_sar(references, target, estimate).item() == pytest.approx(kept["si_sar"][-1], abs=0.01)


@pytest.mark.parametrize("command", ["separate", "benchmark"])
def test_a_point_that_is_not_there_is_refused_with_the_nearest(
    command: str, dial: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    song = write_song(tmp_path / "song.wav")
    words = ["separate", str(song), "--schedule"] if command == "separate" else ["benchmark"]
    assert call([*words, str(dial), "--point", "clear"]) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.endswith("there is no point 'clear' (did you mean clean?); there are clean, balanced, full")
    assert str(dial) in error


def test_points_need_a_schedule_that_has_some(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ScheduleError, match="demo: there is no point 'clean'; it has none"):
        schedopt.load_schedule("demo", point="clean")
    with pytest.raises(ScheduleError, match="there is no schedule whose point it is"):
        Separator("demo", point="clean")
    song = write_song(tmp_path / "song.wav")
    assert call(["separate", str(song), "--point", "clean"]) == 2
    assert "--schedule" in capsys.readouterr().err
    assert call(["benchmark", str(tmp_path / "x.json"), "--write", "--point", "clean"]) == 2


@pytest.mark.parametrize(("tracks", "interval"), [(3, False), (12, True)])
def test_a_gain_has_an_interval_where_there_are_tracks_enough(tracks: int, interval: bool) -> None:
    file = made_benchmark(tracks=tracks)
    told = sentences(file.findings, "sdr", ("si_sdr",))
    assert told
    assert all(("SI-SDR" in one) and (" dB (95 % interval " in one.partition(";")[0]) == interval for one in told)
    assert "∞" not in "".join(told)

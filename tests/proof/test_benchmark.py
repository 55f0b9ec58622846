"""The benchmark: its methods are what they say, and as a user runs it on a small real model and real files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from schedopt.cli import call
from schedopt.data import mix
from schedopt.evaluation import Evaluator
from schedopt.files.schedule_file import ScheduleFile, load_schedule_file
from schedopt.metrics import sdr
from schedopt.proof.benchmark import Options, benchmark, greedy_betas
from schedopt.proof.findings import findings, track_scores
from schedopt.proof.methods import GREEDY_RATIOS, compared, shift_trick_name
from schedopt.proof.tables import ALL
from schedopt.refinement import Refinement
from tests.models import RATE, noise_excerpt, tiny_separator
from tests.proof.schedules import TRACKS, schedule, write_bench, write_schedule

Capture = pytest.CaptureFixture[str]
SEARCHED = {"betas": [0.3, 0.6], "shift": True, "output": "mean"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bench(tmp_path_factory.mktemp("bench"))


@pytest.fixture(scope="module")
def result(folder: Path) -> dict[str, Any]:
    """The JSON document of a benchmark with everything on: two stems with schedules of different length."""
    path = write_schedule(folder, "best", vocals=SEARCHED, bass={"betas": [0.5]})
    output = folder / "result.json"
    command = ["benchmark", str(path), "--ceilings", "--frames", "-o", str(output)]
    assert call([*command, "--figures", str(folder / "figures"), "--figure-format", "svg"]) == 0
    document: dict[str, Any] = json.loads(output.read_text(encoding="utf-8"))
    return document


def finding(result: dict[str, Any], method: str, stem: str) -> dict[str, Any]:
    (row,) = (row for row in result["findings"] if (row["method"], row["stem"]) == (method, stem))
    return dict(row)


def test_every_method_is_there_with_its_cost(result: dict[str, Any]) -> None:
    vocals = {row["method"]: row["passes"] for row in result["findings"] if row["stem"] == "vocals"}
    assert vocals == {
        "one pass": 1,
        "best": 3,
        "shift trick, 3 passes": 3,
        "line n/2": 3,
        **{f"constant {beta}, 3 passes (remix+shift+mean)": 3 for beta in (0.2, 0.4, 0.6)},
        "oracle line n/2": 3,
        "greedy search, 2 steps": 21,
    }
    assert {m["name"] for m in result["methods"] if m["needs_references"]} == {
        "oracle line n/1",
        "oracle line n/2",
        "greedy search, 1 step",
        "greedy search, 2 steps",
    }
    assert finding(result, "best", ALL)["passes"] == 3 + 2
    assert result["passes"]["run"] > 0
    assert result["seconds_per_pass"] > 0


def test_scores_are_those_of_the_plain_way(folder: Path, result: dict[str, Any]) -> None:
    """Means, medians and gains follow from the tracks' scores; the tracks' scores from the separator."""
    tracks = next(m for m in result["methods"] if m["name"] == "best")["stems"]["vocals"]["tracks"]
    base = next(m for m in result["methods"] if m["name"] == "one pass")["stems"]["vocals"]["tracks"]
    last = {track: scores["sdr"][-1] for track, scores in tracks.items()}
    row = finding(result, "best", "vocals")
    assert row["sdr"]["mean"] == pytest.approx(np.mean(list(last.values())), abs=1e-5)
    assert row["sdr"]["median"] == pytest.approx(np.median(list(last.values())), abs=1e-5)
    gain = np.mean([last[track] - base[track]["sdr"][-1] for track in last])
    assert row["versus"]["baseline"]["sdr"]["mean"] == pytest.approx(gain, abs=1e-5)
    for track, scores in tracks.items():
        assert len(scores["sdr"]) == len(scores["si_sdr"]) == 3
        assert scores["sdr"][0] == base[track]["sdr"][0]


def test_its_figures_are_files(folder: Path, result: dict[str, Any]) -> None:
    names = {path.name for path in (folder / "figures").iterdir()}
    assert names == {f"{name}.svg" for name in ("steps", "tracks", "gains", "passes", "stems", "ceilings")}
    for path in (folder / "figures").iterdir():
        assert ElementTree.parse(path).getroot().tag.endswith("svg")


def test_silent_excerpts_are_left_out_and_listed(result: dict[str, Any]) -> None:
    assert result["data"]["left_out"] == {"vocals": [f"track-{9 + TRACKS} @ 0 s"]}
    assert finding(result, "best", "vocals")["versus"]["baseline"]["sdr"]["tracks"] == TRACKS - 1
    assert finding(result, "best", "bass")["versus"]["baseline"]["sdr"]["tracks"] == TRACKS
    # Over all stems the track counts with the stem that sounds in it.
    assert finding(result, "best", ALL)["versus"]["baseline"]["sdr"]["tracks"] == TRACKS


def test_one_sentence_a_schedule(result: dict[str, Any]) -> None:
    starts = [sentence.partition(":")[0] for sentence in result["sentences"]]
    assert starts == ["best, vocals", "best, bass", f"best, {ALL}"] or set(starts) == {
        "best, vocals",
        "best, bass",
        f"best, {ALL}",
    }
    for sentence in result["sentences"]:
        assert any(word in sentence for word in ("better than", "worse than", "no measurable difference from"))
        assert "the shift trick at as many passes" in sentence


def test_holm_counts_the_schedules(result: dict[str, Any]) -> None:
    """Two schedules are compared with one pass: the smaller p counts twice."""
    both = [finding(result, "best", stem)["versus"]["baseline"]["sdr"] for stem in ("vocals", "bass")]
    smaller, larger = sorted(both, key=lambda comparison: comparison["p"])
    assert smaller["p_holm"] == pytest.approx(min(1, 2 * smaller["p"]))
    assert larger["p_holm"] == pytest.approx(max(smaller["p_holm"], larger["p"]))


def test_ceilings_are_not_below_what_they_bound(result: dict[str, Any]) -> None:
    """The greedy search of one step has tried every constant β of one step; its score never falls."""
    greedy = finding(result, "greedy search, 1 step", "bass")
    for beta in (0.2, 0.4, 0.6):
        constant = finding(result, f"constant {beta}, 2 passes (remix)", "bass")
        assert greedy["sdr"]["mean"] >= constant["sdr"]["mean"] - 1e-9
    stems = next(m for m in result["methods"] if m["name"] == "greedy search, 2 steps")["stems"]
    for scores in stems["vocals"]["tracks"].values():
        assert scores["sdr"] == sorted(scores["sdr"])
        assert len(scores["sdr"]) == 3


def test_the_table_is_printed_and_the_json_goes_to_stdout(folder: Path, capsys: Capture) -> None:
    path = write_schedule(folder, "short", bass={"betas": [0.5]})
    assert call(["benchmark", str(path), "--against", "none", "--tracks", "3"]) == 0
    shown = capsys.readouterr()
    assert "3 held-out tracks of folder:" in shown.out
    assert "short, bass: " in shown.out
    assert "no verdict is possible from 3 track(s): it takes 6" in shown.out
    assert "shift trick" not in shown.out
    assert "excerpt 3 of 3" in shown.err
    assert call(["benchmark", str(path), "--against", "shift", "--tracks", "2", "--json"]) == 0
    names = {method["name"] for method in json.loads(capsys.readouterr().out)["methods"]}
    assert names == {"one pass", "short", "shift trick, 2 passes"}


def test_a_schedule_of_zeros_is_one_pass(folder: Path) -> None:
    path = write_schedule(folder, "zeros", bass={"betas": [0, 0]})
    bench = benchmark({"zeros": load_schedule_file(path)}, Options(device="cpu", against=()))
    (row,) = (one for one in findings(bench) if one.method.kind == "schedule")
    assert row.versus["sdr", "baseline"].ties == TRACKS
    assert "no measurable difference from one pass" in row.sentence


def test_the_shift_trick_is_the_mean_over_shifted_passes(folder: Path) -> None:
    """As Demucs' `apply_model(shifts=…)`, with seeded shifts and the unshifted pass among them."""
    path = write_schedule(folder, "shifted", bass={"betas": [0.5, 0.5, 0.5], "seed": 5})
    bench = benchmark({"a": load_schedule_file(path)}, Options(device="cpu", against=["shift"], tracks=2))
    separator, how = tiny_separator(), Refinement("bass", shift=True, seed=5)
    for excerpt in bench.excerpts:
        mixture = mix(excerpt.references, None)[None]
        shifts = [0, *(how.shift_of(n, RATE) for n in (1, 2, 3))]
        assert len(set(shifts)) == 4
        mean = torch.stack([separator(mixture, shift=s, stems=("bass",))[0, 0] for s in shifts]).mean(dim=0)
        got = track_scores(bench, shift_trick_name(3), "bass", "sdr")[excerpt.track][-1]
        assert got == pytest.approx(float(sdr(excerpt.references[1], mean)), abs=1e-5)


def test_the_greedy_search_equals_a_plain_loop() -> None:
    separator, excerpt, steps = tiny_separator(), noise_excerpt(1), 3
    mixture, truth = mix(excerpt.references, None), excerpt.references[3]
    estimate = separator(mixture[None], stems=("vocals",))[0, 0]
    found: tuple[float, ...] = ()
    for _ in range(steps):
        inputs = [(1 - ratio) * mixture + ratio * estimate for ratio in GREEDY_RATIOS]
        outputs = [separator(y[None], stems=("vocals",))[0, 0] for y in inputs]
        scores = [float(sdr(truth, output)) for output in outputs]
        best = int(np.argmax(scores))
        if scores[best] <= float(sdr(truth, estimate)):
            break
        found, estimate = (*found, GREEDY_RATIOS[best]), outputs[best]
    evaluator = Evaluator(separator, [excerpt], Refinement("vocals"))
    assert greedy_betas(evaluator, steps) == found
    assert float(evaluator.scores(found)[0, -1]) == pytest.approx(float(sdr(truth, estimate)), abs=1e-6)
    assert evaluator.passes.run <= 1 + 10 * steps


def test_excerpts_count_within_their_track(folder: Path) -> None:
    document = schedule(folder, bass={"betas": [0.5]})
    document["data"] |= {"excerpts_per_track": 2}
    file = ScheduleFile.model_validate_json(json.dumps(document))
    bench = benchmark({"a": file}, Options(device="cpu", against=(), tracks=3))
    assert len(bench.excerpts) == 6
    scores = [heard.by_step["sdr"] for heard in bench.heard["one pass", "bass"]]
    by_track = track_scores(bench, "one pass", "bass", "sdr")
    assert_allclose(by_track["track-10"], np.mean(scores[:2], axis=0))
    assert len(by_track) == 3


def test_a_residual_is_told_from_the_schedule(folder: Path) -> None:
    """β = 0 with the schedule's residual stands beside the shift trick, which has none."""
    keys = {"betas": [0.3, 0.6], "rule": "unmix", "shift": True, "output": "mean", "residual": 0.25}
    path = write_schedule(folder, "residual", vocals=keys)
    methods = {method.name: method.settings["vocals"] for method in compared({"f": load_schedule_file(path)})}
    options = Refinement("vocals", rule="unmix", shift=True, output="mean", residual=0.25)
    assert methods["constant 0, 3 passes"].refinement == methods["f"].refinement == options
    assert methods["constant 0, 3 passes"].betas == methods[shift_trick_name(2)].betas == (0.0, 0.0)
    assert methods[shift_trick_name(2)].refinement == Refinement("vocals", shift=True, output="mean")


def test_files_of_one_name_are_told_apart_by_their_folders(folder: Path) -> None:
    file = ScheduleFile.model_validate_json(json.dumps(schedule(folder, bass={"betas": [0.5]})))
    names = [method.name for method in compared({"a/x.schedule.json": file, "b/x.schedule.json": file})]
    assert names[:3] == ["one pass", "a/x.schedule.json", "b/x.schedule.json"]


def refused(arguments: list[str], capsys: Capture) -> str:
    assert call(["benchmark", *arguments]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    return lines[0]


def test_mistakes_are_answered_in_one_line(folder: Path, capsys: Capture) -> None:
    good = schedule(folder, bass={"betas": [0.5]})

    def written(name: str, **keys: Any) -> str:
        path = folder / name
        path.write_text(json.dumps(good | keys), encoding="utf-8")
        return str(path)

    assert "no such schedule file" in refused([str(folder / "none.json")], capsys)
    assert "a.json: unknown key zzz" in refused([written("a.json", zzz=1)], capsys)
    other = {**good["model"], "weights": "0" * 16}
    assert "b.json: searched with other weights" in refused([written("b.json", model=other)], capsys)
    elsewhere = {**good["data"], "source": "demo"}
    assert "differ in the music" in refused([written("c.json"), written("d.json", data=elsewhere)], capsys)
    overlap = {**good["model"], "overlap": 0.5}
    assert "more than one overlap" in refused([written("c.json"), written("d.json", model=overlap)], capsys)
    assert "is not known" in refused([written("c.json"), "--data", "nonsense"], capsys)
    assert call(["benchmark", written("c.json"), "--against", "shift,magic"]) == 2
    assert "'magic' is not one of shift, line, constant, family, none" in capsys.readouterr().err

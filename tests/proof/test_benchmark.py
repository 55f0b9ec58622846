"""The benchmark: its methods are what they say, and as a user runs it on a small real model and real files."""

from __future__ import annotations

import json
import logging
import math
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from schedopt.cli import call
from schedopt.data import cut_excerpts, load_tracks, mix
from schedopt.errors import DataError
from schedopt.evaluation import Evaluator
from schedopt.files.benchmark_file import read_benchmark
from schedopt.files.schedule_file import ScheduleFile, load_schedule_file
from schedopt.metrics import METRICS, Metric, Score, Truth, csdr, register_metric, sdr
from schedopt.proof.benchmark import Options, benchmark, greedy_betas
from schedopt.proof.findings import document
from schedopt.proof.methods import GREEDY_RATIOS, compared, shift_trick_name
from schedopt.proof.tables import ALL, stem_table
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
    command = ["benchmark", str(path), "--ceilings", "--metrics", "csdr, fullness", "-o", str(output)]
    assert call([*command, "--figures", str(folder / "figures"), "--figure-format", "svg"]) == 0
    document: dict[str, Any] = json.loads(output.read_text(encoding="utf-8"))
    return document


def finding(result: dict[str, Any], method: str, stem: str) -> dict[str, Any]:
    (row,) = (row for row in result["findings"] if (row["method"], row["stem"]) == (method, stem))
    return dict(row)


def track_scores(result: dict[str, Any], name: str, stem: str) -> dict[str, list[float]]:
    """SDR after each step by track."""
    (method,) = (method for method in result["methods"] if method["name"] == name)
    return {track: scores["sdr"] for track, scores in method["stems"][stem]["tracks"].items()}


def measured(path: Path, **options: Any) -> dict[str, Any]:
    """The document of a benchmark of one file."""
    return document(benchmark({path.name: load_schedule_file(path)}, Options(device="cpu", against=(), **options)))


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
    assert row["levels"]["sdr"]["mean"] == pytest.approx(np.mean(list(last.values())), abs=1e-5)
    assert row["levels"]["sdr"]["median"] == pytest.approx(np.median(list(last.values())), abs=1e-5)
    gain = np.mean([last[track] - base[track]["sdr"][-1] for track in last])
    assert row["versus"]["baseline"]["sdr"]["mean"] == pytest.approx(gain, abs=1e-5)
    for track, scores in tracks.items():
        assert len(scores["sdr"]) == len(scores["si_sdr"]) == len(scores["snr"]) == 3
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


def test_the_number_of_schedules_counts(folder: Path) -> None:
    """One schedule by itself has a smaller p and a narrower interval than beside another."""
    both = write_schedule(folder, "pair", bass={"betas": [0.5]}, drums={"betas": [0.5]})
    alone = write_schedule(folder, "alone", bass={"betas": [0.5]})
    made = []
    for path in (alone, both):
        (row,) = (row for row in measured(path)["findings"] if row["kind"] == "schedule" and row["stem"] == "bass")
        made.append(row["versus"]["baseline"]["sdr"])
    assert made[0]["mean"] == made[1]["mean"]
    assert made[0]["p"] <= made[1]["p"]
    widths = [math.inf if None in one["interval"] else one["interval"][1] - one["interval"][0] for one in made]
    assert widths[0] <= widths[1]
    assert widths[0] < math.inf


def test_ceilings_are_not_below_what_they_bound(result: dict[str, Any]) -> None:
    """The greedy search of one step has tried every constant β of one step; its score never falls."""
    greedy = finding(result, "greedy search, 1 step", "bass")
    for beta in (0.2, 0.4, 0.6):
        constant = finding(result, f"constant {beta}, 2 passes (remix)", "bass")
        assert greedy["levels"]["sdr"]["mean"] >= constant["levels"]["sdr"]["mean"] - 1e-9
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
    result = measured(write_schedule(folder, "zeros", bass={"betas": [0, 0]}))
    (row,) = (one for one in result["findings"] if one["kind"] == "schedule")
    assert row["versus"]["baseline"]["sdr"]["ties"] == TRACKS
    assert "no measurable difference from one pass" in result["sentences"][0]


def test_the_shift_trick_is_the_mean_over_shifted_passes(folder: Path) -> None:
    """As Demucs' `apply_model(shifts=…)`, with seeded shifts and the unshifted pass among them."""
    path = write_schedule(folder, "shifted", bass={"betas": [0.5, 0.5, 0.5], "seed": 5})
    bench = benchmark({"a": load_schedule_file(path)}, Options(device="cpu", against=["shift"], tracks=2))
    scores = track_scores(document(bench), shift_trick_name(3), "bass")
    separator, how = tiny_separator(), Refinement("bass", shift=True, seed=5)
    for excerpt in cut_excerpts(load_tracks(bench.music.source, "held-out", 2), "track"):
        mixture = mix(excerpt.references, None)[None]
        shifts = [0, *(how.shift_of(n, RATE) for n in (1, 2, 3))]
        assert len(set(shifts)) == 4
        mean = torch.stack([separator(mixture, shift=s, stems=("bass",))[0, 0] for s in shifts]).mean(dim=0)
        assert scores[excerpt.track][-1] == pytest.approx(float(sdr(excerpt.references[1], mean)), abs=1e-5)


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
    content = schedule(folder, bass={"betas": [0.5]})
    content["data"] |= {"excerpts_per_track": 2}
    file = ScheduleFile.model_validate_json(json.dumps(content))
    bench = benchmark({"a": file}, Options(device="cpu", against=(), tracks=3, excerpt=0.2))
    assert len(bench.excerpts) == 6
    scores = [scored.by_step["sdr"] for scored in bench.scores["one pass", "bass"]]
    by_track = track_scores(document(bench), "one pass", "bass")
    assert_allclose(by_track["track-10"], np.mean(scores[:2], axis=0), atol=1e-7)
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


def test_other_metrics_stand_beside_and_decide_nothing(folder: Path, result: dict[str, Any]) -> None:
    assert result["metrics"] == ["sdr", "si_sdr", "snr", "csdr", "fullness"]
    row = finding(result, "best", "bass")
    assert set(row["levels"]) == set(result["metrics"])
    assert set(row["versus"]["baseline"]) == {"sdr", "si_sdr", "snr"}
    (method,) = (method for method in result["methods"] if method["name"] == "best")
    scores = method["stems"]["bass"]["tracks"]["track-10"]
    assert len(scores["csdr"]) == len(scores["fullness"]) == 2
    (excerpt,) = cut_excerpts(load_tracks(result["data"]["source"], "held-out", 1), "track")
    estimate = tiny_separator()(mix(excerpt.references, None)[None])[0, 1]
    assert scores["csdr"][0] == pytest.approx(csdr(excerpt.references, 1, estimate).item(), abs=1e-4)
    head, lines = stem_table(read_benchmark(result), "bass")
    assert head[3:8] == ["SDR", "median", "SI-SDR", "SNR", "cSDR"]
    assert lines[0][7] == f"{row_level(result, 'one pass', 'csdr')['median']:.2f}"
    assert lines[0][8] == f"{row_level(result, 'one pass', 'fullness')['mean']:.2f}"


def row_level(result: dict[str, Any], method: str, metric: str) -> dict[str, float]:
    return dict(finding(result, method, "bass")["levels"][metric])


def test_a_score_that_cannot_be_had_is_left_out(
    folder: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A metric of a user's own that refuses one track; its title is the user's."""

    def picky(truth: Truth) -> Score:
        if truth.reference.abs().amax() == loudest:
            raise DataError("too loud")
        return lambda estimate: estimate.abs().amax()

    path = write_schedule(folder, "mine", bass={"betas": [0.5]})
    tracks = load_tracks(f"folder:{folder / 'music'}", "held-out", 2)
    loudest = cut_excerpts(tracks, "track")[0].references[1].abs().amax()
    monkeypatch.setattr(logging.getLogger("schedopt"), "propagate", True)
    register_metric(Metric("picky", "Picky", "peak", picky))
    try:
        made = measured(path, tracks=2, metrics=["picky"])
        assert stem_table(read_benchmark(made), "bass")[0][7] == "Picky"
    finally:
        METRICS.added.pop("picky")
    of_bass = made["methods"][1]["stems"]["bass"]["tracks"]
    assert ["picky" in of_bass[track] for track in ("track-10", "track-11")] == [False, True]
    assert finding(made, "mine", "bass")["levels"]["picky"]["mean"] == of_bass["track-11"]["picky"][-1]
    assert "no picky: too loud" in caplog.text
    # Where its package is gone, the table still has a name for it.
    assert stem_table(read_benchmark(made), "bass")[0][7] == "picky"


@pytest.mark.parametrize("metric", ["si_sdr", "snr"])
def test_the_verdict_is_in_the_searchs_own_metric(folder: Path, metric: str, capsys: Capture) -> None:
    path = write_schedule(folder, metric, bass={"betas": [0.5], "metric": metric})
    made = measured(path)
    assert (made["metric"], made["metrics"][0], set(made["metrics"])) == (metric, metric, {"sdr", "si_sdr", "snr"})
    row = finding(made, metric, "bass")
    assert row["verdicts"]["baseline"].startswith(row["versus"]["baseline"][metric]["verdict"])
    assert f"({row['versus']['baseline'][metric]['mean']:+.3f} dB" in made["sentences"][0]
    assert stem_table(read_benchmark(made), "bass")[0][3] == {"si_sdr": "SI-SDR", "snr": "SNR"}[metric]
    other = write_schedule(folder, "other", bass={"betas": [0.5]})
    assert f"were searched in sdr and {metric}" in refused([str(path), str(other)], capsys)
    assert "there is no metric 'cdsr' (did you mean csdr?)" in refused([str(path), "--metrics", "cdsr"], capsys)


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

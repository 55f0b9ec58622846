"""Charts of a benchmark, a sweep and a reproduction: their numbers against a plain recomputation."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose

from schedopt.errors import DataError
from schedopt.files.benchmark_file import load_benchmark
from schedopt.proof.reproduce import PUBLISHED, Reproduction
from schedopt.proof.sweep import Sweep
from schedopt.view.figures import (
    benchmark_charts,
    image,
    plotly_figure,
    reproduction_charts,
    sweep_charts,
)
from schedopt.view.figures.chart import Bars, Boxes, Bundle, Chart, Line, Mark, Points
from schedopt.view.figures.palette import method_style
from tests.view.figures.benchmarks import TRACKS, made_benchmark, made_document

DOCUMENT = made_document()
FILE = made_benchmark()
CHARTS = benchmark_charts(FILE)


def panel(chart: Chart, title: str) -> dict[str, Mark]:
    (one,) = (panel for panel in chart.panels if panel.title == title)
    return {mark.name: mark for mark in one.marks if not isinstance(mark, Bundle)}


def scores(method: str, stem: str) -> dict[str, list[float]]:
    """SDR by step and track, straight from the document."""
    (found,) = (m for m in DOCUMENT["methods"] if m["name"] == method)
    return {track: kept["sdr"] for track, kept in found["stems"][stem]["tracks"].items()}


def gains(method: str, stem: str) -> dict[str, float]:
    start = scores("one pass", stem)
    return {track: values[-1] - start[track][0] for track, values in scores(method, stem).items()}


def test_every_chart_is_there() -> None:
    assert set(CHARTS) == {"steps", "tracks", "gains", "passes", "stems", "ceilings"}
    assert "ceilings" not in benchmark_charts(made_benchmark(ceilings=False))
    for chart in CHARTS.values():
        assert plotly_figure(chart).data


def test_score_by_step() -> None:
    found = panel(CHARTS["ceilings"], "vocals")
    assert {"one pass", "<b>ours", "other", "line n/N"} < set(found)
    ours, plain = found["<b>ours"], found["one pass"]
    assert isinstance(ours, Line)
    assert isinstance(plain, Line)
    by_track = np.array(list(scores("<b>ours", "vocals").values()))
    start = np.array(list(scores("one pass", "vocals").values()))
    assert_allclose(ours.y, by_track.mean(axis=0))
    assert_allclose(plain.y, [start.mean()] * 2)
    assert_allclose(ours.low, start.mean() + np.quantile(by_track - start, 0.25, axis=0))
    assert_allclose(ours.high, start.mean() + np.quantile(by_track - start, 0.75, axis=0))
    assert not any("needs the references" in name for name in panel(CHARTS["steps"], "vocals"))
    assert sum("needs the references" in name for name in found) == 2


def test_gains_of_tracks_are_sorted() -> None:
    found = panel(CHARTS["tracks"], "bass")
    bars, trick = found["<b>ours"], found["shift trick at as many passes"]
    assert isinstance(bars, Bars)
    assert isinstance(trick, Points)
    ours, theirs = gains("<b>ours", "bass"), gains("shift trick, 2 passes", "bass")
    assert len(bars.values) == TRACKS - 1, "a track in which the stem is silent is not there"
    assert_allclose(bars.values, sorted(ours.values()))
    assert_allclose(trick.x, [theirs[track] for track in sorted(ours, key=ours.__getitem__)])


def test_gains_with_their_intervals() -> None:
    (one,) = (panel for panel in CHARTS["gains"].panels if panel.title == "vocals")
    points = {mark.labels[0]: mark for mark in one.marks if isinstance(mark, Points)}
    assert set(points) == {
        m["name"]
        for m in DOCUMENT["methods"]
        if "vocals" in m["stems"] and not m["needs_references"] and m["kind"] != "baseline"
    }
    for name, point in points.items():
        values = list(gains(name, "vocals").values())
        (row,) = (row for row in DOCUMENT["findings"] if (row["method"], row["stem"]) == (name, "vocals"))
        expected = [np.mean(values), *row["versus"]["baseline"]["sdr"]["interval"]]
        assert_allclose(np.array([*point.x, *point.low, *point.high]), expected, atol=1e-5)
    means = [mark.x[0] for mark in sorted(points.values(), key=lambda mark: mark.y)]
    assert means == sorted(means)
    assert len(one.y.ticks) == len(points)


def test_gain_against_passes_and_the_front() -> None:
    (one,) = (panel for panel in CHARTS["passes"].panels if panel.title == "vocals")
    lines = {mark.name: mark for mark in one.marks if isinstance(mark, Line)}
    by_track = np.array(list(scores("other", "vocals").values()))
    start = np.array(list(scores("one pass", "vocals").values()))
    assert list(lines["other"].x) == [1, 2, 3]
    assert_allclose(lines["other"].y, (by_track - start).mean(axis=0))
    ends = [mark for mark in one.marks if isinstance(mark, Points)]
    assert all(mark.low[0] < mark.y[0] < mark.high[0] for mark in ends)
    front = lines["front"]
    for passes, gain in zip(front.x, front.y, strict=True):
        within = [line.y[n] for name, line in lines.items() if name != "front" for n in range(int(passes))]
        assert gain == max(within)


def test_a_box_a_stem_and_kind() -> None:
    (one,) = CHARTS["stems"].panels
    assert [name for _, name in one.x.ticks] == list(FILE.stems)
    boxes = {mark.name: mark for mark in one.marks if isinstance(mark, Boxes)}
    best = max(("<b>ours", "other"), key=lambda name: np.mean(list(gains(name, "vocals").values())))
    place = list(FILE.stems).index("vocals")
    (index,) = (n for n, x in enumerate(boxes["schedule"].x) if round(x) == place)
    assert_allclose(sorted(boxes["schedule"].values[index]), sorted(gains(best, "vocals").values()))


def test_one_colour_for_one_kind() -> None:
    for chart in CHARTS.values():
        for name, mark in chart.named():
            if "shift trick" in name:
                assert mark.style.colour == method_style("shift").colour  # type: ignore[union-attr]
            if "references" in name:
                assert mark.style.dash != "solid"  # type: ignore[union-attr]


def test_few_tracks_have_no_interval() -> None:
    charts = benchmark_charts(made_benchmark(tracks=3))
    points = [mark for panel in charts["gains"].panels for mark in panel.marks if isinstance(mark, Points)]
    assert points
    assert all(mark.low == mark.high == () for mark in points)
    assert image(charts["stems"]).startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"kind": "schedopt schedule"}, "is no benchmark"),
        ({"format": 1}, "this schedopt reads format 2; run the benchmark again"),
        ({"metric": "csdr"}, "metric csdr is not one of sdr, si_sdr, snr"),
        ({"methods": []}, "methods: "),
        ({"data": {}}, "data.source is missing"),
        ({"findings": [{"method": "x"}]}, r"findings\[0\]"),
        ({"seconds_per_pass": "NaN"}, "seconds_per_pass"),
    ],
)
def test_documents_that_cannot_be(tmp_path: Path, change: dict[str, object], says: str) -> None:
    path = tmp_path / "bench.json"
    path.write_text(json.dumps(DOCUMENT | change), encoding="utf-8")
    with pytest.raises(DataError, match=rf"bench\.json: .*{says}|bench\.json: {says}"):
        load_benchmark(path)


def test_files_that_are_no_document(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such benchmark"):
        load_benchmark(tmp_path / "none.json")
    for content in (b"", b"[1]", b"{", b"\xff\x00", b"[" * 100_000):
        (tmp_path / "x.json").write_bytes(content)
        with pytest.raises(DataError, match="is no benchmark"):
            load_benchmark(tmp_path / "x.json")


def made_sweep(tracks: int) -> Sweep:
    rng = np.random.default_rng(0)
    slopes = {"drums": -1.0, "vocals": 2.0}
    return Sweep(
        "vocals",
        "sdr",
        "x",
        "demo",
        "search",
        {
            gain: {
                stem: {f"t{k}": 5 + slope * np.log2(gain) + rng.normal(0, 0.1) for k in range(tracks)}
                for stem, slope in slopes.items()
            }
            for gain in (0.5, 1.0, 2.0)
        },
        {},
    )


def test_the_sweep_is_figures_1_and_2() -> None:
    done = made_sweep(8)
    charts = sweep_charts(done)
    levels, changes = panel(charts["sweep"], ""), panel(charts["change"], "")
    for stem in ("drums", "vocals"):
        level, change = levels[stem], changes[stem]
        assert isinstance(level, Line)
        assert isinstance(change, Line)
        table = np.array([list(done.tracks[gain][stem].values()) for gain in (0.5, 1.0, 2.0)])
        assert_allclose(level.y, table.mean(axis=1))
        assert_allclose(change.y, (table - table[1]).mean(axis=1))
        assert change.low[1] == change.y[1] == change.high[1] == 0
        assert change.low[0] < change.y[0] < change.high[0]
    assert [name for _, name in charts["sweep"].panels[0].x.ticks] == ["0.5", "1", "2"]
    few = panel(sweep_charts(made_sweep(3))["change"], "")["vocals"]
    assert isinstance(few, Line)
    assert few.low == ()


def test_the_published_table_beside_ours() -> None:
    published = PUBLISHED["remix", "bass"]
    ours = (*(value - 3 for value in published), 7.0)
    falling = tuple(float(-n) for n in range(11))
    result = Reproduction("x", "demo", "si_sdr", 4, {("remix", "bass"): ours, ("remix", "vocals"): falling})
    charts = reproduction_charts(result)
    level, shape = panel(charts["published"], "bass, rule remix"), panel(charts["shape"], "bass, rule remix")
    assert_allclose(level["ours"].y, ours)  # type: ignore[union-attr]
    assert_allclose(level["published (SI-SDR)"].y, published)  # type: ignore[union-attr]
    assert_allclose(shape["ours"].y[:10], shape["published (SI-SDR)"].y)  # type: ignore[union-attr]
    bass, vocals = result.sentences()
    assert bass.startswith(
        "remix, bass: the same shape; at best +0.253 dB over one pass after step 4, published +0.253"
    )
    assert vocals.startswith("remix, vocals: another shape: ours falls, the published rises, then falls;")
    short = Reproduction("x", "demo", "sdr", 4, {("remix", "bass"): (1.0, 2.0, 3.0)})
    assert "not comparable, the published line is n/10, ours n/2" in short.sentences()[0]

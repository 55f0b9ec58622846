"""Figures of a benchmark, a sweep and a reproduction: their numbers against a plain recomputation."""

from __future__ import annotations

import html
import json
import re
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose

from schedopt.errors import DataError
from schedopt.files.benchmark_file import load_benchmark
from schedopt.proof.reproduce import PUBLISHED, Reproduction
from schedopt.proof.sweep import Sweep
from schedopt.view.figures import benchmark_figures, caption, reproduction_figures, sweep_figures
from schedopt.view.figures.palette import method_style
from tests.view.figures.benchmarks import TRACKS, made_benchmark, made_document
from tests.view.figures.reading import bands, bars, lines, markers, row_names, titles

DOCUMENT = made_document()
FILE = made_benchmark()
FIGURES = benchmark_figures(FILE)


def scores(method: str, stem: str) -> dict[str, list[float]]:
    """SDR by step and track, straight from the document."""
    (found,) = (m for m in DOCUMENT["methods"] if m["name"] == method)
    return {track: kept["sdr"] for track, kept in found["stems"][stem]["tracks"].items()}


def gains(method: str, stem: str) -> dict[str, float]:
    start = scores("one pass", stem)
    return {track: values[-1] - start[track][0] for track, values in scores(method, stem).items()}


def test_every_figure_is_there() -> None:
    assert set(FIGURES) == {"steps", "tracks", "gains", "passes", "stems", "ceilings"}
    assert "ceilings" not in benchmark_figures(made_benchmark(ceilings=False))
    for figure in FIGURES.values():
        assert figure.data
        assert caption(figure)
    assert set(titles(FIGURES["steps"])) == {"bass", "vocals"}


def test_score_by_step() -> None:
    found = lines(FIGURES["ceilings"], "vocals")
    assert {"one pass", "<b>ours", "other", "line n/N"} < set(found)
    by_track = np.array(list(scores("<b>ours", "vocals").values()))
    start = np.array(list(scores("one pass", "vocals").values()))
    assert_allclose(found["<b>ours"].y, by_track.mean(axis=0), atol=1e-5)
    assert_allclose(found["one pass"].y, [start.mean()] * 2, atol=1e-5)
    expected = start.mean() + np.quantile(by_track - start, (0.25, 0.75), axis=0)
    assert_allclose(bands(FIGURES["ceilings"], "vocals")["<b>ours"], expected, atol=1e-5)
    assert not any("needs the references" in name for name in lines(FIGURES["steps"], "vocals"))
    assert sum("needs the references" in name for name in found) == 2


def test_a_benchmark_of_another_metric_is_drawn_in_it() -> None:
    figures = benchmark_figures(made_benchmark(metric="si_sdr"))
    for name, figure in figures.items():
        assert "SI-SDR" in figure.to_json(), name
        assert not re.search("(?<!SI-)SDR", figure.to_json()), name
    # In these documents SI-SDR is half of SDR.
    assert_allclose(
        lines(figures["steps"], "vocals")["other"].y,
        np.array(lines(FIGURES["steps"], "vocals")["other"].y) / 2,
        atol=1e-5,
    )
    assert_allclose(
        bars(figures["tracks"], "bass")["<b>ours"].x,
        np.array(bars(FIGURES["tracks"], "bass")["<b>ours"].x) / 2,
        atol=1e-5,
    )
    for name, along in (("gains", "x"), ("passes", "y"), ("stems", "y")):
        half, whole = ([v for trace in made[name].data for v in trace[along]] for made in (figures, FIGURES))
        assert_allclose(half, np.array(whole) / 2, atol=1e-5)


def test_gains_of_tracks_are_sorted() -> None:
    shown = bars(FIGURES["tracks"], "bass")["<b>ours"].x
    trick = markers(FIGURES["tracks"], "bass")["shift trick at as many passes"]
    ours, theirs = gains("<b>ours", "bass"), gains("shift trick, 2 passes", "bass")
    assert len(shown) == TRACKS - 1, "a track in which the stem is silent is not there"
    assert_allclose(shown, sorted(ours.values()), atol=1e-5)
    assert_allclose(trick.x, [theirs[track] for track in sorted(ours, key=ours.__getitem__)], atol=1e-5)


def test_gains_with_their_intervals() -> None:
    figure = FIGURES["gains"]
    x = titles(figure)["vocals"]
    points = {html.unescape(trace.text[0]): trace for trace in figure.data if trace.xaxis == x}
    assert set(points) == {
        m["name"]
        for m in DOCUMENT["methods"]
        if "vocals" in m["stems"] and not m["needs_references"] and m["kind"] != "baseline"
    }
    (rows,) = ([row for row in DOCUMENT["findings"] if row["stem"] == "vocals"],)
    for row in rows:
        if row["method"] in points:
            point, gain = points[row["method"]], row["versus"]["baseline"]["sdr"]
            values = np.array(list(gains(row["method"], "vocals").values()))
            assert_allclose(point.x[0], values.mean(), atol=1e-5)
            ends = point.x[0] - point.error_x.arrayminus[0], point.x[0] + point.error_x.array[0]
            assert_allclose(ends, gain["interval"], atol=1e-5)
    means = [trace.x[0] for trace in sorted(points.values(), key=lambda trace: trace.y[0])]
    assert means == sorted(means)
    assert len(row_names(figure, "vocals")) == len(points)


def test_gain_against_passes_and_the_front() -> None:
    found, ends = lines(FIGURES["passes"], "vocals"), markers(FIGURES["passes"], "vocals")
    by_track = np.array(list(scores("other", "vocals").values()))
    start = np.array(list(scores("one pass", "vocals").values()))
    assert list(found["other"].x) == [1, 2, 3]
    assert_allclose(found["other"].y, (by_track - start).mean(axis=0), atol=1e-5)
    assert all(end.error_y.array[0] > 0 and end.error_y.arrayminus[0] > 0 for end in ends.values())
    front = found["front"]
    assert list(front.y) == sorted(front.y)
    highest: dict[float, float] = {}
    for name, line in found.items():
        if name != "front":
            for passes, gain in zip(line.x, line.y, strict=True):
                highest[passes] = max(gain, highest.get(passes, 0.0))
    for passes, gain in zip(front.x, front.y, strict=True):
        assert gain == pytest.approx(max(value for n, value in highest.items() if n <= passes), abs=1e-6)


def test_the_highest_of_a_kind_stands_for_it_by_stem() -> None:
    """Faint points are tracks, the diamond is their median, its bar ends at the quartiles."""
    figure = FIGURES["stems"]
    names = list(figure.layout.xaxis.ticktext)
    chosen = max(("<b>ours", "other"), key=lambda name: np.mean(list(gains(name, "vocals").values())))
    values = sorted(gains(chosen, "vocals").values())
    faint, middle = (trace for trace in figure.data if trace.name == "schedule")
    position = names.index("vocals")
    shown = [y for x, y in zip(faint.x, faint.y, strict=True) if round(x) == position]
    assert_allclose(sorted(shown), values, atol=1e-5)
    (n,) = (n for n, x in enumerate(middle.x) if round(x) == position)
    ends = (middle.y[n] - middle.error_y.arrayminus[n], middle.y[n], middle.y[n] + middle.error_y.array[n])
    assert_allclose(ends, np.quantile(values, (0.25, 0.5, 0.75)), atol=1e-5)


def test_one_colour_for_one_kind() -> None:
    for figure in FIGURES.values():
        for panel in titles(figure):
            for name, line in lines(figure, panel).items():
                if "shift trick" in name:
                    assert line.line.color == method_style("shift").colour
                if "references" in name:
                    assert line.line.dash != "solid"


def test_few_tracks_have_no_interval() -> None:
    figures = benchmark_figures(made_benchmark(tracks=3))
    assert all(trace.error_x.array is None for trace in figures["gains"].data)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"kind": "schedopt schedule"}, "is no benchmark"),
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
    figures = sweep_figures(done)
    levels, changes, spread = lines(figures["sweep"]), lines(figures["change"]), bands(figures["change"])
    for stem in ("drums", "vocals"):
        table = np.array([list(done.tracks[gain][stem].values()) for gain in (0.5, 1.0, 2.0)])
        assert_allclose(levels[stem].y, table.mean(axis=1), atol=1e-5)
        assert_allclose(changes[stem].y, (table - table[1]).mean(axis=1), atol=1e-5)
        low, high = spread[stem]
        assert low[1] == changes[stem].y[1] == high[1] == 0
        assert low[0] < changes[stem].y[0] < high[0]
    assert list(figures["sweep"].layout.xaxis.ticktext) == ["0.5", "1", "2"]
    assert not bands(sweep_figures(made_sweep(3))["change"])


def test_the_published_table_beside_ours() -> None:
    published = PUBLISHED["remix", "bass"]
    ours = (*(value - 3 for value in published), 7.0)
    falling = tuple(float(-n) for n in range(11))
    result = Reproduction("x", "demo", "si_sdr", 4, {("remix", "bass"): ours, ("remix", "vocals"): falling})
    figures = reproduction_figures(result)
    level, shape = (lines(figures[name], "bass, rule remix") for name in ("published", "shape"))
    assert_allclose(level["ours"].y, ours, atol=1e-5)
    assert_allclose(level["published (SI-SDR)"].y, published, atol=1e-5)
    assert_allclose(shape["ours"].y[:10], shape["published (SI-SDR)"].y, atol=1e-5)
    bass, vocals = result.sentences()
    assert bass.startswith(
        "remix, bass: the same shape; at best +0.253 dB over one pass after step 4, published +0.253"
    )
    assert vocals.startswith("remix, vocals: another shape: ours falls, the published rises, then falls;")
    short = Reproduction("x", "demo", "sdr", 4, {("remix", "bass"): (1.0, 2.0, 3.0)})
    assert "not comparable, the published line is n/10, ours n/2" in short.sentences()[0]

"""Figures of a benchmark document: a panel for each stem, tracks as the unit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import plotly.graph_objects as go

from schedopt.files.benchmark_file import BenchmarkFile, Compared, Kind, MethodRecord, Row, StemScores
from schedopt.view.figures.drawing import Panel, Style, Trace, axis, line, metric_name, panels, points, rows_axis, short
from schedopt.view.figures.palette import MID_GREY, method_style
from schedopt.view.figures.study import gain_label, tracks_panel

LABELS: dict[Kind, str] = {
    "baseline": "one pass",
    "schedule": "schedule",
    "shift": "shift trick at as many passes",
    "line": "line n/N",
    "oracle": "oracle (needs the references)",
    "greedy": "greedy search (needs the references)",
}
"""Names in the legend, where a stem has only one method of the kind."""

COMPARED: tuple[Kind, ...] = ("schedule", "shift", "line", "constant", "family")
"""Everything that needs no references."""


@dataclass(frozen=True)
class Shown:
    """One method for one stem as it is drawn; `label` is what the legend says, `metric` what the benchmark is about."""

    name: str
    label: str
    kind: Kind
    style: Style
    part: StemScores
    metric: str

    def by_step(self) -> np.ndarray[Any, np.dtype[np.float64]]:
        """Scores, dB: (tracks, N+1)."""
        return self.part.by_step(self.metric)

    def gains(self, start: StemScores) -> dict[str, float]:
        """Gain over one pass by track, dB."""
        name = self.metric
        return {track: scores[name][-1] - start.tracks[track][name][-1] for track, scores in self.part.tracks.items()}

    def level(self) -> float:
        """Mean score after the last step, dB."""
        return float(self.by_step()[:, -1].mean())

    def mark(self) -> Style:
        """The look of a single point."""
        return replace(self.style, symbol="circle", width=3)


def benchmark_figures(file: BenchmarkFile) -> dict[str, go.Figure]:
    """The figures of a benchmark: `steps`, `tracks`, `gains`, `passes`, `stems`; where they ran, `ceilings`."""
    figures = {
        "steps": _steps(
            file, ("baseline", "line", "schedule", "shift"), f"{_metric(file)} after each step, held-out tracks"
        ),
        "tracks": _tracks(file),
        "gains": _gains(file),
        "passes": _passes(file),
        "stems": _stems(file),
    }
    if any(method.needs_references for method in file.methods):
        kinds: tuple[Kind, ...] = ("baseline", "line", "schedule", "oracle", "greedy")
        figures["ceilings"] = _steps(file, kinds, f"{_metric(file)} after each step, with the ceilings")
    return figures


def _steps(file: BenchmarkFile, kinds: Sequence[Kind], title: str) -> go.Figure:
    """The authors' figure 3 on held-out tracks."""
    made = []
    for stem in file.stems:
        start, shown = _shown(file, stem, kinds)
        longest = max(one.by_step().shape[1] for one in shown) - 1
        traces = [trace for one in shown for trace in _by_step(one, start, longest)]
        made.append(Panel(traces, axis("step n", whole=longest), axis(f"{_metric(file)}, dB"), _title(file, stem)))
    return panels(
        title, "Mean over tracks; the band holds the middle half of the tracks' changes since one pass.", made
    )


def _by_step(one: Shown, start: StemScores, longest: int) -> list[Trace]:
    scores, plain = one.by_step(), start.by_step(one.metric)  # (tracks, N+1), (tracks, 1)
    if one.kind == "baseline":
        return line(one.label, [(0, scores.mean()), (longest, scores.mean())], one.style)
    band = plain.mean() + np.quantile(scores - plain, (0.25, 0.75), axis=0)
    return line(one.label, enumerate(scores.mean(axis=0)), one.style, band=band.T)


def _tracks(file: BenchmarkFile) -> go.Figure:
    made = []
    for stem in file.stems:
        start, shown = _shown(file, stem, ("schedule", "shift"))
        first, *others = sorted(shown, key=lambda one: (one.kind != "schedule", -one.level()))
        beside = [(other.label, other.gains(start), other.style) for other in others]
        made.append(tracks_panel(file.metric, first.label, first.gains(start), first.style, beside, _title(file, stem)))
    return panels(
        "Gain of each held-out track", f"{_metric(file)} over that of one pass, sorted by the schedule's.", made
    )


def _gains(file: BenchmarkFile) -> go.Figure:
    """Mean gain of every method with its interval, the highest on top."""
    made = []
    for stem in file.stems:
        rows = _rows(file, stem)
        _, shown = _shown(file, stem, COMPARED)
        order = sorted(shown, key=lambda one: _gain(rows[one.name], file.metric).mean)
        traces = []
        for n, one in enumerate(order):
            mean, ends = _interval(rows[one.name], file.metric)
            traces.append(points("", [(mean, n)], one.mark(), labels=[one.name], error_x=ends))
        names = rows_axis([_row_name(one) for one in order])
        made.append(
            Panel(
                traces,
                axis(gain_label(file.metric), zero=True, autorangeoptions={"include": 0}),
                names,
                _title(file, stem),
                rows=max(round(1.6 * len(order)), 4),
            )
        )
    return panels(
        "Gain over one pass, held-out tracks",
        "Mean over tracks with its 95 % interval; methods that need the references are left out.",
        made,
    )


def _passes(file: BenchmarkFile) -> go.Figure:
    """Gain against passes along every trajectory, and the front: the highest gain for so many passes."""
    made = []
    for stem in file.stems:
        rows = _rows(file, stem)
        start, shown = _shown(file, stem, ("schedule", "shift", "line", "family"))
        traces: list[Trace] = []
        reached = [(1, 0.0)]
        for index, one in enumerate(shown):
            means = (one.by_step() - start.by_step(file.metric)).mean(axis=0)
            reached += enumerate(means.tolist(), 1)
            traces += line(one.label, enumerate(means, 1), one.style)
            mean, ends = _interval(rows[one.name], file.metric)
            # Side by side, so that intervals at equal passes can be told apart.
            beside = len(means) + 0.06 * (index - (len(shown) - 1) / 2)
            traces.append(points(one.label, [(beside, mean)], one.mark(), labels=[one.name], error_y=ends))
        front: list[tuple[int, float]] = []
        for cost, gain in sorted(reached, key=lambda point: (point[0], -point[1])):
            if not front or gain > front[-1][1]:
                front.append((cost, gain))
        traces = [*line("front", front, Style(MID_GREY, width=6)), *traces]
        longest = max(cost for cost, _ in reached)
        made.append(
            Panel(traces, axis("passes per excerpt", whole=longest), axis(gain_label(file.metric)), _title(file, stem))
        )
    return panels(
        "What more passes buy, held-out tracks",
        "Mean gain after so many passes; at the end with its 95 % interval over tracks. Methods that need the"
        " references are left out.",
        made,
    )


def _stems(file: BenchmarkFile) -> go.Figure:
    """Every track's gain by stem and kind of method: the highest of the kind, by its mean."""
    kinds: tuple[Kind, ...] = ("schedule", "shift", "line", "family")
    chosen: dict[Kind, dict[int, dict[str, float]]] = {}
    for position, stem in enumerate(file.stems):
        start, shown = _shown(file, stem, kinds)
        for one in sorted(shown, key=Shown.level):
            chosen.setdefault(one.kind, {})[position] = one.gains(start)
    there = [kind for kind in kinds if kind in chosen]
    traces: list[Trace] = []
    for n, kind in enumerate(there):
        label, style = LABELS.get(kind, "highest of the other families"), method_style(kind)
        offset = 0.8 * (n - (len(there) - 1) / 2) / len(there)
        gains = [(at + offset, track, gain) for at, its in chosen[kind].items() for track, gain in its.items()]
        tracks, faint = [track for _, track, _ in gains], Style(style.colour, width=1)
        traces.append(points(label, [(at, gain) for at, _, gain in gains], faint, labels=tracks, opacity=0.4))
        quartiles = [
            (at + offset, *np.quantile(list(its.values()), (0.25, 0.5, 0.75))) for at, its in chosen[kind].items()
        ]
        medians, bounds = [(at, median) for at, _, median, _ in quartiles], [(q[1], q[3]) for q in quartiles]
        traces.append(points(label, medians, Style(style.colour, symbol="diamond", width=5), error_y=bounds))
    return panels(
        "Gain by stem, held-out tracks",
        "A point for each track; diamonds are medians, their bars reach from the lower to the upper quartile. Of"
        " several methods of a kind, the one with the highest mean.",
        [Panel(traces, axis("", ticks=list(enumerate(file.stems))), axis(gain_label(file.metric), zero=True))],
    )


def _rows(file: BenchmarkFile, stem: str) -> dict[str, Row]:
    return {row.method: row for row in file.findings if row.stem == stem}


def _gain(row: Row, metric: str) -> Compared:
    """Against one pass."""
    return row.versus["baseline"][metric]


def _metric(file: BenchmarkFile) -> str:
    return metric_name(file.metric)


def _interval(row: Row, metric: str) -> tuple[float, list[tuple[float, float]]]:
    """Mean gain, and the ends of its interval where it has both."""
    gain = _gain(row, metric)
    low, high = gain.interval
    return gain.mean, [] if low is None or high is None else [(low, high)]


def _row_name(one: Shown) -> str:
    passes = "" if "passes" in one.name else f", {one.part.passes} passes"
    return short(one.name, 72) + passes


def _shown(file: BenchmarkFile, stem: str, kinds: Sequence[Kind]) -> tuple[StemScores, list[Shown]]:
    """The plain pass, and the methods of these kinds for `stem`, in the document's order."""
    methods = [method for method in file.methods if method.kind in kinds and stem in method.stems]
    shown = []
    for method in methods:
        twins = [other for other in methods if other.kind == method.kind]
        label = LABELS.get(method.kind, method.name) if _is_alone(file, method.kind) else method.name
        shown.append(
            Shown(
                method.name,
                label,
                method.kind,
                method_style(method.kind, twins.index(method)),
                method.stems[stem],
                file.metric,
            )
        )
    return file.methods[0].stems[stem], shown


def _is_alone(file: BenchmarkFile, kind: Kind) -> bool:
    """Whether every stem has at most one method of this kind, so that the kind's name tells which it is."""
    methods: list[MethodRecord] = [method for method in file.methods if method.kind == kind]
    return all(sum(stem in method.stems for method in methods) <= 1 for stem in file.stems)


def _title(file: BenchmarkFile, stem: str) -> str:
    return stem if len(file.stems) > 1 else ""

"""Charts of a benchmark document: a panel a stem, tracks as the unit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from schedopt.files.benchmark_file import BenchmarkFile, Compared, Kind, MethodPart, Row, StemPart
from schedopt.view.figures.chart import Axis, Boxes, Chart, Line, Mark, Panel, Points, Style, short
from schedopt.view.figures.palette import LIGHT_GREY, method_style
from schedopt.view.figures.study import GAIN, STEP, tracks_panel

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
    """One method for one stem as it is drawn; `label` is what the legend says."""

    name: str
    label: str
    kind: Kind
    style: Style
    part: StemPart

    def gains(self, start: StemPart) -> dict[str, float]:
        """Gain over one pass by track, dB."""
        return {track: scores["sdr"][-1] - start.tracks[track]["sdr"][-1] for track, scores in self.part.tracks.items()}


def benchmark_charts(file: BenchmarkFile) -> dict[str, Chart]:
    """Every chart of a benchmark by name: `steps`, `tracks`, `gains`, `passes`, `stems`; where they ran, `ceilings`."""
    charts = {
        "steps": _steps(file, ("baseline", "line", "schedule", "shift")),
        "tracks": _tracks(file),
        "gains": _gains(file),
        "passes": _passes(file),
        "stems": _stems(file),
    }
    if any(method.needs_references for method in file.methods):
        charts["ceilings"] = replace(
            _steps(file, ("baseline", "line", "schedule", "oracle", "greedy")),
            title="SDR after each step, with the ceilings",
        )
    return charts


def _steps(file: BenchmarkFile, kinds: Sequence[Kind]) -> Chart:
    """The authors' figure 3 on held-out tracks."""
    panels = []
    for stem in file.stems:
        start, shown = _shown(file, stem, kinds)
        longest = max(len(one.part.by_step()[0]) for one in shown)
        panels.append(
            Panel(STEP, Axis("SDR, dB"), tuple(_by_step(one, start, longest) for one in shown), _title(file, stem))
        )
    return Chart(
        "SDR after each step, held-out tracks",
        tuple(panels),
        "Mean over tracks; the band holds the middle half of the tracks' changes since one pass.",
    )


def _by_step(one: Shown, start: StemPart, longest: int) -> Line:
    scores = one.part.by_step()  # (tracks, N+1)
    if one.kind == "baseline":
        return Line(one.label, (0.0, longest - 1.0), (float(scores.mean()),) * 2, one.style)
    level = float(start.by_step().mean())
    low, high = level + np.quantile(scores - start.by_step(), (0.25, 0.75), axis=0)
    steps = tuple(float(n) for n in range(scores.shape[1]))
    return Line(one.label, steps, _floats(scores.mean(axis=0)), one.style, _floats(low), _floats(high))


def _tracks(file: BenchmarkFile) -> Chart:
    panels = []
    for stem in file.stems:
        start, shown = _shown(file, stem, ("schedule", "shift"))
        best, *others = sorted(
            shown, key=lambda one: (one.kind != "schedule", -float(one.part.by_step()[:, -1].mean()))
        )
        points = [(other.label, other.gains(start), other.style) for other in others]
        panels.append(tracks_panel(best.label, best.gains(start), best.style, points, _title(file, stem)))
    return Chart("Gain of each held-out track", tuple(panels), "SDR over that of one pass, sorted by the schedule's.")


def _gains(file: BenchmarkFile) -> Chart:
    """Mean gain of every method with its interval, the highest on top."""
    panels = []
    for stem in file.stems:
        rows = {row.method: row for row in file.findings if row.stem == stem}
        _, shown = _shown(file, stem, COMPARED)
        order = sorted(shown, key=lambda one: _gain(rows[one.name]).mean)
        ticks = tuple((float(n), _row_name(one)) for n, one in enumerate(order))
        marks = tuple(
            _with_interval("", float(n), _gain(rows[one.name]), one, sideways=True) for n, one in enumerate(order)
        )
        panels.append(Panel(Axis(GAIN), Axis("", ticks), marks, _title(file, stem)))
    return Chart(
        "Gain over one pass, held-out tracks",
        tuple(panels),
        "Mean over tracks with its 95 % bootstrap interval; ceilings are left out.",
    )


def _passes(file: BenchmarkFile) -> Chart:
    """Gain against passes along every trajectory, and the front: what nothing cheaper reaches."""
    panels = []
    for stem in file.stems:
        rows = {row.method: row for row in file.findings if row.stem == stem}
        start, shown = _shown(file, stem, ("schedule", "shift", "line", "family"))
        marks: list[Mark] = []
        reached = [(1.0, 0.0)]
        for index, one in enumerate(shown):
            means = (one.part.by_step() - start.by_step()).mean(axis=0)
            passes = tuple(float(n + 1) for n in range(len(means)))
            marks.append(Line(one.label, passes, _floats(means), one.style))
            # Side by side, so that intervals at equal passes can be told apart.
            beside = passes[-1] + 0.06 * (index - (len(shown) - 1) / 2)
            marks.append(_with_interval(one.label, beside, _gain(rows[one.name]), one, sideways=False))
            reached += zip(passes, _floats(means), strict=True)
        front: list[tuple[float, float]] = []
        for cost, gain in sorted(reached, key=lambda point: (point[0], -point[1])):
            if not front or gain > front[-1][1]:
                front.append((cost, gain))
        x, y = zip(*front, strict=True)
        marks.insert(0, Line("front", x, y, Style(LIGHT_GREY, width=5)))
        panels.append(Panel(Axis("passes an excerpt", whole=True), Axis(GAIN), tuple(marks), _title(file, stem)))
    return Chart(
        "What passes buy, held-out tracks",
        tuple(panels),
        "Mean gain after so many passes; at the end with its 95 % interval over tracks. Ceilings are left out.",
    )


def _gain(row: Row) -> Compared:
    """Against one pass, in SDR."""
    return row.versus["baseline"]["sdr"]


def _row_name(one: Shown) -> str:
    passes = "" if "passes" in one.name else f", {one.part.passes} passes"
    return short(one.name, 36) + passes


def _with_interval(name: str, at: float, gain: Compared, one: Shown, *, sideways: bool) -> Points:
    # Without both ends there is no bar.
    low, high = (() if end is None or None in gain.interval else (end,) for end in gain.interval)
    x, y = (gain.mean, at) if sideways else (at, gain.mean)
    look = replace(one.style, marker="circle", width=3.0)
    return Points(name, (x,), (y,), look, low, high, (one.name,), sideways)


def _stems(file: BenchmarkFile) -> Chart:
    """A box a stem and kind of method: the best of the kind, by its mean."""
    kinds: tuple[Kind, ...] = ("schedule", "shift", "line", "family")
    chosen: dict[Kind, dict[int, dict[str, float]]] = {}
    for place, stem in enumerate(file.stems):
        start, shown = _shown(file, stem, kinds)
        for one in sorted(shown, key=lambda one: float(one.part.by_step()[:, -1].mean())):
            chosen.setdefault(one.kind, {})[place] = one.gains(start)
    there = [kind for kind in kinds if kind in chosen]
    width = 0.8 / len(there)
    boxes = tuple(
        Boxes(
            LABELS.get(kind, "best of the other families"),
            tuple(place + (n - (len(there) - 1) / 2) * width for place in chosen[kind]),
            tuple(tuple(gains.values()) for gains in chosen[kind].values()),
            method_style(kind),
            width,
        )
        for n, kind in enumerate(there)
    )
    ticks = tuple((float(place), stem) for place, stem in enumerate(file.stems))
    return Chart(
        "Gain by stem, held-out tracks",
        (Panel(Axis("", ticks), Axis(GAIN), boxes),),
        "A value a track; of several methods of a kind the one with the highest mean.",
    )


def _shown(file: BenchmarkFile, stem: str, kinds: Sequence[Kind]) -> tuple[StemPart, list[Shown]]:
    """The plain pass, and the methods of these kinds for `stem`, in the document's order."""
    methods = [method for method in file.methods if method.kind in kinds and stem in method.stems]
    shown = []
    for method in methods:
        twins = [other for other in methods if other.kind == method.kind]
        label = LABELS.get(method.kind, method.name) if _is_alone(file, method.kind) else method.name
        shown.append(
            Shown(method.name, label, method.kind, method_style(method.kind, twins.index(method)), method.stems[stem])
        )
    return file.methods[0].stems[stem], shown


def _is_alone(file: BenchmarkFile, kind: Kind) -> bool:
    """Whether every stem has at most one method of this kind, so that the kind's name tells which it is."""
    methods: list[MethodPart] = [method for method in file.methods if method.kind == kind]
    return all(sum(stem in method.stems for method in methods) <= 1 for stem in file.stems)


def _title(file: BenchmarkFile, stem: str) -> str:
    return stem if len(file.stems) > 1 else ""


def _floats(values: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> tuple[float, ...]:
    return tuple(float(value) for value in values)

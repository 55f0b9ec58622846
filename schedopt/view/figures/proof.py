"""Charts of the two proofs: the sweep (the authors' figures 1 and 2) and the published table beside ours."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from schedopt.proof.reproduce import PUBLISHED, Reproduction
from schedopt.proof.sweep import UNIFORM, Sweep
from schedopt.view.figures.chart import Axis, Chart, Line, Panel, Style
from schedopt.view.figures.palette import BLUE, ORANGE, method_style, stem_style
from schedopt.view.figures.study import METRICS, STEP

OURS, THEIRS = Style(BLUE, marker="circle"), Style(ORANGE, dash="dashed", marker="diamond")


def sweep_charts(done: Sweep) -> dict[str, Chart]:
    """`sweep`: score of every stem against the gain of one (figure 1); `change`: against uniform weights (figure 2)."""
    gains = tuple(done.gains)
    metric = METRICS[done.metric]
    x = Axis(f"gain of {done.stem} in the mixture", tuple((gain, f"{gain:g}") for gain in gains), log=True)
    stems = list(done.tracks[UNIFORM])
    levels = tuple(
        Line(stem, gains, tuple(done.mean(gain, stem) for gain in gains), stem_style(stem)) for stem in stems
    )
    ends = [value for line in levels for value in line.y]
    uniform = Line("uniform weights", (UNIFORM, UNIFORM), (min(ends), max(ends)), method_style("baseline"))
    changes = tuple(_change(done, stem) for stem in stems)
    caption = "Mean over tracks after one pass; gain 1 for all stems is the uniform baseline."
    return {
        "sweep": Chart(
            f"A louder {done.stem} stem and the score of all",
            (Panel(x, Axis(f"{metric}, dB"), (uniform, *levels)),),
            caption,
        ),
        "change": Chart(
            f"A louder {done.stem} stem against uniform weights",
            (Panel(x, Axis(f"change in {metric}, dB"), changes),),
            f"{caption} Bands: 95 % bootstrap interval over tracks, where there are enough of them.",
        ),
    }


def _change(done: Sweep, stem: str) -> Line:
    made = [done.change(gain, stem) for gain in done.gains]
    bounds = [(c.low, c.high) for c in made if c.low is not None and c.high is not None]
    whole = len(bounds) == len(made) and bool(np.isfinite(bounds).all())
    low, high = zip(*bounds, strict=True) if whole else ((), ())
    return Line(stem, tuple(done.gains), tuple(c.mean for c in made), stem_style(stem), low, high)


def reproduction_charts(result: Reproduction) -> dict[str, Chart]:
    """`published`: score after each step beside the published one; `shape`: the same as change since one pass."""
    metric = METRICS[result.metric]
    rows = list(result.rows.items())

    def panels(label: str, *, change: bool) -> tuple[Panel, ...]:
        made = []
        for (rule, target), ours in rows:
            lines = [_line("ours", ours, OURS, change=change)]
            if published := PUBLISHED.get((rule, target)):
                lines.append(_line("published (SI-SDR)", published, THEIRS, change=change))
            made.append(Panel(STEP, Axis(label), tuple(lines), f"{target}, rule {rule}"))
        return tuple(made)

    published = Chart(
        "The published table and ours",
        panels(f"{metric}, dB", change=False),
        f"Line n/N; ours: {result.model}, mean over {result.tracks} tracks; published: HDemucs on 50 tracks.",
    )
    shape = replace(
        published,
        title="The published table and ours, change since one pass",
        panels=panels(f"change in {metric}, dB", change=True),
    )
    return {"published": published, "shape": shape}


def _line(name: str, values: tuple[float, ...], style: Style, *, change: bool) -> Line:
    start = values[0] if change else 0.0
    return Line(name, tuple(float(n) for n in range(len(values))), tuple(v - start for v in values), style)

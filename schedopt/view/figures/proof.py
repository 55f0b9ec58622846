"""Figures of the two proofs: the sweep (the authors' figures 1 and 2) and the published table beside ours."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go

from schedopt.proof.reproduce import PUBLISHED, Reproduction
from schedopt.proof.sweep import UNIFORM, Sweep
from schedopt.view.figures.drawing import Panel, Style, Trace, axis, line, metric_name, panels
from schedopt.view.figures.palette import BLUE, ORANGE, method_style, stem_style

OURS, THEIRS = Style(BLUE, symbol="circle"), Style(ORANGE, "dash", "diamond")


def sweep_figures(done: Sweep) -> dict[str, go.Figure]:
    """`sweep`: score of every stem against the gain of one (figure 1); `change`: against uniform weights (figure 2)."""
    gains, stems = list(done.gains), list(done.tracks[UNIFORM])
    x = axis(f"gain of {done.stem} in the mixture", ticks=[(gain, f"{gain:g}") for gain in gains], type="log")
    means = {stem: [done.mean(gain, stem) for gain in gains] for stem in stems}
    everything = [value for values in means.values() for value in values]
    levels = line("uniform weights", [(UNIFORM, end(everything)) for end in (min, max)], method_style("baseline"))
    for stem, values in means.items():
        levels += line(stem, zip(gains, values, strict=True), stem_style(stem))
    changes = [trace for stem in stems for trace in _change(done, stem)]
    caption = "Mean over tracks after one pass; gain 1 for all stems is the uniform baseline."
    metric = metric_name(done.metric)
    return {
        "sweep": panels(
            f"Weight of {done.stem} in the mixture and the score of all stems",
            caption,
            [Panel(levels, x, axis(f"{metric}, dB"))],
        ),
        "change": panels(
            f"Weight of {done.stem} in the mixture, change against uniform weights",
            f"{caption} Bands: 95 % interval over tracks, where there are enough of them.",
            [Panel(changes, x, axis(f"change in {metric}, dB", zero=True))],
        ),
    }


def _change(done: Sweep, stem: str) -> list[Trace]:
    made = [done.change(gain, stem) for gain in done.gains]
    bounds = [(c.low, c.high) for c in made if c.low is not None and c.high is not None]
    band = bounds if len(bounds) == len(made) and bool(np.isfinite(bounds).all()) else ()
    at = zip(done.gains, (c.mean for c in made), strict=True)
    return line(stem, at, stem_style(stem), band=band)


def reproduction_figures(result: Reproduction) -> dict[str, go.Figure]:
    """`published`: score after each step beside the published one; `shape`: the same as change since one pass.

    `stems`: the score of every stem's estimate after each step (the notebook's figure 2).
    """
    metric = metric_name(result.metric)
    caption = f"Line n/N; ours: {result.model}, mean over {result.tracks} tracks; published: HDemucs on 50 tracks."
    return {
        "published": _rows(result, "The published table and ours", caption, f"{metric}, dB", change=False),
        "shape": _rows(
            result,
            "The published table and ours, change since one pass",
            caption,
            f"change in {metric}, dB",
            change=True,
        ),
        "stems": panels(
            "All stems after each step",
            f"Line n/N; {result.model}, mean over {result.tracks} tracks, every stem's estimate from the same passes.",
            [_all_stems(result, row, f"{metric}, dB") for row in result.rows],
        ),
    }


def _all_stems(result: Reproduction, row: tuple[str, str], label: str) -> Panel:
    rule, target = row
    curves = result.stems.get(row, {})
    traces = [trace for stem, values in curves.items() for trace in line(stem, enumerate(values), stem_style(stem))]
    return Panel(traces, axis("step n", whole=len(result.rows[row]) - 1), axis(label), f"target {target}, rule {rule}")


def _rows(result: Reproduction, title: str, caption: str, label: str, *, change: bool) -> go.Figure:
    """A panel for each row of the table."""
    made = []
    for (rule, target), ours in result.rows.items():
        traces = _row("ours", ours, OURS, change=change)
        published = PUBLISHED.get((rule, target), ())
        if published:
            traces += _row("published (SI-SDR)", published, THEIRS, change=change)
        steps = max(len(ours), len(published)) - 1
        made.append(Panel(traces, axis("step n", whole=steps), axis(label), f"{target}, rule {rule}"))
    return panels(title, caption, made)


def _row(name: str, values: Sequence[float], style: Style, *, change: bool) -> list[Trace]:
    start = values[0] if change else 0.0
    return line(name, enumerate(value - start for value in values), style)

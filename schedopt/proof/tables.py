"""A benchmark in words and tables, for terminals and pages alike."""

from __future__ import annotations

from schedopt.files.benchmark_file import BenchmarkFile, Compared

ALL = "all stems"
"""The scope that is, track by track, the mean over the stems that sound."""

METRIC_NAMES = {"sdr": "SDR", "si_sdr": "SI-SDR", "snr": "SNR"}

Table = tuple[list[str], list[list[str]]]
"""Header and rows."""


def headline(file: BenchmarkFile) -> str:
    """Model, music and unit in one line."""
    tracks = len({excerpt.track for excerpt in file.data.excerpts})
    return (
        f"{file.model.model} ({file.model.precision}) on {tracks} held-out tracks of {file.data.source},"
        f" {lengths(file)}; dB"
    )


def lengths(file: BenchmarkFile) -> str:
    """How the tracks were cut."""
    seconds = file.data.excerpt
    return "whole" if seconds == "track" else f"{len(file.data.excerpts)} excerpts of {seconds:g} s"


def stem_table(file: BenchmarkFile, scope: str) -> Table:
    """Every method for a stem (or `ALL`)."""
    rows = [row for row in file.findings if row.stem == scope]
    with_frames = any(row.frames is not None for row in file.findings)
    with_shift = any("shift" in row.versus for row in rows)
    names = [METRIC_NAMES.get(metric, metric) for metric in file.metrics]
    head = [scope, "passes", "s", names[0], "median", *["1 s frames"] * with_frames, *names[1:]]
    head += ["gain over one pass", "p", "won/lost", *["gain over shift trick"] * with_shift]
    lines = []
    for row in rows:
        first, *others = (row.levels[metric] for metric in file.metrics)
        line = [row.method + " (needs the references)" * row.needs_references]
        line += [str(row.passes), f"{row.seconds:.2f}", f"{first.mean:.2f}"]
        line += [f"{first.median:.2f}", *[_level(row.frames)] * with_frames]
        line += [*(f"{level.mean:.2f}" for level in others), *_gain(row.versus.get("baseline", {}).get(file.metric))]
        line += [_gain(row.versus.get("shift", {}).get(file.metric))[0]] * with_shift
        lines.append(line)
    return head, lines


def footnotes(file: BenchmarkFile) -> list[str]:
    """What must be known to read the tables: units, corrections, choices, silence."""
    kinds = {method.kind for method in file.methods}
    lines = [f"passes and s(econds): of one excerpt, {file.seconds_per_pass:.3f} s a pass on the machine that ran it"]
    lines.append(
        f"gain, interval and p: {METRIC_NAMES.get(file.metric, file.metric)}, bootstrap-t over tracks, corrected for"
        " the number of schedules (the other methods apart from them)"
    )
    if "constant" in kinds:
        lines.append("constant: its β were fixed in advance, not chosen on these tracks")
    if ALL in file.scopes:
        lines.append(f"{ALL}: mean over the stems that sound, track by track")
    for method in file.methods:
        origins = [f"{stem}: {part.origin}" for stem, part in method.stems.items() if part.origin is not None]
        if origins:
            lines.append(f"{method.name}: chosen by its search ({'; '.join(origins)})")
    for stem, names in file.data.left_out.items():
        lines.append(f"silent, so left out of the mean of {stem} and counted for the other stems: {', '.join(names)}")
    if any(row.frames is not None for row in file.findings):
        lines.append("1 s frames: median over tracks of the median over frames; frames with a silent stem do not count")
    return lines


def _level(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def _gain(comparison: Compared | None) -> tuple[str, str, str]:
    """Mean with its interval, corrected p, wins/losses."""
    if comparison is None:
        return "–", "–", "–"
    interval = "" if comparison.interval == (None, None) else f" [{_end(comparison, 0)}, {_end(comparison, 1)}]"
    ties = f" ({comparison.ties} equal)" if comparison.ties else ""
    count = f"{comparison.wins}/{comparison.losses}{ties}"
    return f"{comparison.mean:+.3f}{interval}", f"{comparison.p:.2g}", count


def _end(comparison: Compared, side: int) -> str:
    end = comparison.interval[side]
    return ("−∞", "+∞")[side] if end is None else f"{end:+.3f}"

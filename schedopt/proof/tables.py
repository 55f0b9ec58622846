"""A benchmark in words and tables, for terminals and pages alike."""

from __future__ import annotations

from schedopt.files.benchmark_file import BenchmarkFile, Compared, Row
from schedopt.metrics import METRICS, title
from schedopt.proof.statistics import MIN_TRACKS

ALL = "all stems"
"""The scope that is, track by track, the mean over the stems that sound."""


FULL_TRACKS = 50
"""From so many tracks on verdicts hold for one-sided outliers and log-normal differences, too; see
`schedopt.proof.statistics`."""


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
    with_shift = any("shift" in row.versus for row in rows)
    others = [metric for metric in file.metrics if metric not in (file.metric, *file.objectives)]
    head = [scope, "passes", "s", title(file.metric), "median", *map(title, others)]
    head += ["gain over one pass", "p", "won/lost", *["gain over shift trick"] * with_shift]
    lines = []
    for row in rows:
        first = row.levels[file.metric]
        line = [row.method + " (needs the references)" * row.needs_references]
        line += [str(row.passes), f"{row.seconds:.2f}", f"{first.mean:.2f}"]
        line += [f"{first.median:.2f}", *(_average(row, metric) for metric in others)]
        line += [*_gain(row.versus.get("baseline", {}).get(file.metric))]
        line += [_gain(row.versus.get("shift", {}).get(file.metric))[0]] * with_shift
        lines.append(line)
    return head, lines


def objectives_table(file: BenchmarkFile, scope: str) -> Table:
    """Every method for a stem (or `ALL`) in the metrics of a search of two: level, gain over one pass, interval."""
    head = [scope, "passes"]
    for name in file.objectives:
        head += [title(name), "gain over one pass"]
    lines = []
    for row in file.findings:
        if row.stem == scope:
            line = [row.method + " (needs the references)" * row.needs_references, str(row.passes)]
            for name in file.objectives:
                line += [_average(row, name), _gain(row.versus.get("baseline", {}).get(name))[0]]
            lines.append(line)
    return head, lines


def footnotes(file: BenchmarkFile) -> list[str]:
    """What must be known to read the tables: units, corrections, choices, silence."""
    kinds = {method.kind for method in file.methods}
    lines = [f"passes and s(econds): of one excerpt, {file.seconds_per_pass:.3f} s a pass on the machine that ran it"]
    lines.append(
        f"gain, interval and p: {title(file.metric)}, bootstrap-t over tracks, corrected for"
        " the number of schedules (the other methods apart from them)"
    )
    tracks = [made.tracks for row in file.findings for versus in row.versus.values() for made in versus.values()]
    if any(MIN_TRACKS <= count < FULL_TRACKS for count in tracks):
        lines.append(
            f"verdicts from fewer than {FULL_TRACKS} tracks: false in at most 5 % of benchmarks, but more often (up to"
            " 40 % at 14 tracks) where a track in ten differs far more than the others, always to the same side"
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
    medians = [title(metric) for metric in file.metrics if _takes_median(metric)]
    lines += [f"{', '.join(medians)}: median over tracks"] * bool(medians)
    return lines


def _average(row: Row, metric: str) -> str:
    """Over tracks, as publications that use the metric take it; a dash where no track has a score."""
    if metric not in row.levels:
        return "–"
    level = row.levels[metric]
    return f"{level.median if _takes_median(metric) else level.mean:.2f}"


def _takes_median(metric: str) -> bool:
    return METRICS.knows(metric) and METRICS.find(metric).over_tracks == "median"


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

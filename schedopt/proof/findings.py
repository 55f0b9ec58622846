"""What follows from a benchmark's scores: means, paired comparisons over tracks, one sentence a schedule, the document.

A score of a track is the mean over its excerpts. "All stems" is, track by track, the mean over the stems that sound.
Holm's correction is made over the schedules (each stem of each file is one) that are compared with the same rival, and
apart from them over the other methods; over all stems, over the files.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from schedopt.files.benchmark_file import FORMAT, KIND
from schedopt.proof.benchmark import SCORED, Array, Benchmark, ScoredMetric
from schedopt.proof.methods import BASELINE, Method, shift_trick_name
from schedopt.proof.statistics import MIN_TRACKS, Comparison, compare, corrected
from schedopt.proof.tables import ALL
from schedopt.search.study import versions
from schedopt.types import Excerpt

Versus = Literal["baseline", "shift"]
WORDS: Mapping[Versus, str] = {"baseline": "one pass", "shift": "the shift trick at as many passes"}


@dataclass(frozen=True)
class Finding:
    """One method for one stem (or `ALL`): levels in dB, and comparisons by metric and rival.

    `frames` is the median over tracks of the median over 1 s frames (all stems: mean of the stems' medians).
    `passes` and `seconds` are those of one excerpt and stem (all stems: summed).
    """

    method: Method
    stem: str
    mean: Mapping[ScoredMetric, float]
    median: Mapping[ScoredMetric, float]
    frames: float | None
    passes: int
    seconds: float
    versus: Mapping[tuple[ScoredMetric, Versus], Comparison]

    @property
    def sentence(self) -> str:
        """Better, worse or no measurable difference; against one pass, and against the shift trick."""
        told = [_told(self.versus["sdr", rival], WORDS[rival]) for rival in WORDS if ("sdr", rival) in self.versus]
        return f"{self.method.name}, {self.stem}: {'; '.join(told)}."


def findings(bench: Benchmark) -> list[Finding]:
    """A finding for every method and stem, and for all stems where there are several and the method serves them all."""
    scopes: list[Scope] = [(stem, (stem,)) for stem in bench.stems]
    if len(bench.stems) > 1:
        scopes.append((ALL, bench.stems))
    compared = _comparisons(bench, scopes)
    return [
        _finding(bench, method, name, stems, compared)
        for name, stems in scopes
        for method in bench.methods
        if set(stems) <= set(method.settings)
    ]


def sentences(found: Iterable[Finding]) -> list[str]:
    """One sentence a schedule."""
    return [finding.sentence for finding in found if finding.method.kind == "schedule"]


def track_scores(bench: Benchmark, method: str, stem: str, metric: ScoredMetric) -> dict[str, Array]:
    """Scores in dB after each step, (N+1,), by track: mean over the track's excerpts."""
    by_track: dict[str, list[Array]] = {}
    for heard in bench.heard[method, stem]:
        by_track.setdefault(heard.track, []).append(heard.by_step[metric])
    return {track: np.asarray(np.mean(parts, axis=0)) for track, parts in by_track.items()}


def document(bench: Benchmark, found: Sequence[Finding]) -> dict[str, Any]:
    """The JSON document: settings, every track's scores by step, findings, sentences."""
    return {
        "format": FORMAT,
        "kind": KIND,
        "created": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "model": {
            "model": bench.model,
            "weights": bench.weights,
            "precision": "float32",
            "overlap": bench.overlap,
        },
        "data": {
            "source": bench.music.source,
            "split": "held-out",
            "excerpt": bench.music.excerpt,
            "excerpts_per_track": bench.music.excerpts_per_track,
            "excerpts": [_excerpt(excerpt) for excerpt in bench.excerpts],
            "left_out": bench.left_out,
        },
        "seed": bench.options.seed,
        "passes": {"run": bench.passes.run, "saved": bench.passes.saved},
        "seconds_per_pass": bench.seconds_per_pass,
        "methods": [_method(bench, method) for method in bench.methods],
        "findings": [_row(finding) for finding in found],
        "sentences": sentences(found),
        "versions": versions(),
    }


Scope = tuple[str, tuple[str, ...]]
"""A stem's name, or `ALL`, and the stems it stands for."""

Place = tuple[str, str, ScoredMetric, Versus]
"""Method's name, scope's name, metric and rival of one comparison."""


def _comparisons(bench: Benchmark, scopes: Sequence[Scope]) -> dict[Place, Comparison]:
    """Every comparison, corrected within its family."""
    families: dict[tuple[object, ...], dict[Place, Comparison]] = {}
    for name, stems in scopes:
        for method in bench.methods:
            if method.kind == "baseline" or not set(stems) <= set(method.settings):
                continue
            for rival in _rivals(bench, method, stems):
                for metric in SCORED:
                    differences = _differences(bench, method, stems, metric, rival)
                    # The same resamples for all comparisons, so that none depends on which others are made.
                    made = compare(differences, np.random.default_rng(bench.options.seed))
                    role = "ceiling" if method.needs_references else method.kind == "schedule"
                    family = families.setdefault((metric, rival, role, name == ALL), {})
                    family[method.name, name, metric, rival] = made
    return {
        place: comparison
        for family in families.values()
        for place, comparison in zip(family, corrected(list(family.values())), strict=True)
    }


def _rivals(bench: Benchmark, method: Method, stems: Sequence[str]) -> list[Versus]:
    """What a method is compared with: one pass; where it is not the shift trick itself, that at as many passes."""
    names = {one.name for one in bench.methods}
    has_shift = all(_rival_name(method, stem, "shift") in names for stem in stems)
    return (
        ["baseline", "shift"] if has_shift and method.kind != "shift" and not method.needs_references else ["baseline"]
    )


def _rival_name(method: Method, stem: str, rival: Versus) -> str:
    return BASELINE if rival == "baseline" else shift_trick_name(len(method.settings[stem].betas))


def _differences(
    bench: Benchmark, method: Method, stems: Sequence[str], metric: ScoredMetric, rival: Versus
) -> list[float]:
    """Method minus rival after the last step, dB, one a track."""
    ours = _values(bench, dict.fromkeys(stems, method.name), metric)
    theirs = _values(bench, {stem: _rival_name(method, stem, rival) for stem in stems}, metric)
    return [ours[track] - theirs[track] for track in ours]


def _values(bench: Benchmark, methods: Mapping[str, str], metric: ScoredMetric) -> dict[str, float]:
    """Score after the last step by track, mean over the stems that sound in it; `methods` by stem."""
    by_track: dict[str, list[float]] = {}
    for stem, method in methods.items():
        for track, steps in track_scores(bench, method, stem, metric).items():
            by_track.setdefault(track, []).append(float(steps[-1]))
    return {track: float(np.mean(parts)) for track, parts in by_track.items()}


def _finding(
    bench: Benchmark, method: Method, name: str, stems: Sequence[str], compared: Mapping[Place, Comparison]
) -> Finding:
    values = {metric: list(_values(bench, dict.fromkeys(stems, method.name), metric).values()) for metric in SCORED}
    passes = sum(method.passes(stem) for stem in stems)
    frames = [_frames(bench, method.name, stem) for stem in stems] if bench.options.frames else []
    return Finding(
        method=method,
        stem=name,
        mean={metric: float(np.mean(scores)) for metric, scores in values.items()},
        median={metric: float(np.median(scores)) for metric, scores in values.items()},
        frames=float(np.mean(frames)) if frames and np.isfinite(frames).all() else None,
        passes=passes,
        seconds=passes * bench.seconds_per_pass,
        versus={(place[2], place[3]): made for place, made in compared.items() if place[:2] == (method.name, name)},
    )


def _frames(bench: Benchmark, method: str, stem: str) -> float:
    """Median over tracks of the median over frames; NaN where no frame counts."""
    medians = list(_track_frames(bench, method, stem).values())
    return float(np.median(medians)) if medians else float("nan")


def _track_frames(bench: Benchmark, method: str, stem: str) -> dict[str, float]:
    by_track: dict[str, list[Array]] = {}
    for heard in bench.heard[method, stem]:
        by_track.setdefault(heard.track, []).append(heard.frames)
    joined = {track: np.concatenate(parts) for track, parts in by_track.items()}
    return {track: float(np.median(frames)) for track, frames in joined.items() if len(frames)}


def _told(comparison: Comparison, rival: str) -> str:
    """`better than one pass (+0.31 dB, 95 % interval +0.20 … +0.42, p 0.001; wins 17, losses 1)`."""
    verdict, tracks = comparison.verdict, comparison.tracks
    if verdict == "too few tracks":
        return (
            f"{comparison.mean:+.3f} dB against {rival}, but no verdict is possible from {tracks} track(s):"
            f" it takes {MIN_TRACKS}"
        )
    words = {"better": "better than", "worse": "worse than"}.get(verdict, f"{verdict} from")
    ties = f", ties {comparison.ties}" if comparison.ties else ""
    return (
        f"{words} {rival} ({comparison.mean:+.3f} dB, 95 % interval {comparison.low:+.3f} … {comparison.high:+.3f},"
        f" p {comparison.p_holm:.2g}; wins {comparison.wins}, losses {comparison.losses}{ties})"
    )


def _excerpt(excerpt: Excerpt) -> dict[str, Any]:
    silent = [stem for stem in excerpt.stems if stem not in excerpt.audible]
    return {
        "track": excerpt.track,
        "start": excerpt.start,
        "seconds": excerpt.seconds,
        "fingerprint": excerpt.fingerprint,
        "silent": silent,
    }


def _method(bench: Benchmark, method: Method) -> dict[str, Any]:
    return {
        "name": method.name,
        "kind": method.kind,
        "needs_references": method.needs_references,
        "file": method.file,
        "stems": {stem: _setting(bench, method, stem) for stem in bench.stems if stem in method.settings},
    }


def _setting(bench: Benchmark, method: Method, stem: str) -> dict[str, Any]:
    setting = method.settings[stem]
    how = setting.refinement
    scores = {metric: track_scores(bench, method.name, stem, metric) for metric in SCORED}
    frames = _track_frames(bench, method.name, stem)
    return {
        "betas": None if method.kind == "greedy" else list(setting.betas),
        "origin": setting.origin,
        "rule": how.rule,
        "shift": how.shift,
        "output": how.output,
        "residual": how.residual,
        "peak_guard": how.peak_guard,
        "sigma": how.sigma,
        "seed": how.seed,
        "passes": method.passes(stem),
        "seconds": method.passes(stem) * bench.seconds_per_pass,
        "tracks": {
            track: {metric: [round(float(v), 6) for v in scores[metric][track]] for metric in SCORED}
            | ({"frames": frames[track]} if track in frames else {})
            for track in scores["sdr"]
        },
    }


def _row(finding: Finding) -> dict[str, Any]:
    versus: dict[str, dict[str, Any]] = {}
    for (metric, rival), comparison in finding.versus.items():
        versus.setdefault(rival, {})[metric] = comparison.document()
    return {
        "method": finding.method.name,
        "kind": finding.method.kind,
        "needs_references": finding.method.needs_references,
        "stem": finding.stem,
        **{metric: {"mean": finding.mean[metric], "median": finding.median[metric]} for metric in SCORED},
        "frames": finding.frames,
        "passes": finding.passes,
        "seconds": finding.seconds,
        "versus": versus,
    }

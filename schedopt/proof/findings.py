"""What follows from a benchmark's scores: means, paired comparisons over tracks, guarded verdicts, the document.

Everything is computed from the document's own measurements (`Measured`), so that `schedopt.proof.verify` can repeat it.

A score of a track is the mean over its excerpts. "All stems" is, track by track, the mean over the stems that sound.
Comparisons are corrected together for the schedules (each stem of each file is one) that are compared with the same
rival in the same metric, and apart from them for the other methods; over all stems, for the files.

A schedule is *better* only if the interval of its gain in the benchmark's metric is above zero and that of none of
`GUARDS` is below; otherwise the verdict names the metrics that pay for the gain. (BSS Eval's SDR forgives any filter of
512 taps: weights fitted on it gained 0.30 dB SDR on a bass that lost 0.93 dB SNR.)
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from schedopt.files.benchmark_file import (
    FORMAT,
    KIND,
    Average,
    Compared,
    Measured,
    MethodRecord,
    Rival,
    Row,
    StemScores,
    checksums,
)
from schedopt.metrics import title
from schedopt.proof.benchmark import Array, Benchmark
from schedopt.proof.methods import Method
from schedopt.proof.statistics import BETTER, EQUAL, FEW, MIN_TRACKS, WORSE, compare
from schedopt.proof.tables import ALL
from schedopt.search.study import versions
from schedopt.types import Excerpt

GUARDS = ("si_sdr", "snr")
"""Metrics that may not fall, whatever the study's is: they forgive a gain at most, where `sdr` forgives 512 taps."""

WORDS: Mapping[Rival, str] = {"baseline": "one pass", "shift": "the shift trick at as many passes"}

DIGITS = 7
"""Decimals of a score in the document, below `TIE_DB`."""

Scope = tuple[str, tuple[str, ...]]
"""A stem's name, or `ALL`, and the stems it stands for."""

ComparisonKey = tuple[str, str, str, Rival]
"""Method's name, scope's name, metric and rival of one comparison."""


def document(bench: Benchmark) -> dict[str, Any]:
    """The JSON document: settings, every track's scores by step, findings, sentences, checksums."""
    measurements = _measurements(bench)
    measured = Measured.model_validate(measurements)
    rows = findings(measured)
    whole = {
        **measurements,
        "findings": [row.model_dump(mode="json") for row in rows],
        "sentences": sentences(rows, measured.metric, measured.objectives),
    }
    return {**whole, "checksums": checksums(whole)}


def findings(file: Measured) -> list[Row]:
    """A finding for every method and stem, and for all stems where there are several and the method serves them all."""
    scopes: list[Scope] = [(stem, (stem,)) for stem in file.stems]
    if len(file.stems) > 1:
        scopes.append((ALL, file.stems))
    compared = _comparisons(file, scopes)
    return [
        _row(file, method, scope, compared)
        for scope in scopes
        for method in file.methods
        if set(scope[1]) <= set(method.stems)
    ]


def sentences(rows: Iterable[Row], metric: str, objectives: Sequence[str] = ()) -> list[str]:
    """One sentence a schedule: better, worse or no measurable difference, against one pass and the shift trick.

    With `objectives`, the metrics of a bleed dial, the gain in each over one pass stands before it.
    """
    found = []
    for row in rows:
        if row.kind == "schedule":
            told = [_told(row, rival, metric) for rival in WORDS if rival in row.versus]
            gains = [f"{_gain(row, name)} over one pass" for name in objectives if name in row.versus["baseline"]]
            found.append(f"{row.method}, {row.stem}: {'; '.join([*gains, *told])}.")
    return found


def _gain(row: Row, metric: str) -> str:
    """`SI-SIR +2.15 dB (95 % interval +1.92 … +2.38)`, over one pass."""
    made = row.versus["baseline"][metric]
    interval = "" if made.tracks < MIN_TRACKS else f" (95 % interval {_interval(made)})"
    return f"{title(metric)} {made.mean:+.3f} dB{interval}"


def _interval(made: Compared) -> str:
    ends = [sign if end is None else f"{end:+.3f}" for end, sign in zip(made.interval, ("−∞", "+∞"), strict=True)]
    return " … ".join(ends)


def _comparisons(file: Measured, scopes: Sequence[Scope]) -> dict[ComparisonKey, Compared]:
    """Every comparison, corrected for those that are made together."""
    families: dict[tuple[object, ...], dict[ComparisonKey, dict[str, float]]] = {}
    for name, stems in scopes:
        for method in file.methods:
            if method.kind == "baseline" or not set(stems) <= set(method.stems):
                continue
            role = "ceiling" if method.needs_references else method.kind == "schedule"
            for rival, theirs in _rivals(file, method, stems).items():
                for metric in file.compared:
                    family = families.setdefault((metric, rival, role, name == ALL), {})
                    ours = {stem: method.stems[stem] for stem in stems}
                    family[method.name, name, metric, rival] = _differences(ours, theirs, metric)
    return {
        key: Compared(**made.document())
        for family in families.values()
        # The same resamples for all families, so that none depends on which others there are.
        for key, made in zip(family, compare([*family.values()], np.random.default_rng(file.seed)), strict=True)
    }


def _rivals(file: Measured, method: MethodRecord, stems: Sequence[str]) -> dict[Rival, dict[str, StemScores]]:
    """What a method is compared with, by stem: one pass; where there is one, the shift trick at as many passes."""
    baseline = file.methods[0].stems
    found: dict[Rival, dict[str, StemScores]] = {"baseline": {stem: baseline[stem] for stem in stems}}
    tricks = {
        stem: other.stems[stem]
        for stem in stems
        for other in file.methods
        if other.kind == "shift" and stem in other.stems and other.stems[stem].passes == method.stems[stem].passes
    }
    if set(tricks) == set(stems) and method.kind != "shift" and not method.needs_references:
        found["shift"] = tricks
    return found


def _differences(ours: Mapping[str, StemScores], theirs: Mapping[str, StemScores], metric: str) -> dict[str, float]:
    """Ours minus theirs after the last step, dB by track."""
    mine, others = _values(ours, metric), _values(theirs, metric)
    return {track: mine[track] - others[track] for track in mine}


def _values(parts: Mapping[str, StemScores], metric: str) -> dict[str, float]:
    """Score after the last step by track, mean over those of the stems that have one in it."""
    by_track: dict[str, list[float]] = {}
    for part in parts.values():
        for track, scores in part.tracks.items():
            if metric in scores:
                by_track.setdefault(track, []).append(scores[metric][-1])
    return {track: float(np.mean(values)) for track, values in by_track.items()}


def _row(file: Measured, method: MethodRecord, scope: Scope, compared: Mapping[ComparisonKey, Compared]) -> Row:
    name, stems = scope
    parts = {stem: method.stems[stem] for stem in stems}
    levels = {}
    for metric in file.metrics:
        values = list(_values(parts, metric).values())
        if values:
            levels[metric] = Average(mean=float(np.mean(values)), median=float(np.median(values)))
    versus: dict[Rival, dict[str, Compared]] = {}
    for (by, of, metric, rival), made in compared.items():
        if (by, of) == (method.name, name):
            versus.setdefault(rival, {})[metric] = made
    passes = sum(part.passes for part in parts.values())
    return Row(
        method=method.name,
        kind=method.kind,
        needs_references=method.needs_references,
        stem=name,
        levels=levels,
        passes=passes,
        seconds=passes * file.seconds_per_pass,
        versus=versus,
        verdicts={rival: guarded(by_metric, file.metric) for rival, by_metric in versus.items()},
    )


def guarded(by_metric: Mapping[str, Compared], metric: str) -> str:
    """The verdict on `metric`; a gain that others pay for is called so: `better in SDR at the cost of SNR`."""
    verdict = by_metric[metric].verdict
    falling = [guard for guard in GUARDS if guard in by_metric and by_metric[guard].verdict == WORSE]
    if verdict != BETTER or not falling:
        return verdict
    return f"{BETTER} in {title(metric)} at the cost of {' and '.join(title(m) for m in falling)}"


def _told(row: Row, rival: Rival, metric: str) -> str:
    """`better than one pass (+0.31 dB, 95 % interval +0.20 … +0.42, p 0.001; wins 17, losses 1)`."""
    made, verdict, other = row.versus[rival][metric], row.verdicts[rival], WORDS[rival]
    if verdict == FEW:
        few = f"no verdict is possible from {made.tracks} track(s): it takes {MIN_TRACKS}"
        return f"{made.mean:+.3f} dB against {other}, but {few}"
    words = {BETTER: f"{BETTER} than {other}", WORSE: f"{WORSE} than {other}", EQUAL: f"{EQUAL} from {other}"}
    falls = [
        f"; {title(guard)} {row.versus[rival][guard].mean:+.3f}"
        for guard in GUARDS
        if verdict not in words and row.versus[rival][guard].verdict == WORSE
    ]
    ties = f", ties {made.ties}" if made.ties else ""
    return (
        f"{words.get(verdict, f'{verdict} against {other}')} ({made.mean:+.3f} dB, 95 % interval"
        f" {_interval(made)}, p {made.p:.2g}{''.join(falls)}; wins {made.wins}, losses {made.losses}{ties})"
    )


def _measurements(bench: Benchmark) -> dict[str, Any]:
    """The part of the document that is measured."""
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
        "metric": bench.metric,
        "metrics": list(bench.metrics),
        "objectives": list(bench.objectives),
        "seed": bench.options.seed,
        "passes": {"run": bench.passes.run, "saved": bench.passes.saved},
        "seconds_per_pass": bench.seconds_per_pass,
        "methods": [
            {
                "name": method.name,
                "kind": method.kind,
                "needs_references": method.needs_references,
                "file": method.file,
                "point": method.point,
                "stems": {stem: _setting(bench, method, stem) for stem in bench.stems if stem in method.settings},
            }
            for method in bench.methods
        ],
        "versions": versions(),
    }


def _excerpt(excerpt: Excerpt) -> dict[str, Any]:
    return {
        "track": excerpt.track,
        "start": excerpt.start,
        "seconds": excerpt.seconds,
        "fingerprint": excerpt.fingerprint,
        "silent": [stem for stem in excerpt.stems if stem not in excerpt.audible],
    }


def _setting(bench: Benchmark, method: Method, stem: str) -> dict[str, Any]:
    setting = method.settings[stem]
    tracks: dict[str, dict[str, list[Array]]] = {}
    for scored in bench.scores[method.name, stem]:
        for metric, scores in scored.by_step.items():
            tracks.setdefault(scored.track, {}).setdefault(metric, []).append(scores)
    return {
        "betas": None if method.kind == "greedy" else list(setting.betas),
        "origin": setting.origin,
        **setting.refinement.model_dump(exclude={"target"}),
        "passes": method.passes(stem),
        "seconds": method.passes(stem) * bench.seconds_per_pass,
        "tracks": {
            track: {metric: np.mean(parts, axis=0).round(DIGITS).tolist() for metric, parts in by_metric.items()}
            for track, by_metric in tracks.items()
        },
    }

"""From a benchmark back into the schedule files that it compared: what each schedule was worth on held-out tracks."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence

from schedopt.files.schedule_file import FORMAT, SHARED, Entry, Gain95, HeldOutScore, ScheduleFile
from schedopt.proof.benchmark import Benchmark
from schedopt.proof.findings import Finding
from schedopt.proof.statistics import Comparison
from schedopt.proof.tables import ALL


def with_held_out(
    files: Mapping[str, ScheduleFile], bench: Benchmark, found: Sequence[Finding]
) -> dict[str, ScheduleFile]:
    """`files` (by path) with the held-out score of every schedule that was measured; the others stay as they are.

    The shared schedule's is that of all stems together, and is left out where a stem has a schedule of its own.
    """
    own = {(finding.method.file, finding.stem): finding for finding in found if finding.method.kind == "schedule"}
    return {
        path: file.model_copy(
            update={
                "format": FORMAT,
                "schedules": {
                    target: _noted(entry, bench, own.get((path, _scope(file, bench, target))))
                    for target, entry in file.schedules.items()
                },
            }
        )
        for path, file in files.items()
    }


def _scope(file: ScheduleFile, bench: Benchmark, target: str) -> str:
    """The finding's stem that tells what `target`'s schedule is worth; empty where none does."""
    if target != SHARED:
        return target
    if set(file.schedules) != {SHARED}:
        return ""
    return ALL if len(bench.stems) > 1 else bench.stems[0]


def _noted(entry: Entry, bench: Benchmark, finding: Finding | None) -> Entry:
    if finding is None:
        return entry
    over_shift_trick = finding.versus.get(("sdr", "shift"))
    over_one_pass = finding.versus["sdr", "baseline"]
    score = HeldOutScore(
        source=bench.music.source,
        tracks=over_one_pass.tracks,
        excerpt=bench.music.excerpt,
        value=finding.mean["sdr"],
        over_one_pass=_gain(over_one_pass),
        over_shift_trick=None if over_shift_trick is None else _gain(over_shift_trick),
        measured=datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
    )
    return entry.model_copy(update={"held_out": score})


def _gain(comparison: Comparison) -> Gain95:
    told = comparison.document()
    low, high = told["interval"]
    return Gain95(mean=comparison.mean, interval=(low, high), p=comparison.p_holm, verdict=comparison.verdict)

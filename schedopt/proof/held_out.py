"""From a benchmark back into the schedule files that it compared: what each schedule was worth on held-out tracks."""

from __future__ import annotations

from collections.abc import Mapping

from schedopt.files.benchmark_file import BenchmarkFile, Rival, Row
from schedopt.files.schedule_file import FORMAT, SHARED, Entry, Gain95, HeldOutScore, ScheduleFile
from schedopt.proof.tables import ALL


def with_held_out(files: Mapping[str, ScheduleFile], result: BenchmarkFile) -> dict[str, ScheduleFile]:
    """`files` (by path) with the held-out score of every schedule that was measured; the others stay as they are.

    The shared schedule's is that of all stems together, and is left out where a stem has a schedule of its own.
    """
    schedules = {(method.file, method.point): method.name for method in result.methods if method.kind == "schedule"}
    return {path: _with_scores(path, file, result, schedules) for path, file in files.items()}


def _with_scores(
    path: str, file: ScheduleFile, result: BenchmarkFile, methods: Mapping[tuple[str | None, str | None], str]
) -> ScheduleFile:
    """`file` with the scores of its `methods`, by path and point."""
    rows = {(row.method, row.stem): row for row in result.findings}

    def noted(target: str, entry: Entry, point: str | None) -> Entry:
        return _noted(entry, result, rows.get((methods.get((path, point), ""), _scope(file, result, target))))

    points = {
        point: {target: noted(target, entry, point) for target, entry in entries.items()}
        for point, entries in file.points.items()
    }
    schedules = {
        target: noted(target, entry, next((one for one in points if file.points[one][target] == entry), None))
        for target, entry in file.schedules.items()
    }
    return file.model_copy(update={"format": FORMAT, "schedules": schedules, "points": points})


def _scope(file: ScheduleFile, result: BenchmarkFile, target: str) -> str:
    """The finding's stem that tells what `target`'s schedule is worth; empty where none does."""
    if target != SHARED:
        return target
    if set(file.schedules) != {SHARED}:
        return ""
    return ALL if len(result.stems) > 1 else result.stems[0]


def _noted(entry: Entry, result: BenchmarkFile, row: Row | None) -> Entry:
    if row is None:
        return entry
    score = HeldOutScore(
        source=result.data.source,
        tracks=row.versus["baseline"][result.metric].tracks,
        excerpt=result.data.excerpt,
        value=row.levels[result.metric].mean,
        over_one_pass=_gain(row, "baseline", result.metric),
        over_shift_trick=_gain(row, "shift", result.metric) if "shift" in row.versus else None,
        measured=result.created,
        objectives={name: _gain(row, "baseline", name, guarded=False) for name in result.objectives},
    )
    return entry.model_copy(update={"held_out": score})


def _gain(row: Row, rival: Rival, metric: str, *, guarded: bool = True) -> Gain95:
    """`guarded`: with the verdict on the benchmark's metric, which says what else falls."""
    made = row.versus[rival][metric]
    verdict = row.verdicts[rival] if guarded else made.verdict
    return Gain95(mean=made.mean, interval=made.interval, p=made.p, verdict=verdict)

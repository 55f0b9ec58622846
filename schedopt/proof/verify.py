"""Does a benchmark document add up? Everything that follows from its scores is computed again, without audio.

Three looks: the checksums of all fields, what the settings say about one another, and the conclusions (means, medians,
intervals, p, verdicts, sentences) from the tracks' scores. Whoever changes a score, makes all conclusions anew and all
checksums too has made another document that adds up: only running the benchmark again tells them apart.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from schedopt.files.benchmark_file import BenchmarkFile, Kind, Row, StemScores, changed, load_document
from schedopt.files.explain import explain
from schedopt.proof.findings import findings, sentences
from schedopt.proof.methods import CEILINGS, passes_of

RANKED = ("interval", "p")
"""Fields that are quantiles of resamples: another machine's rounding may move them by a resample."""

CHECKSUM = "not as it was written (checksum)"


def verify(path: Path) -> tuple[BenchmarkFile, list[str]]:
    """A benchmark document, and what does not add up in it: a line each, with the field; none if all does.

    Raises:
        DataError: it cannot be read, or is no benchmark document.
    """
    file, document = load_document(path)
    return file, [*(f"{field}: {CHECKSUM}" for field in changed(document)), *_settings(file), *_conclusions(file)]


def _settings(file: BenchmarkFile) -> Iterator[str]:
    """What settings, excerpts and scores say about one another."""
    excerpts = file.data.excerpts
    for stem in file.stems:
        silent = tuple(f"{one.track} @ {one.start:g} s" for one in excerpts if stem in one.silent)
        if file.data.left_out.get(stem, ()) != silent:
            yield f"data.left_out.{stem}: not the excerpts that name it as silent"
        sounding = {one.track for one in excerpts if stem not in one.silent}
        if set(file.methods[0].stems[stem].tracks) != sounding:
            yield f"methods, {stem}: the scored tracks are not those of the excerpts in which it sounds"
    for method in file.methods:
        if method.needs_references != (method.kind in CEILINGS):
            yield f"{method.name}: needs_references does not fit kind {method.kind}"
        for stem, part in method.stems.items():
            yield from (f"{method.name}, {stem}: {fault}" for fault in _part(file, method.kind, part))


def _part(file: BenchmarkFile, kind: Kind, part: StemScores) -> Iterator[str]:
    steps = part.by_step(file.metric).shape[1] - 1
    if part.betas is not None and len(part.betas) != steps:
        yield f"{len(part.betas)} betas, but scores after {steps} steps"
    if part.passes != passes_of(kind, steps):
        yield f"passes is {part.passes}, {steps} steps cost {passes_of(kind, steps)}"
    if not _equal(part.seconds, part.passes * file.seconds_per_pass, "seconds"):
        yield f"seconds is {part.seconds:g}, passes times seconds_per_pass is {part.passes * file.seconds_per_pass:g}"


def _conclusions(file: BenchmarkFile) -> Iterator[str]:
    """What the findings and sentences say, against what follows from the scores."""
    try:
        again = findings(file)
    except ValidationError as error:  # a number that overflows
        yield explain(error, "the findings that follow", Row)
        return
    kept = {(row.method, row.stem): row.model_dump(mode="json") for row in file.findings}
    for row in again:
        stored = kept.pop((row.method, row.stem), {})
        for field, was, now in _differing("", stored, row.model_dump(mode="json")):
            yield f"findings of {row.method}, {row.stem}: {field} is {_shown(was)}, the scores give {_shown(now)}"
    yield from (f"findings of {method}, {stem}: follow from no scores" for method, stem in kept)
    if list(file.sentences) != sentences(again, file.metric, file.objectives):
        yield "sentences: not those that follow from the scores"


def _differing(path: str, kept: Any, again: Any) -> Iterator[tuple[str, Any, Any]]:
    """Path, stored value and recomputed value of every field that differs."""
    if isinstance(kept, Mapping) and isinstance(again, Mapping):
        for name in dict.fromkeys([*again, *kept]):
            yield from _differing(f"{path}.{name}".removeprefix("."), kept.get(name), again.get(name))
    elif not _equal(kept, again, path.rpartition(".")[2]):
        yield path, kept, again


def _equal(kept: Any, again: Any, key: str) -> bool:
    if isinstance(kept, (list, tuple)) and isinstance(again, (list, tuple)):
        return len(kept) == len(again) and all(_equal(a, b, key) for a, b in zip(kept, again, strict=True))
    if not isinstance(kept, (int, float)) or not isinstance(again, (int, float)):
        return bool(kept == again)
    return abs(kept - again) <= (1e-4 + 1e-3 * abs(again) if key in RANKED else 1e-9 * max(1.0, abs(again)))


def _shown(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return " … ".join(map(_shown, value))
    return f"{value:.6g}" if isinstance(value, float) else "missing" if value is None else str(value)

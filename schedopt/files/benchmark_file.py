"""Benchmark documents (the JSON of `schedopt benchmark`) read back, for figures and reports. Nothing in one is trusted.

`schedopt.proof.findings.document` writes them: what was measured (`Measured`: settings, every track's scores, the
excerpts' fingerprints), what follows from it (findings, sentences), and a checksum of every field, so that
`schedopt verify` names what was changed. A benchmark document is no schedule file, and nothing makes one of it: what a
ceiling did with the true stems stays here.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, field_validator, model_validator

from schedopt.errors import DataError, shown
from schedopt.files.explain import explain
from schedopt.files.reading import parse_json, read_bytes
from schedopt.files.schedule_file import Beta, Hex, Number, Text
from schedopt.outputs import Weights
from schedopt.refinement import SeededOptions
from schedopt.types import CORE, STEMS, CoreMetric

Kind = Literal["baseline", "schedule", "shift", "line", "constant", "family", "oracle", "greedy"]
"""See `schedopt.proof.methods`."""

Rival = Literal["baseline", "shift"]
"""What a method is compared with: one pass, and the shift trick at as many passes."""

FORMAT = 2
"""1 had no SNR, checksums and guarded verdicts, and other statistics."""

KIND = "schedopt benchmark"
MAX_BYTES = 2**28
"""50 tracks with four stems and ten methods have 2 MB."""

CHECKSUM = 6
"""Hexadecimal digits a field."""

Scores = Annotated[tuple[Number, ...], Field(min_length=1, max_length=101)]


class Section(BaseModel):
    """Unknown keys are ignored: a later version may write more."""

    model_config = ConfigDict(extra="ignore", frozen=True, strict=False)


class Compared(Section):
    """A paired comparison over tracks, dB; see `schedopt.proof.statistics.Comparison`."""

    tracks: int
    mean: Number
    interval: tuple[Number | None, Number | None]
    p: Number
    wins: int
    losses: int
    ties: int
    verdict: Text


class Average(Section):
    mean: Number
    median: Number


class Row(Section):
    """A finding: one method for one stem or all stems; by metric (dB), and by rival and metric.

    `passes` and `seconds` are those of one excerpt and stem (all stems: summed). `verdicts` are guarded: see
    `schedopt.proof.findings`.
    """

    method: Text
    kind: Kind
    needs_references: bool
    stem: Text
    levels: dict[Text, Average]
    passes: int
    seconds: Number
    versus: dict[Rival, dict[Text, Compared]]
    verdicts: dict[Rival, Text]


class StemScores(SeededOptions, Section):
    """One method for one stem; `betas` is null for the greedy search, which finds others for each excerpt.

    `tracks`: scores after step 0 … N by track and metric; one of `CORE` is never missing.
    """

    betas: tuple[Beta, ...] | None
    weights: Weights | None = None
    origin: Text | None = None
    passes: int = Field(ge=1)
    seconds: Number
    tracks: Annotated[dict[str, dict[Text, Scores]], Field(min_length=1)]

    def weights_of(self, stem: str) -> Weights | None:
        return self.weights

    def by_step(self, metric: str = "sdr") -> np.ndarray[Any, np.dtype[np.float64]]:
        """Scores in dB: (tracks, N+1)."""
        return np.array([scores[metric] for scores in self.tracks.values()])

    @model_validator(mode="after")
    def _equally_long(self) -> StemScores:
        if len({len(one) for scores in self.tracks.values() for one in scores.values()}) != 1:
            raise ValueError("tracks have scores of different numbers of steps")
        return self


class MethodRecord(Section):
    name: Text
    kind: Kind
    needs_references: bool
    file: Text | None = None
    point: Text | None = None
    stems: Annotated[dict[Text, StemScores], Field(min_length=1)]


class ExcerptRecord(Section):
    track: str
    start: float = Field(ge=0, allow_inf_nan=False)
    seconds: float = Field(gt=0, allow_inf_nan=False)
    fingerprint: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{16,64}$")]
    silent: tuple[Text, ...] = ()


class HeldOutMusic(Section):
    source: Text
    excerpt: Annotated[float, Field(gt=0.05, le=600)] | Literal["track"]
    excerpts_per_track: int = Field(ge=1, le=1000)
    excerpts: tuple[ExcerptRecord, ...]
    left_out: dict[Text, tuple[str, ...]] = Field(default_factory=dict)


class Model(Section):
    model: Text
    weights: Hex
    precision: Text
    overlap: float = Field(ge=0, lt=1)


class Measured(Section):
    """What a benchmark measured; `metric`, one of `CORE`, is the study's, which the verdicts are about.

    `objectives`: the metrics of a search of two; methods are compared in them too.
    """

    format: int
    kind: Literal["schedopt benchmark"]
    created: Text
    model: Model
    data: HeldOutMusic
    metric: CoreMetric
    metrics: Annotated[tuple[Text, ...], Field(min_length=1)]
    objectives: tuple[Text, ...] = ()
    seed: int = Field(ge=0)
    passes: dict[Text, int]
    seconds_per_pass: Number
    methods: Annotated[tuple[MethodRecord, ...], Field(min_length=1)]
    versions: dict[Text, Text]

    @property
    def compared(self) -> tuple[str, ...]:
        """Metrics that methods are compared in."""
        return tuple(dict.fromkeys((*CORE, *self.objectives)))

    @property
    def stems(self) -> tuple[str, ...]:
        """Stems that were scored."""
        known = {stem: rank for rank, stem in enumerate(STEMS)}
        return tuple(sorted(self.methods[0].stems, key=lambda stem: (known.get(stem, len(STEMS)), stem)))

    @field_validator("format")
    @classmethod
    def _known_format(cls, value: int) -> int:
        if value != FORMAT:
            raise ValueError(f"this schedopt reads format {FORMAT}; run the benchmark again")
        return value

    @model_validator(mode="after")
    def _baseline_first(self) -> Measured:
        if self.methods[0].kind != "baseline":
            raise ValueError("the first method is not the plain pass")
        for method in self.methods:
            for stem, part in method.stems.items():
                if stem not in self.stems:
                    raise ValueError(f"{method.name}: the plain pass was not scored on {stem!r}")
                if part.tracks.keys() != self.methods[0].stems[stem].tracks.keys():
                    raise ValueError(f"{method.name} and the plain pass were scored on different tracks of {stem}")
                if any(not set(CORE) <= set(scores) <= set(self.metrics) for scores in part.tracks.values()):
                    raise ValueError(f"{method.name}, {stem}: tracks are not scored in {', '.join(self.metrics)}")
        if any(part.by_step().shape[1] != 1 for part in self.methods[0].stems.values()):
            raise ValueError("the plain pass has more than one step")
        return self

    @model_validator(mode="after")
    def _objectives_are_scored(self) -> Measured:
        missing = [name for name in self.objectives if name not in self.metrics]
        if missing:
            raise ValueError(f"{missing[0]} is an objective, but not among the metrics")
        return self

    @model_validator(mode="after")
    def _named_apart(self) -> Measured:
        """Figures and tables look methods up by name."""
        if len({method.name for method in self.methods}) != len(self.methods):
            raise ValueError("two methods have one name")
        for stem in self.stems:
            if not any(m.kind == "schedule" and stem in m.stems for m in self.methods):
                raise ValueError(f"there is no schedule for {stem!r}")
        return self


class BenchmarkFile(Measured):
    """A benchmark document."""

    findings: tuple[Row, ...]
    sentences: tuple[Annotated[str, Field(max_length=4000)], ...]
    checksums: dict[str, str]

    @property
    def scopes(self) -> tuple[str, ...]:
        """What there are findings for: the stems, and all of them together where there are several."""
        return tuple(dict.fromkeys(row.stem for row in self.findings))

    @model_validator(mode="after")
    def _complete(self) -> BenchmarkFile:
        """Figures and tables look findings up by method and stem."""
        rows = {(row.method, row.stem): row for row in self.findings}
        for method in self.methods:
            for stem in method.stems:
                row = rows.get((method.name, stem))
                if row is None or (method.kind != "baseline" and self.metric not in row.versus.get("baseline", {})):
                    raise ValueError(f"there is no finding for {method.name}, {stem}")
        return self


def checksums(document: Mapping[str, Any]) -> dict[str, str]:
    """Checksums of every field but `checksums`: by path of the object, `CHECKSUM` digits a key in sorted order.

    They show what was changed by accident or without them; they are no signature, since anybody can make them anew.
    """
    return {
        path: "".join(_checksum(fields[key]) for key in sorted(fields))
        for path, fields in _objects({key: value for key, value in document.items() if key != "checksums"}, "")
    }


def changed(document: Mapping[str, Any]) -> Iterator[str]:
    """Paths of the fields that differ from `document`'s own checksums."""
    kept = document["checksums"]
    objects = dict(_objects({key: value for key, value in document.items() if key != "checksums"}, ""))
    yield from (f"{path or 'the document'} is missing" for path in kept if path not in objects)
    for path, fields in objects.items():
        found = kept.get(path)
        keys = sorted(fields)
        if found is None or len(found) != CHECKSUM * len(keys):
            yield f"{path or 'the document'} has been added, or has another number of fields"
            continue
        for n, key in enumerate(keys):
            if found[n * CHECKSUM : (n + 1) * CHECKSUM] != _checksum(fields[key]):
                yield f"{path}.{key}".removeprefix(".")


def _objects(value: Any, path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every JSON object in `value` by its path, with the fields that hold no object."""
    if isinstance(value, Mapping):
        yield path, {key: child for key, child in value.items() if not _holds_objects(child)}
        children = [(f"{path}.{key}".removeprefix("."), child) for key, child in value.items()]
    else:
        children = [(f"{path}[{n}]", child) for n, child in enumerate(value)]
    for name, child in children:
        if _holds_objects(child):
            yield from _objects(child, name)


def _holds_objects(value: Any) -> bool:
    return isinstance(value, Mapping) or (isinstance(value, (list, tuple)) and any(map(_holds_objects, value)))


def _checksum(value: Any) -> str:
    return hashlib.sha256(json.dumps(_plain(value), ensure_ascii=True).encode()).hexdigest()[:CHECKSUM]


def _plain(value: Any) -> Any:
    """Numbers as floats: programs that rewrite JSON make 1 of 1.0."""
    if isinstance(value, (list, tuple)):
        return [_plain(child) for child in value]
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return float(value) if is_number and abs(value) <= sys.float_info.max else value


def read_benchmark(document: Mapping[str, Any]) -> BenchmarkFile:
    """What `findings.document` made, as a model."""
    return BenchmarkFile.model_validate(document)


def load_benchmark(path: Path) -> BenchmarkFile:
    """Read and check a benchmark document.

    Raises:
        DataError: it cannot be read, or is something else; one line with the file and the field.
    """
    return load_document(path)[0]


def load_document(path: Path) -> tuple[BenchmarkFile, dict[str, Any]]:
    """The same, with the document as it was written."""
    where = shown(path)
    document = _document(read_bytes(path, MAX_BYTES, "benchmark", DataError), where)
    if document.get("kind") != KIND:
        raise DataError(f"{where}: is no benchmark; `schedopt benchmark FILE… -o RESULT.json` writes one")
    try:
        file = read_benchmark(document)
    except ValidationError as error:
        raise DataError(explain(error, where, BenchmarkFile)) from None
    for row in file.findings:
        if set(row.levels) != set(file.metrics):
            metrics = ", ".join(file.metrics)
            raise DataError(f"{where}: findings of {row.method}, {row.stem}: levels are not of {metrics}")
    return file, document


def _document(content: bytes, where: str) -> dict[str, Any]:
    try:
        document = parse_json(content, where, DataError)
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}

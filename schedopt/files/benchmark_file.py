"""Benchmark documents (the JSON of `schedopt benchmark`) read back, for figures and reports. Nothing in one is trusted.

`schedopt.proof.findings.document` writes them. A benchmark document is no schedule file, and nothing makes one of
it: what a ceiling did with the true stems stays here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from schedopt.data._text import reason, shown
from schedopt.errors import DataError
from schedopt.files.schedule_file import Beta, Hex, Number, Text, explain
from schedopt.refinement import SeededOptions
from schedopt.types import STEMS

Kind = Literal["baseline", "schedule", "shift", "line", "constant", "family", "oracle", "greedy"]
"""See `schedopt.proof.methods`."""

FORMAT = 1
KIND = "schedopt benchmark"
MAX_BYTES = 2**28
"""50 tracks with four stems and ten methods have 2 MB."""

Scores = Annotated[tuple[Number, ...], Field(min_length=1, max_length=101)]


class Part(BaseModel):
    """Unknown keys are let be: a later version may write more."""

    model_config = ConfigDict(extra="ignore", frozen=True, strict=False)


class Compared(Part):
    """A paired comparison over tracks, dB; see `schedopt.proof.statistics.Comparison`."""

    mean: Number
    interval: tuple[Number | None, Number | None]
    p_holm: Number
    wins: int
    losses: int
    ties: int
    verdict: Text


class Level(Part):
    mean: Number
    median: Number


class Row(Part):
    """A finding: one method for one stem or all stems."""

    method: Text
    kind: Kind
    needs_references: bool
    stem: Text
    sdr: Level
    si_sdr: Level
    frames: Number | None = None
    passes: int
    seconds: Number
    versus: dict[Literal["baseline", "shift"], dict[Literal["sdr", "si_sdr"], Compared]]


class TrackScores(Part):
    """Scores after step 0 … N of one track, dB."""

    sdr: Scores
    si_sdr: Scores


class StemPart(SeededOptions, Part):
    """One method for one stem; `betas` is null for the greedy search, which finds others for each excerpt."""

    betas: tuple[Beta, ...] | None
    origin: Text | None = None
    passes: int = Field(ge=1)
    tracks: Annotated[dict[str, TrackScores], Field(min_length=1)]

    def by_step(self) -> np.ndarray[Any, np.dtype[np.float64]]:
        """SDR in dB: (tracks, N+1)."""
        return np.array([scores.sdr for scores in self.tracks.values()])

    @model_validator(mode="after")
    def _equally_long(self) -> StemPart:
        steps = {len(one) for scores in self.tracks.values() for one in (scores.sdr, scores.si_sdr)}
        if len(steps) != 1:
            raise ValueError("tracks have scores of different numbers of steps")
        return self


class MethodPart(Part):
    name: Text
    kind: Kind
    needs_references: bool
    file: Text | None = None
    stems: Annotated[dict[Text, StemPart], Field(min_length=1)]


class ExcerptPart(Part):
    track: str
    start: float = Field(ge=0, allow_inf_nan=False)
    seconds: float = Field(gt=0, allow_inf_nan=False)
    fingerprint: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{16,64}$")]
    silent: tuple[Text, ...] = ()


class Heard(Part):
    """The held-out music."""

    source: Text
    excerpt: float = Field(gt=0.05, le=600)
    excerpts_per_track: int = Field(ge=1, le=1000)
    excerpts: tuple[ExcerptPart, ...]
    left_out: dict[Text, tuple[str, ...]] = Field(default_factory=dict)


class Model(Part):
    model: Text
    weights: Hex
    precision: Text
    overlap: float = Field(ge=0, lt=1)


class BenchmarkFile(Part):
    """A benchmark document."""

    format: Literal[1]
    kind: Literal["schedopt benchmark"]
    created: Text
    model: Model
    data: Heard
    seed: int
    passes: dict[Text, int]
    seconds_per_pass: Number
    methods: Annotated[tuple[MethodPart, ...], Field(min_length=1)]
    findings: tuple[Row, ...]
    sentences: tuple[Annotated[str, Field(max_length=4000)], ...]
    versions: dict[Text, Text]

    @property
    def stems(self) -> tuple[str, ...]:
        """Stems that were scored."""
        return tuple(self.methods[0].stems)

    @property
    def scopes(self) -> tuple[str, ...]:
        """What there are findings for: the stems, and all of them together where there are several."""
        return tuple(dict.fromkeys(row.stem for row in self.findings))

    @model_validator(mode="after")
    def _baseline_first(self) -> BenchmarkFile:
        if self.methods[0].kind != "baseline":
            raise ValueError("the first method is not the plain pass")
        for method in self.methods:
            for stem, part in method.stems.items():
                if stem not in self.stems or part.tracks.keys() != self.methods[0].stems[stem].tracks.keys():
                    raise ValueError(f"{method.name} and the plain pass were scored on different tracks of {stem}")
        if any(part.by_step().shape[1] != 1 for part in self.methods[0].stems.values()):
            raise ValueError("the plain pass has more than one step")
        return self

    @model_validator(mode="after")
    def _complete(self) -> BenchmarkFile:
        """Figures and tables look methods and findings up by name."""
        if len({method.name for method in self.methods}) != len(self.methods):
            raise ValueError("two methods have one name")
        rows = {(row.method, row.stem): row for row in self.findings}
        for stem in self.stems:
            of_stem = [method for method in self.methods if stem in method.stems]
            if stem not in STEMS or not any(method.kind == "schedule" for method in of_stem):
                raise ValueError(f"there is no schedule for {stem!r}")
            for method in of_stem:
                row = rows.get((method.name, stem))
                if row is None or (method.kind != "baseline" and "sdr" not in row.versus.get("baseline", {})):
                    raise ValueError(f"there is no finding for {method.name}, {stem}")
        return self


def read_benchmark(document: Mapping[str, Any]) -> BenchmarkFile:
    """What `findings.document` made, as a model."""
    return BenchmarkFile.model_validate(document)


def load_benchmark(path: Path) -> BenchmarkFile:
    """Read and check a benchmark document.

    Raises:
        DataError: it cannot be read, or is something else; one line with the file and the field.
    """
    where = shown(path)
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise DataError(f"{where}: there is no such file") from None
    except (OSError, ValueError) as error:
        raise DataError(f"{where}: cannot be read: {reason(error)}") from None
    if len(content) > MAX_BYTES:
        raise DataError(f"{where}: larger than {MAX_BYTES // 2**20} MiB, so it is no benchmark")
    if _kind(content) != KIND:
        raise DataError(f"{where}: is no benchmark; `schedopt benchmark FILE… -o {where}` writes one")
    try:
        return BenchmarkFile.model_validate_json(content)
    except ValidationError as error:
        raise DataError(explain(error, where)) from None


def _kind(content: bytes) -> object:
    try:
        document = json.loads(content)
    except (ValueError, RecursionError):
        return None
    return document.get("kind") if isinstance(document, dict) else None

"""Schedule files: what a search found, in a form that outlives the study. JSON; the models below are its format.

`schedules` maps each target (a stem, or `all` for one schedule shared by all stems) to its rule, options and β values;
`model` says which weights they were searched with, `data` on what music; the rest is provenance and may be left out,
so that a file can be written by hand. Nothing in a file is trusted: it is checked whole before any of it is used.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    field_validator,
    model_validator,
)

from schedopt.errors import ScheduleError, shown
from schedopt.files.explain import explain, nearest
from schedopt.files.reading import parse_json, read_bytes
from schedopt.outputs import OUTPUTS, Weights
from schedopt.outputs.mixer import check_weights
from schedopt.refinement import SeededOptions
from schedopt.rules import RULES
from schedopt.separators import Separator
from schedopt.types import STEMS, CoreMetric

FORMAT = 3
READABLE = (1, 2, 3)
"""1 had no segment, normalisation and held-out scores, 2 neither weights nor points: both are 3 without these."""

KIND = "schedopt schedule"
SUFFIX = ".schedule.json"
MAX_BYTES = 2**20
"""A file of four schedules has 4 kB; a larger one than this is something else."""

SHARED = "all"
"""The target of a schedule that serves every stem."""

SEGMENT_RANGE = (0.1, 3600)
"""Seconds. A shorter segment has so many neighbours that a song takes for ever; models have 6 to 40 s."""

Text = Annotated[str, StringConstraints(max_length=1000)]
Hex = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{16}$")]
Beta = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
NO_OTHER_KEYS: dict[str, Any] = {"additionalProperties": False}
StemName = Annotated[str, StringConstraints(min_length=1, max_length=100, pattern=r"^[^/\\\x00-\x1f\x7f]+$")]
Gain = Annotated[float, Field(ge=0, le=100, allow_inf_nan=False)]
Number = Annotated[float, Field(allow_inf_nan=False)]
PointName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9_-]{1,40}$")]
Seconds = Annotated[float, Field(ge=SEGMENT_RANGE[0], le=SEGMENT_RANGE[1], allow_inf_nan=False)]


class FrozenModel(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class SearchedModel(FrozenModel):
    """The separator of the search. `weights` is that of `Separator`, like `fingerprint`, which covers settings too."""

    model: Annotated[str, StringConstraints(min_length=1, max_length=1000)]
    precision: Literal["auto", "float32", "tf32", "bfloat16"] = "float32"
    overlap: float = Field(0.25, ge=0, lt=1, description="of neighbouring segments, as a part of a segment")
    stems: dict[StemName, tuple[StemName, ...]] = Field(
        default_factory=dict, description="stems that are sums of the model's own", json_schema_extra=NO_OTHER_KEYS
    )
    segment: Seconds | Literal["model"] = Field("model", description="seconds, or the model's own")
    normalisation: Literal["mean and standard deviation of the mono mix"] = Field(
        "mean and standard deviation of the mono mix", description="of every pass's whole input"
    )
    fingerprint: Hex | None = None
    weights: Hex | None = None


class SearchedData(FrozenModel):
    """The music of the search."""

    source: Text
    excerpt: Annotated[float, Field(gt=0.1, le=600)] | Literal["track"] = Field(description="seconds, or whole tracks")
    excerpts_per_track: int = Field(1, ge=1, le=1000)
    stems: dict[StemName, tuple[StemName, ...]] = Field(
        default_factory=dict, description="stems that are sums of the music's own", json_schema_extra=NO_OTHER_KEYS
    )


class SearchScore(FrozenModel):
    """What the schedule was worth on the search excerpts, dB."""

    baseline: Number
    value: Number
    gain: Number
    excerpts: int = Field(ge=1)


class Gain95(FrozenModel):
    """A mean paired difference over tracks, dB, with its 95 % interval (null: unbounded or too few tracks)."""

    mean: Number
    interval: tuple[Number | None, Number | None]
    p: float = Field(
        ge=0, le=1, description="of the mean being 0; bootstrap-t, corrected for the benchmark's schedules"
    )
    verdict: Text = Field(
        description="better | worse | no measurable difference | too few tracks | better in … at the cost of …"
    )


class HeldOutScore(FrozenModel):
    """What the schedule was worth on tracks that were not searched on: mean over tracks of the search's metric, dB."""

    source: Text
    tracks: int = Field(ge=1)
    excerpt: Annotated[float, Field(gt=0, le=600)] | Literal["track"] = Field(description="seconds, or whole tracks")
    value: Number
    over_one_pass: Gain95
    over_shift_trick: Gain95 | None = Field(None, description="at as many passes")
    measured: Text | None = None
    objectives: dict[Text, Gain95] = Field(
        default_factory=dict, description="over one pass in the metrics of a search of two, by metric"
    )


class Entry(SeededOptions, FrozenModel):
    """The schedule of one target and how it is applied; see `schedopt.refinement.Refinement`."""

    rule: Annotated[Text, Field(json_schema_extra={"not": {"const": "oracle"}})]
    family: Text | None = None
    params: dict[Text, Number] = Field(default_factory=dict)
    steps: int | None = None
    betas: Annotated[tuple[Beta, ...], Field(min_length=1, max_length=100)]
    gains: dict[StemName, Gain] = Field(
        default_factory=dict,
        description="weights of the stems in the search's mixtures",
        json_schema_extra=NO_OTHER_KEYS,
    )
    weights: dict[StemName, Weights] = Field(
        default_factory=dict,
        description="of a mixer, by target: a row for each band, in it a number for each step 0 … N, each other stem of"
        " the model in its order, the residual, and, for mixer-wiener, the Wiener filter",
        json_schema_extra=NO_OTHER_KEYS,
    )
    study: Text | None = None
    storage: Text | None = None
    trial: int | None = Field(None, ge=0)
    metric: CoreMetric = "sdr"
    search: SearchScore | None = None
    objectives: dict[Text, SearchScore] = Field(
        default_factory=dict, description="of a search of two metrics: both scores, the first is that of bleed"
    )
    held_out: HeldOutScore | None = Field(None, description="written by `schedopt benchmark --write`")

    @field_validator("rule")
    @classmethod
    def _usable_rule(cls, value: str) -> str:
        if RULES.knows(value) and RULES.find(value).needs_references:
            raise ValueError(
                f"the rule {value} needs the true stems: it is an upper bound, not a schedule to hand over"
            )
        return value

    @model_validator(mode="after")
    def _steps_fit(self) -> Entry:
        if self.steps is not None and self.steps != len(self.betas):
            raise ValueError(f"steps is {self.steps}, but there are {len(self.betas)} betas")
        return self

    @model_validator(mode="after")
    def _weights_fit(self) -> Entry:
        bands = OUTPUTS.find(self.output).bands
        if self.weights and not bands:
            takers = ", ".join(name for name, output in OUTPUTS.items() if output.bands)
            raise ValueError(f"weights go with the outputs {takers}, not with {self.output}")
        for stem, rows in self.weights.items():
            if len(rows) != bands:
                raise ValueError(f"weights of {stem} have {len(rows)} rows, but {self.output} has {bands} bands")
            if len({len(row) for row in rows}) != 1 or len(rows[0]) < len(self.betas) + 2:
                raise ValueError(
                    f"weights of {stem}: rows are equally long, with a number each for steps 0 … {len(self.betas)},"
                    " every other stem of the model, and the residual"
                )
        return self

    def weights_of(self, stem: str) -> Weights | None:
        return self.weights.get(stem)


class ScheduleFile(FrozenModel):
    """A schedule file."""

    format: int = Field(json_schema_extra={"enum": list(READABLE)})
    kind: str = Field(json_schema_extra={"const": KIND})
    created: Text | None = None
    model: SearchedModel
    data: SearchedData | None = None
    schedules: dict[StemName, Entry] = Field(
        min_length=1, description="by stem, or `all`", json_schema_extra=NO_OTHER_KEYS
    )
    points: dict[PointName, dict[StemName, Entry]] = Field(
        default_factory=dict,
        description="named schedules of the targets to choose from; `schedules` is one of them (balanced)",
        json_schema_extra=NO_OTHER_KEYS,
    )
    versions: dict[Text, Text] = Field(default_factory=dict)

    @field_validator("format")
    @classmethod
    def _known_format(cls, value: int) -> int:
        if value not in READABLE:
            raise ValueError(f"this schedopt reads formats {READABLE[0]} to {READABLE[-1]}")
        return value

    @field_validator("kind")
    @classmethod
    def _right_kind(cls, value: str) -> str:
        if value != KIND:
            raise ValueError(f"a schedule file says {KIND!r} here, so this is something else")
        return value

    @model_validator(mode="after")
    def _points_are_of_its_targets(self) -> ScheduleFile:
        for name, entries in self.points.items():
            if entries.keys() != self.schedules.keys():
                raise ValueError(f"point {name} has not the targets of the schedules ({', '.join(self.schedules)})")
        return self

    @model_validator(mode="after")
    def _weights_are_of_its_targets(self) -> ScheduleFile:
        for entries in (self.schedules, *self.points.values()):
            for target, entry in entries.items():
                if not OUTPUTS.find(entry.output).bands:
                    continue
                if target != SHARED and set(entry.weights) != {target}:
                    found = ", ".join(entry.weights) or "nothing"
                    raise ValueError(f"the output {entry.output} needs weights of {target}; there are {found}")
                if not entry.weights:
                    raise ValueError(f"the output {entry.output} of {target} needs weights, by stem")
        return self

    def at(self, point: str | None, where: str) -> ScheduleFile:
        """The file with the schedules of one of its `points` in place of its own; as it is for None.

        Args:
            where: names the file.

        Raises:
            ScheduleError: it has no such point; the message names the nearest one.
        """
        if point is None:
            return self
        if point not in self.points:
            there = f"there are {', '.join(self.points)}" if self.points else "it has none: it is no bleed dial"
            raise ScheduleError(f"{where}: there is no point {shown(point)!r}{nearest(point, self.points)}; {there}")
        return self.model_copy(update={"schedules": self.points[point], "points": {}})

    def entries(self, stems: Sequence[str] = STEMS) -> dict[str, Entry]:
        """The schedule of each of `stems` that has one; a stem's own goes before the shared one."""
        stems = [*stems, *(stem for stem in self.schedules if stem not in (*stems, SHARED))]
        found = {stem: self.schedules.get(stem, self.schedules.get(SHARED)) for stem in stems}
        return {stem: entry for stem, entry in found.items() if entry is not None}

    def document(self) -> dict[str, Any]:
        """For JSON; what was left out stays out."""
        return self.model_dump(mode="json", exclude_none=True)


def load_schedule_file(path: Path | str) -> ScheduleFile:
    """Read and check a schedule file.

    Raises:
        ScheduleError: it cannot be read, or holds what cannot be followed; one line with the file and the field.
    """
    content = read_bytes(path, MAX_BYTES, "schedule file", ScheduleError)
    try:
        file = ScheduleFile.model_validate_json(content)
    except ValidationError as error:
        raise ScheduleError(explain(error, shown(path), ScheduleFile)) from None
    parse_json(content, shown(path), ScheduleError)  # for keys that stand twice, which pydantic accepts
    return file


def check_separator(file: ScheduleFile, separator: Separator, where: str, option: str = "--model") -> None:
    """Refuse a separator that `file`'s schedules were not searched with; precision and device may differ.

    Args:
        where: names the file.
        option: with which the user names the model.

    Raises:
        ScheduleError: other weights, a target that the model has no stem for, or a mixer's weights for another number
            of stems.
    """
    searched = file.model
    if searched.weights is not None and searched.weights != separator.weights:
        raise ScheduleError(
            f"{where}: searched with other weights than those of {separator.name}"
            f" ({searched.model}: {searched.weights}; here: {separator.weights}); name the right model with {option}"
        )
    for target, entry in file.schedules.items():
        for stem, weights in entry.weights.items():
            if stem in separator.stems:
                try:
                    check_weights(weights, len(entry.betas), len(separator.stems), OUTPUTS.find(entry.output))
                except ScheduleError as error:
                    raise ScheduleError(f"{where}: schedules.{target}.weights of {stem}: {error}") from None
    missing = [stem for stem in file.entries() if stem not in separator.stems]
    if missing and SHARED not in file.schedules:
        raise ScheduleError(
            f"{where}: has a schedule for {', '.join(missing)}, which {separator.name} does not separate"
            f" (its stems: {', '.join(separator.stems)})"
        )


def json_schema() -> dict[str, Any]:
    """The JSON schema of schedule files; `schedule.schema.json` beside this module is the same."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **ScheduleFile.model_json_schema()}

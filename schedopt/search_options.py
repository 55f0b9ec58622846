"""How a study is searched: the options of `[search]` in study files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    Strict,
    ValidationInfo,
    field_validator,
    model_validator,
)

from schedopt.errors import ConfigError
from schedopt.metrics import METRICS
from schedopt.optuna_classes import SHORT, Kind, check
from schedopt.types import CoreMetric

Direction = Literal["maximize", "minimize"]

PASSES = "passes"
"""The objective that counts passes an excerpt: the fewer, the better."""

BLEED = ("si_sir", "bleedless")
"""Metrics of what is left of other stems: of two objectives they are the first, whatever the order in the file."""


def criteria(search: Mapping[str, Any]) -> tuple[str, ...]:
    """What a study with the section `[search]` searches: names of metrics, or `passes`; one or two, the main one first.

    Reads sections as studies of earlier versions hold them, too.
    """
    named = tuple(search.get("objectives") or ())
    if not named:
        metric = search.get("metric", "sdr")
        return (metric, PASSES) if search.get("pareto") else (metric,)
    return tuple(sorted(named, key=lambda name: (name == PASSES, name not in BLEED)))


def directions(search: Mapping[str, Any]) -> list[Direction]:
    """Optuna's directions of these objectives."""
    return ["minimize" if name == PASSES else "maximize" for name in criteria(search)]


def searches_steps(names: Sequence[str], *, choose_steps: bool) -> bool:
    """Whether the number of steps is a parameter of a study with these `criteria`."""
    return PASSES in names or (len(names) == 2 and choose_steps)


def dial(search: Mapping[str, Any]) -> tuple[str, str] | None:
    """The two metrics of a study that searches interference against artifacts; None for any other study."""
    names = criteria(search)
    return (names[0], names[1]) if len(names) == 2 and PASSES not in names else None


class SearchOptions(BaseModel):
    """Section `[search]` of a study file. Strict: `true` is no number, and no number is infinite."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False, validate_default=True)

    sampler: str = Field(
        "prefix-gp",
        description="proposes schedules: prefix-gp learns from all prefixes and counts passes | "
        + " | ".join(SHORT["sampler"])
        + " | any class of optuna.samplers by its name | hub:NAME of OptunaHub (needs --trust-hub)",
    )
    sampler_options: dict[str, Any] = Field(
        default_factory=dict, description="[search.sampler_options] arguments of the sampler's class"
    )
    pruner: str = Field(
        "predictive",
        description="ends trials that are unlikely to be selected: wilcoxon compares with the selected one excerpt by "
        "excerpt, predictive predicts the others too | "
        + " | ".join(SHORT["pruner"])
        + " | any class of optuna.pruners by its name: these compare running means",
    )
    pruner_options: dict[str, Any] = Field(
        default_factory=dict, description="[search.pruner_options] arguments of the pruner's class"
    )
    metric: CoreMetric = Field(
        "sdr", description="what is averaged, in dB; with objectives: what verdicts on the exported schedules are about"
    )
    objectives: Annotated[tuple[str, ...], Strict(False)] = Field(
        (),
        description='two metrics in dB, such as ["si_sir", "si_sar"] (bleed against artifacts), or a metric and '
        '"passes" (the number of steps becomes a parameter); empty: the metric alone',
    )
    choose: Literal["lower-bound", "highest"] = Field(
        "lower-bound", description="select the trial with the surest gain over β = 0 by track, or the highest score"
    )
    grid: int = Field(6, ge=2, le=1001, description="sampler grid: values a parameter")
    stop: float = Field(
        0.0,
        ge=0,
        le=100,
        description="end the study once no schedule is likely to gain more than so many dB over the selected one;"
        " 0: run all trials",
    )
    pareto: bool = Field(
        False, description='the same as objectives = [metric, "passes"] (the number of steps becomes a parameter)'
    )

    @property
    def criteria(self) -> tuple[str, ...]:
        """See `criteria`."""
        return criteria(self.model_dump())

    @property
    def directions(self) -> list[Direction]:
        """See `directions`."""
        return directions(self.model_dump())

    @property
    def dial(self) -> tuple[str, str] | None:
        """See `dial`."""
        return dial(self.model_dump())

    @field_validator("objectives")
    @classmethod
    def _two_of_those_known(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if value and (len(value) != 2 or value[0] == value[1]):
            raise ValueError('it takes two different ones, such as ["si_sir", "si_sar"] or ["sdr", "passes"]')
        for name in value:
            if name != PASSES:
                _objective_metric(name)
        return value

    @field_validator("sampler", "pruner")
    @classmethod
    def _known_class(cls, value: str, info: ValidationInfo) -> str:
        kind: Kind = "sampler" if info.field_name == "sampler" else "pruner"
        check(kind, value, {})
        return value

    @field_validator("sampler_options", "pruner_options")
    @classmethod
    def _known_options(cls, value: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        kind: Kind = "sampler" if info.field_name == "sampler_options" else "pruner"
        if kind in info.data:
            check(kind, info.data[kind], value)
        return value

    @model_validator(mode="before")
    @classmethod
    def _no_pruner_with_two_objectives(cls, values: Any) -> Any:
        # Optuna prunes on one objective only, so the defaults give way; what was asked for is refused.
        if isinstance(values, dict) and (values.get("pareto") is True or values.get("objectives")):
            return {"pruner": "none", "sampler": "tpe", **values}
        return values

    @model_validator(mode="after")
    def _fits_two_objectives(self) -> SearchOptions:
        if self.pareto and self.objectives:
            raise ValueError('pareto = true means objectives = [metric, "passes"]; leave out one of the two keys')
        if len(self.criteria) == 1:
            return self
        what = "pareto = true" if self.pareto else "two objectives"
        goes, does = ("goes", "does") if self.pareto else ("go", "do")
        if self.stop:
            raise ValueError(f"{what} {does} not go with stop, which is about the score alone")
        if self.pruner != "none":
            raise ValueError(f'{what} {goes} with pruner = "none", not with {self.pruner!r}')
        if self.sampler in ("cmaes", "CmaEsSampler", "prefix-gp"):
            fitting = "tpe, gp, qmc, random or grid"
            raise ValueError(f"{what} {does} not go with the sampler {self.sampler}; choose {fitting}")
        return self


def _objective_metric(name: str) -> None:
    """Raise a `ValueError` unless `name` is a metric in dB, of which more is better."""
    try:
        metric = METRICS.find(name)
    except ConfigError as error:
        raise ValueError(f"{error}, or {PASSES}") from None
    if metric.unit != "dB" or metric.direction != "maximize":
        raise ValueError(f"{name}: an objective is a metric in dB of which more is better, or {PASSES}")

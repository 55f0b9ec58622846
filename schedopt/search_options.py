"""How a study is searched: the options of `[search]` in study files."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

from schedopt.optuna_classes import SHORT, Kind, check


class SearchOptions(BaseModel):
    """Section `[search]` of a study file. Strict: `true` is no number, and no number is infinite."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False, validate_default=True)

    sampler: str = Field(
        "prefix-gp",
        description="proposes schedules: prefix-gp learns from all prefixes and counts passes | "
        + " | ".join(SHORT["sampler"])
        + " | any class of optuna.samplers by its name",
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
    metric: Literal["sdr", "si_sdr", "snr"] = Field("sdr", description="what is averaged, in dB")
    choose: Literal["lower-bound", "best"] = Field(
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
        False, description="search both a high score and few passes (the number of steps becomes a parameter)"
    )

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
        if isinstance(values, dict) and values.get("pareto") is True:
            return {"pruner": "none", "sampler": "tpe", **values}
        return values

    @model_validator(mode="after")
    def _fits_two_objectives(self) -> SearchOptions:
        if self.pareto and self.stop:
            raise ValueError("pareto = true does not go with stop, which is about the score alone")
        if self.pareto and self.pruner != "none":
            raise ValueError(f'pareto = true goes with pruner = "none", not with {self.pruner!r}')
        if self.pareto and self.sampler in ("cmaes", "CmaEsSampler", "prefix-gp"):
            fitting = "tpe, gp, qmc, random or grid"
            raise ValueError(f"pareto = true does not go with the sampler {self.sampler}; choose {fitting}")
        return self

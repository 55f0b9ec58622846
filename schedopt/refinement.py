"""How a schedule is applied: the options that study files, schedule files and benchmark files share."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from schedopt.errors import ScheduleError
from schedopt.outputs import OUTPUTS, Weights
from schedopt.rules import RULES

MAX_SHIFT_SECONDS = 0.5
"""Largest per-step time shift: that of Demucs' own shift trick."""

AUTO = "auto"
"""In study files: the output is chosen in every trial."""

CHOSEN_FROM = ("mean", "last", "wiener", "mixer", "mixer-bands", "mixer-wiener")
"""Outputs that `AUTO` stands for. The last one's passes serve all of them."""


class RefinementOptions(BaseModel):
    """The options of a refinement. Strict: `true` is no number, and no number is infinite."""

    takes_auto: ClassVar[bool] = False

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    rule: str = Field("remix", description=" | ".join(RULES))
    shift: bool = Field(False, description="shift each step's input in time by its own seeded amount (0 to 0.5 s)")
    output: str = Field("last", description=f"{' | '.join(OUTPUTS)}: which estimates make the result")
    residual: float = Field(
        0.0, ge=0, le=1, description="share of each pass's residual (its input less all estimates) added to the target"
    )
    peak_guard: bool = Field(False, description="divide an input by its peak where that exceeds 1 (the authors' guard)")
    sigma: float = Field(0.0, ge=0, le=10, description="standard deviation of ddpm's noise")
    reverse: bool = Field(False, description="ddpm: β_1 … β_N is a published table of β_t, taken from t = N down to 1")

    @field_validator("rule", "output")
    @classmethod
    def _is_known(cls, value: str, info: Any) -> str:
        if cls.takes_auto and info.field_name == "output" and value == AUTO:
            return value
        try:
            {"rule": RULES, "output": OUTPUTS}[info.field_name].find(value)  # type: ignore[attr-defined]
        except ScheduleError as error:
            raise ValueError(str(error)) from None
        return value

    @model_validator(mode="after")
    def _noise_fits(self) -> RefinementOptions:
        for option in ("reverse", "sigma"):
            if getattr(self, option) and not RULES.find(self.rule).takes_noise:
                raise ValueError(f"{option} goes with the rule ddpm, not with {self.rule}")
        return self

    @property
    def chained(self) -> bool:
        """Whether a step with β = 0 gives the plain pass again, so that nothing before it counts."""
        # A share of the residual comes with step 0 never, the guard with its input neither: β = 0 then is another pass.
        differs = self.shift or self.output != "last" or self.residual > 0 or self.peak_guard
        return self.rule in ("remix", "unmix") and not differs

    def for_target(self, target: str, seed: int, weights: Weights | None = None) -> Refinement:
        """The refinement of the stem `target` with these options."""
        options = {name: getattr(self, name) for name in RefinementOptions.model_fields}
        return Refinement(target, seed=seed, weights=weights, **options)


class SeededOptions(RefinementOptions):
    """The options with the seed of what is drawn at random, as schedule files and benchmark files hold them."""

    seed: int = Field(0, ge=0, lt=2**32)

    def refinement(self, stem: str) -> Refinement:
        """How the schedule beside these options is applied to the target `stem`."""
        return self.for_target(stem, self.seed, self.weights_of(stem))

    def weights_of(self, stem: str) -> Weights | None:
        """Those of the output for the target `stem`."""
        return None


class Refinement(RefinementOptions):
    """How a schedule is applied to one target; with separator and mixture it fixes a trajectory. Hashable.

    `shift`: the input of step n ≥ 1 is delayed by its own seeded amount of 0 to 0.5 s, the estimates moved back.
    `output`: see `schedopt.outputs`. `residual`: share of what each pass's estimates of all stems leave of its input
    that is added to the target from step 1 on (mixture consistency, arXiv 1811.08521, where the share is 1 / stems); it
    costs no pass, but every stem must be estimated. `weights`: those of an output that takes some, see
    `schedopt.outputs.mixer`.
    """

    target: str
    seed: int = 0
    weights: Weights | None = None

    def __init__(self, target: str, **options: Any) -> None:
        super().__init__(**{"target": target, **options})

    def shift_of(self, step: int, sample_rate: int) -> int:
        """Samples by which step `step`'s input is delayed; step 0 is never shifted."""
        if not self.shift or step == 0:
            return 0
        rng = np.random.default_rng([self.seed, step])
        return int(rng.integers(0, int(MAX_SHIFT_SECONDS * sample_rate) + 1))

    @property
    def needs_all_stems(self) -> bool:
        """Whether every pass must estimate all stems: their sum is used."""
        return RULES.find(self.rule).needs_others or self.residual > 0 or OUTPUTS.find(self.output).needs_all_stems

    def stems_needed(self, stems: tuple[str, ...]) -> tuple[str, ...]:
        """The stems, of those of a model, that every pass must estimate.

        Raises:
            ScheduleError: the model lacks the target.
        """
        if self.target not in stems:
            raise ScheduleError(f"the model has no stem {self.target!r}; it has {', '.join(stems)}")
        return stems if self.needs_all_stems else (self.target,)

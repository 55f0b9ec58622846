"""Between families and Optuna: suggesting, gridding and enqueueing parameters."""

from __future__ import annotations

import numpy as np
import optuna
from optuna.distributions import FloatDistribution

from schedopt.schedules import Family, Range, Schedule


def suggest(trial: optuna.Trial, family: Family, resolution: float) -> dict[str, float]:
    """Parameters of `family` that the trial's sampler proposes, under the family's own names."""
    return {
        name: trial.suggest_float(name, one.low, one.high, log=one.log, step=one.step)
        for name, one in distributions(family, resolution).items()
    }


STEPS = "steps"
"""Name of the parameter that says after how many steps to stop, in studies of two objectives."""


def suggest_steps(trial: optuna.Trial, family: Family) -> int:
    """After how many of the family's steps to stop: 1 … N."""
    return trial.suggest_int(STEPS, 1, family.steps)


def distributions(family: Family, resolution: float) -> dict[str, FloatDistribution]:
    """What a sampler may choose each parameter of `family` from."""
    return {
        name: FloatDistribution(span.low, span.high, log=span.log, step=_step(span, resolution))
        for name, span in family.space.items()
    }


def _step(span: Range, resolution: float) -> float | None:
    """The resolution for parameters that are a β, if it divides their range evenly (Optuna wants that)."""
    if not span.is_beta or resolution == 0:
        return None
    count = (span.high - span.low) / resolution
    # A range may be narrower than any resolution, and still be one.
    return resolution if round(count) >= 1 and abs(count - round(count)) < 1e-9 else None


def grid_values(family: Family, points: int, resolution: float) -> dict[str, list[float]]:
    """`points` values a parameter, evenly spread over its range (in its logarithm where it is log)."""
    return {name: _spread(span, points, resolution) for name, span in family.space.items()}


def _spread(span: Range, points: int, resolution: float) -> list[float]:
    if span.low == span.high:
        return [span.low]
    space = np.geomspace if span.log else np.linspace
    values = [float(value) for value in space(span.low, span.high, points)]
    step = _step(span, resolution)
    if step is not None:
        values = [min(span.high, span.low + round((value - span.low) / step) * step) for value in values]
    return sorted({round(value, 10) for value in values})


def enqueue(
    study: optuna.Study, family: Family, betas: Schedule, resolution: float, role: str, *, with_steps: bool = False
) -> bool:
    """Queue the trial that evaluates `betas`; False where the family does not hold this schedule."""
    params: dict[str, float] | None = family.params_of(betas, resolution)
    if params is None:
        return False
    if with_steps:
        params = {**params, STEPS: len(betas)}
    study.enqueue_trial(params, user_attrs={"role": role}, skip_if_exists=True)
    return True

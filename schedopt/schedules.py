"""Families of schedules: a few parameters ↔ β_1 … β_N.

A schedule is a tuple of N floats in [0, 1]; β_n says how much the input of step n leans on the estimate of
step n−1. A family maps named parameters to a schedule, offers the range of every parameter to a search,
and maps back where that is possible. All functions are pure; none costs a pass.

To add a family: one function from `steps` to its `Family`, and one line in `FAMILIES`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from schedopt.errors import ScheduleError
from schedopt.registry import Registry

Schedule: TypeAlias = tuple[float, ...]
"""β_1 … β_N, each in [0, 1]; N ≥ 1."""

Params: TypeAlias = Mapping[str, float]

DEFAULT_RESOLUTION = 0.1
"""Coarser than 0.05: more schedules share their first steps, and the score is smooth in every β."""
_EPS = 1e-9

MAX_COSINE_BETA = 0.999
"""Nichol & Dhariwal clip β here, since their formula reaches 1 at the last step."""


@dataclass(frozen=True)
class Range:
    """What a search may choose from: `low` ≤ value ≤ `high`; `log` for scale-like parameters.

    `is_beta` marks parameters that are themselves a β: a search walks them in steps of the resolution,
    so that equal schedules have equal parameters.
    """

    low: float
    high: float
    log: bool = False
    is_beta: bool = False

    def __contains__(self, value: float) -> bool:
        return self.low <= value <= self.high


@dataclass(frozen=True)
class Family:
    """One family at one number of steps.

    `betas` maps parameters to unrounded values (they may leave [0, 1]; `make` clips and rounds them).
    `inverse` maps a schedule to parameters that give it, or to None where there are none.
    `source` names where the formula comes from.
    """

    name: str
    steps: int
    space: Mapping[str, Range]
    betas: Callable[[Params], Sequence[float]]
    inverse: Callable[[Schedule], dict[str, float] | None]
    source: str = ""

    def make(self, params: Params, resolution: float = DEFAULT_RESOLUTION) -> Schedule:
        """The schedule that `params` give, clipped to [0, 1] and rounded to `resolution` (0: unrounded).

        Raises:
            ScheduleError: a parameter is missing, unknown or not a number that the family can use.
        """
        if set(params) != set(self.space):
            wanted, got = ", ".join(self.space), ", ".join(params) or "none"
            raise ScheduleError(f"family {self.name} takes the parameters {wanted}; got {got}")
        for name, value in params.items():
            top = 1.0 if self.space[name].is_beta else math.inf
            if not (math.isfinite(value) and 0 <= value <= top):
                raise ScheduleError(f"family {self.name}: {name} = {value} is not a number in [0, {top:g}]")
        return round_betas(self.betas(params), resolution)

    def make_all(self, params: NDArray[np.float64], resolution: float = DEFAULT_RESOLUTION) -> NDArray[np.float64]:
        """The schedules (P, N) that valid parameters (P, d), in the order of the space, give; as `make` for each."""
        made = [self.betas(dict(zip(self.space, row, strict=True))) for row in params.tolist()]
        return _rounded(np.array(made, dtype=np.float64).reshape(-1, self.steps), resolution)

    def params_of(self, betas: Schedule, resolution: float = DEFAULT_RESOLUTION) -> dict[str, float] | None:
        """Parameters within the family's ranges whose schedule is `betas` up to the resolution, or None."""
        rounded = round_betas(betas, resolution)
        params = self.inverse(rounded)
        if params is None or not all(value in self.space[name] for name, value in params.items()):
            return None
        made = self.make(params, resolution)
        apart = max(abs(a - b) for a, b in zip(made, rounded, strict=True))
        return params if apart <= resolution + _EPS else None


def round_betas(betas: Iterable[float], resolution: float = DEFAULT_RESOLUTION) -> Schedule:
    """Clip every β to [0, 1] and round it to a multiple of `resolution` (0 leaves it as it is)."""
    return tuple(_rounded(np.fromiter(betas, dtype=np.float64), resolution).tolist())


def _rounded(betas: NDArray[np.float64], resolution: float) -> NDArray[np.float64]:
    betas = np.clip(betas, 0.0, 1.0)
    if resolution == 0:
        return betas
    # Halves go up, also where they came out a bit too small: 0.5 → 0.3 must not depend on whether a sampler wrote 0.3
    # or 0.30000000000000004. The rounding turns the latter into the former: equal schedules must be equal as floats.
    return np.minimum(1.0, np.round(np.floor(betas / resolution + 0.5 + _EPS) * resolution, 10))


def check_betas(betas: Sequence[float], what: str = "schedule") -> Schedule:
    """`betas` as a schedule.

    Raises:
        ScheduleError: no step at all, or a β that is not a number in [0, 1]; `what` is named.
    """
    if not betas:
        raise ScheduleError(f"{what}: a schedule needs at least one step")
    for n, beta in enumerate(betas, 1):
        if isinstance(beta, bool) or not isinstance(beta, (int, float)) or not 0 <= beta <= 1:
            raise ScheduleError(f"{what}: β_{n} = {beta!r} is not a number in [0, 1]")
    return tuple(float(beta) for beta in betas)


# ---------------------------------------------------------------------------------------------------------
# Named schedules
# ---------------------------------------------------------------------------------------------------------


def zeros(steps: int) -> Schedule:
    """β = 0 everywhere: under `remix` every step is the plain pass again (the baseline)."""
    return (0.0,) * steps


def after_last_zero(betas: Schedule) -> Schedule:
    """β of the steps behind the last β = 0; all of them where none is 0, none where the last one is."""
    return betas[max((n for n, beta in enumerate(betas, 1) if beta == 0), default=0) :]


def line(steps: int) -> Schedule:
    """The authors' straight line β_n = n/N (notebook of "Progressive Inference for Music Demixing", 2025).

    >>> import schedopt
    >>> schedopt.line(4)
    (0.25, 0.5, 0.75, 1.0)
    """
    return tuple(n / steps for n in range(1, steps + 1))


def constant(beta: float, steps: int) -> Schedule:
    """The same β at every step."""
    return check_betas((beta,) * steps)


# ---------------------------------------------------------------------------------------------------------
# Families
# ---------------------------------------------------------------------------------------------------------

_BETA = Range(0.0, 1.0, is_beta=True)


def _fraction(n: int, steps: int) -> float:
    """How far step n (1 … N) is on the way from the first step to the last: 0 … 1."""
    return (n - 1) / (steps - 1) if steps > 1 else 0.0


def _linear(steps: int) -> Family:
    def betas(params: Params) -> list[float]:
        start, end = params["start"], params["end"]
        return [start + (end - start) * _fraction(n, steps) for n in range(1, steps + 1)]

    def inverse(schedule: Schedule) -> dict[str, float]:
        return {"start": schedule[0], "end": schedule[-1]}

    space = {"start": _BETA, "end": _BETA}
    return Family("linear", steps, space, betas, inverse, "Ho et al., arXiv 2006.11239, section 4")


def cosine_alpha_bar(fraction: float, offset: float) -> float:
    """ᾱ of Nichol & Dhariwal (arXiv 2102.09672, eq. 17) at t/T = `fraction`, with their small `offset` s."""
    return (
        math.cos((fraction + offset) / (1 + offset) * math.pi / 2) ** 2
        / math.cos(offset / (1 + offset) * math.pi / 2) ** 2
    )


def _cosine(steps: int) -> Family:
    def shape(offset: float) -> list[float]:
        bars = [cosine_alpha_bar(n / steps, offset) for n in range(steps + 1)]
        return [min(1 - after / before, MAX_COSINE_BETA) for before, after in zip(bars, bars[1:], strict=False)]

    def betas(params: Params) -> list[float]:
        return [params["peak"] * beta for beta in shape(params["offset"])]

    def inverse(schedule: Schedule) -> dict[str, float] | None:
        # Only the peak is readable from a rounded schedule; the offset is found by trying the usual ones.
        if not any(schedule):
            return {"peak": 0.0, "offset": 0.008}
        peak = min(1.0, schedule[-1] / MAX_COSINE_BETA)
        offsets = (0.008, *(i / 100 for i in range(101)))
        return min(
            ({"peak": peak, "offset": offset} for offset in offsets),
            key=lambda params: max(abs(a - b) for a, b in zip(betas(params), schedule, strict=True)),
        )

    space = {"peak": _BETA, "offset": Range(0.0, 1.0)}
    return Family("cosine", steps, space, betas, inverse, "Nichol & Dhariwal, arXiv 2102.09672, eq. 17")


def _geometric(steps: int) -> Family:
    def betas(params: Params) -> list[float]:
        return [params["start"] * params["ratio"] ** (n - 1) for n in range(1, steps + 1)]

    def inverse(schedule: Schedule) -> dict[str, float] | None:
        if not any(schedule):
            return {"start": 0.0, "ratio": 1.0}
        if schedule[0] == 0:
            return None
        # A β that was clipped at 1 no longer tells the ratio: read it from the last one before.
        readable = [n for n, beta in enumerate(schedule) if n and 0 < beta < 1]
        last = readable[-1] if readable else len(schedule) - 1
        ratio = (schedule[last] / schedule[0]) ** (1 / last) if last else 1.0
        return {"start": schedule[0], "ratio": ratio}

    space = {"start": _BETA, "ratio": Range(0.25, 4.0, log=True)}
    return Family("geometric", steps, space, betas, inverse, "β_n = start · ratio^(n−1), as noise levels in NCSN")


def _karras(steps: int) -> Family:
    def betas(params: Params) -> list[float]:
        low, high, rho = params["start"], params["end"], params["rho"]
        first, last = low ** (1 / rho), high ** (1 / rho)
        return [(first + _fraction(n, steps) * (last - first)) ** rho for n in range(1, steps + 1)]

    def inverse(schedule: Schedule) -> dict[str, float]:
        ends = {"start": schedule[0], "end": schedule[-1]}
        rhos = (1.0, *(1 + i / 10 for i in range(1, 91)))
        return min(
            ({**ends, "rho": rho} for rho in rhos),
            key=lambda params: max(abs(a - b) for a, b in zip(betas(params), schedule, strict=True)),
        )

    space = {"start": _BETA, "end": _BETA, "rho": Range(1.0, 10.0)}
    return Family("karras", steps, space, betas, inverse, "Karras et al., arXiv 2206.00364, eq. 5")


def _free(steps: int) -> Family:
    names = [f"beta_{n}" for n in range(1, steps + 1)]

    def betas(params: Params) -> list[float]:
        return [params[name] for name in names]

    def inverse(schedule: Schedule) -> dict[str, float]:
        return dict(zip(names, schedule, strict=True))

    return Family("free", steps, dict.fromkeys(names, _BETA), betas, inverse, "one parameter a step")


def _free_monotone(steps: int) -> Family:
    """Never falling: rise_n is the share of what is left up to 1 that step n climbs."""
    names = [f"rise_{n}" for n in range(1, steps + 1)]

    def betas(params: Params) -> list[float]:
        values, beta = [], 0.0
        for name in names:
            beta += params[name] * (1 - beta)
            values.append(beta)
        return values

    def inverse(schedule: Schedule) -> dict[str, float] | None:
        rises, before = [], 0.0
        for beta in schedule:
            if beta < before - _EPS:
                return None
            rises.append((beta - before) / (1 - before) if before < 1 else 0.0)
            before = beta
        return dict(zip(names, rises, strict=True))

    space = dict.fromkeys(names, Range(0.0, 1.0))
    return Family("free", steps, space, betas, inverse, "one parameter a step, β never falls")


FAMILIES: Registry[Callable[[int], Family]] = Registry("family", "schedopt.families", ScheduleError, {
    "linear": _linear,
    "cosine": _cosine,
    "geometric": _geometric,
    "karras": _karras,
    "free": _free,
})  # fmt: skip


def register_family(name: str, make: Callable[[int], Family]) -> Callable[[int], Family]:
    """Make a family known by its name: a function from the number of steps to the `Family`.

    >>> import schedopt
    >>> def flat(steps: int) -> schedopt.Family:
    ...     space = {"beta": schedopt.Range(0.0, 1.0, is_beta=True)}
    ...     betas = lambda params: [params["beta"]] * steps
    ...     return schedopt.Family("doc_flat", steps, space, betas, lambda schedule: None)
    >>> _ = schedopt.register_family("doc_flat", flat)
    >>> schedopt.family("doc_flat", 3).make({"beta": 0.5})
    (0.5, 0.5, 0.5)
    """
    return FAMILIES.register(name, make)


def family(name: str, steps: int, *, monotone: bool = False) -> Family:
    """The family `name` for schedules of `steps` values.

    `monotone` restricts `free` to schedules that never fall.

    Raises:
        ScheduleError: the name is not known, there is no step, or `monotone` does not suit the family.

    >>> import schedopt
    >>> schedopt.family("linear", 3).make({"start": 0.2, "end": 0.6})
    (0.2, 0.4, 0.6)
    """
    make = FAMILIES.find(name)
    if steps < 1:
        raise ScheduleError(f"steps = {steps}: a schedule needs at least one step")
    if monotone and name != "free":
        raise ScheduleError(f"monotone goes with the family free, not with {name}")
    return _free_monotone(steps) if monotone else make(steps)


def narrowed(original: Family, ranges: Mapping[str, tuple[float, float]]) -> Family:
    """`original` with its parameters' ranges replaced where `ranges` names them.

    Raises:
        ScheduleError: an unknown parameter, low above high, or a range outside what the parameter allows.
    """
    space = dict(original.space)
    for name, (low, high) in ranges.items():
        if name not in space:
            known = ", ".join(space)
            raise ScheduleError(f"family {original.name} has no parameter {name!r}; it has {known}")
        allowed = space[name]
        bottom, top = (0.0, 1.0) if allowed.is_beta else (0.0, math.inf)
        if not bottom <= low <= high <= top or (allowed.log and low <= 0):
            raise ScheduleError(f"range of {name}: [{low}, {high}] is not within [{bottom:g}, {top:g}]")
        space[name] = Range(low, high, allowed.log, allowed.is_beta)
    made = Family(original.name, original.steps, space, original.betas, original.inverse, original.source)
    try:
        made.make({name: span.low for name, span in space.items()})
        made.make({name: span.high for name, span in space.items()})
    except ArithmeticError:  # a power that overflows, a division by zero
        named = ", ".join(f"{name} = [{low:g}, {high:g}]" for name, (low, high) in ranges.items())
        raise ScheduleError(f"family {original.name} gives no schedule at an end of {named}") from None
    return made

"""Families, presets and rounding; one contract test runs over every family."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schedopt.errors import ScheduleError
from schedopt.schedules import (
    DEFAULT_RESOLUTION,
    FAMILIES,
    Family,
    check_betas,
    constant,
    family,
    line,
    narrowed,
    round_betas,
    zeros,
)

ALL = [(name, False) for name in FAMILIES] + [("free", True)]


def draw(data: st.DataObject, made: Family) -> dict[str, float]:
    return {name: data.draw(st.floats(span.low, span.high)) for name, span in made.space.items()}


@pytest.mark.parametrize(("name", "monotone"), ALL)
@given(data=st.data(), steps=st.integers(1, 12))
def test_every_family_makes_valid_rounded_schedules(name: str, monotone: bool, data: st.DataObject, steps: int) -> None:
    made = family(name, steps, monotone=monotone)
    betas = made.make(draw(data, made))
    assert len(betas) == steps
    assert check_betas(betas) == betas
    assert round_betas(betas) == betas
    assert all(math.isclose(beta * 100, round(beta * 100), abs_tol=1e-6) for beta in betas)


@pytest.mark.parametrize(("name", "monotone"), ALL)
@given(data=st.data(), resolution=st.sampled_from([0.0, 0.01, 0.1]))
def test_many_at_once_are_those_made_one_by_one(
    name: str, monotone: bool, data: st.DataObject, resolution: float
) -> None:
    made = family(name, 4, monotone=monotone)
    params = [draw(data, made) for _ in range(3)]
    together = made.make_all(np.array([[*one.values()] for one in params]), resolution)
    assert [tuple(row) for row in together.tolist()] == [made.make(one, resolution) for one in params]


@pytest.mark.parametrize(("name", "monotone"), ALL)
def test_every_family_holds_the_baseline(name: str, monotone: bool) -> None:
    made = family(name, 5, monotone=monotone)
    params = made.params_of(zeros(5))
    assert params is not None
    assert made.make(params) == zeros(5)


@pytest.mark.parametrize("name", ["linear", "karras", "free"])
@pytest.mark.parametrize("steps", [1, 2, 5, 10])
def test_families_that_hold_the_authors_line(name: str, steps: int) -> None:
    made = family(name, steps)
    params = made.params_of(line(steps))
    assert params is not None
    assert made.make(params) == pytest.approx(line(steps), abs=0.01)


@pytest.mark.parametrize("name", ["linear", "geometric", "free"])
@given(data=st.data(), steps=st.integers(1, 8))
def test_inverse_gives_the_schedule_back(name: str, data: st.DataObject, steps: int) -> None:
    made = family(name, steps)
    betas = made.make(draw(data, made))
    params = made.inverse(betas)
    if params is not None and name != "geometric":
        assert made.make(params) == pytest.approx(betas, abs=DEFAULT_RESOLUTION + 1e-4)
    back = made.params_of(betas)
    if back is not None:
        assert made.make(back) == pytest.approx(betas, abs=DEFAULT_RESOLUTION + 1e-4)


def test_linear_by_hand() -> None:
    assert family("linear", 5).make({"start": 0.2, "end": 1.0}) == (0.2, 0.4, 0.6, 0.8, 1.0)
    assert line(5) == (0.2, 0.4, 0.6, 0.8, 1.0)


def test_cosine_is_that_of_nichol_and_dhariwal() -> None:
    """Equation 17: ᾱ_t = f(t)/f(0), f(t) = cos²((t/T + s)/(1 + s)·π/2), β_t = 1 − ᾱ_t/ᾱ_{t−1} ≤ 0.999."""
    steps, s = 6, 0.008

    def f(t: float) -> float:
        return math.cos((t / steps + s) / (1 + s) * math.pi / 2) ** 2

    by_hand = [min(1 - (f(t) / f(0)) / (f(t - 1) / f(0)), 0.999) for t in range(1, steps + 1)]
    made = family("cosine", steps).make({"peak": 1.0, "offset": s}, resolution=0)
    assert made == pytest.approx(by_hand, abs=1e-12)


def test_karras_is_equation_5() -> None:
    steps, low, high, rho = 5, 0.1, 0.9, 7.0
    by_hand = [
        (low ** (1 / rho) + i / (steps - 1) * (high ** (1 / rho) - low ** (1 / rho))) ** rho for i in range(steps)
    ]
    made = family("karras", steps).make({"start": low, "end": high, "rho": rho}, resolution=0)
    assert made == pytest.approx(by_hand, abs=1e-12)


def test_geometric_by_hand_and_clipped() -> None:
    assert family("geometric", 4).make({"start": 0.1, "ratio": 2.0}) == (0.1, 0.2, 0.4, 0.8)
    assert family("geometric", 4).make({"start": 0.5, "ratio": 2.0}) == (0.5, 1.0, 1.0, 1.0)


@given(data=st.data())
def test_monotone_free_never_falls(data: st.DataObject) -> None:
    made = family("free", 6, monotone=True)
    betas = made.make(draw(data, made))
    assert list(betas) == sorted(betas)


def test_equal_schedules_are_equal_floats() -> None:
    assert round_betas((0.1 + 0.2,)) == round_betas((0.3,)) == (0.3,)
    assert round_betas((0.123456,), 0) == (0.123456,)


@pytest.mark.parametrize("betas", [(), (1.5,), (-0.1,), (float("nan"),), ("0.5",), (True,), (None,)])
def test_bad_schedules_are_refused_by_name(betas: tuple[float, ...]) -> None:
    with pytest.raises(ScheduleError, match="mine"):
        check_betas(betas, "mine")


def test_bad_parameters_are_refused() -> None:
    linear = family("linear", 3)
    for params in ({"start": 0.1}, {"start": 0.1, "stop": 0.2}, {"start": math.nan, "end": 1}, {"start": -1, "end": 1}):
        with pytest.raises(ScheduleError, match="linear"):
            linear.make(params)
    for name, steps, monotone in (("spline", 3, False), ("linear", 0, False), ("linear", 3, True)):
        with pytest.raises(ScheduleError):
            family(name, steps, monotone=monotone)
    with pytest.raises(ScheduleError):
        constant(1.2, 3)


def test_narrowed_ranges() -> None:
    made = narrowed(family("linear", 3), {"start": (0.1, 0.2)})
    assert (made.space["start"].low, made.space["start"].high) == (0.1, 0.2)
    for ranges in ({"begin": (0, 1)}, {"start": (0.5, 0.2)}, {"start": (0, 1.5)}, {"start": (-0.5, 1)}):
        with pytest.raises(ScheduleError):
            narrowed(family("linear", 3), ranges)

"""One colour for one thing in every figure, in a file, a page or the dashboard.

Source: Okabe and Ito, "Color Universal Design" (2008); told apart by people with any kind of colour blindness. The
yellow is left out, since it is hardly seen on white.
"""

from __future__ import annotations

from collections.abc import Mapping

from schedopt.files.benchmark_file import Kind
from schedopt.view.figures.chart import Dash, Style

BLUE, ORANGE, GREEN, VERMILLION = "#0072B2", "#E69F00", "#009E73", "#D55E00"
PINK, SKY, GREY, LIGHT_GREY = "#CC79A7", "#56B4E9", "#5F5F5F", "#B8B8B8"
NAVY, TEAL = "#1B3A6B", "#4B8F8C"

STEM_COLOURS: Mapping[str, str] = {"drums": VERMILLION, "bass": BLUE, "other": GREEN, "vocals": PINK}

_DASHES: tuple[Dash, ...] = ("solid", "dashed", "dotted")

_KINDS: Mapping[Kind, tuple[tuple[str, ...], Dash]] = {
    "baseline": ((GREY,), "dashed"),
    "schedule": ((BLUE, NAVY, SKY, TEAL), "solid"),
    "shift": ((GREEN,), "solid"),
    "line": ((ORANGE,), "solid"),
    "constant": ((PINK,), "solid"),
    "family": ((SKY, TEAL, NAVY), "dashed"),
    "oracle": ((VERMILLION,), "dashed"),
    "greedy": ((VERMILLION,), "dotted"),
}
"""Colours and dash of each kind of method; ceilings share a colour and are never drawn solid."""


def method_style(kind: Kind, index: int = 0) -> Style:
    """The look of the method number `index` of its kind."""
    colours, dash = _KINDS[kind]
    repeat = index // len(colours)
    return Style(colours[index % len(colours)], dash if not repeat else _DASHES[repeat % len(_DASHES)])


def stem_style(stem: str) -> Style:
    return Style(STEM_COLOURS.get(stem, GREY), marker="circle")

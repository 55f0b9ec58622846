"""One colour for one thing in every figure, in a file, a page or the dashboard, on white and on black.

Source: Okabe and Ito, "Color Universal Design" (2008); distinguishable with any kind of colour blindness. The yellow is
left out, since it is hardly visible on white.
"""

from __future__ import annotations

from collections.abc import Mapping

from schedopt.files.benchmark_file import Kind
from schedopt.view.figures.drawing import Style

BLUE, ORANGE, GREEN, VERMILLION = "#0072B2", "#E69F00", "#009E73", "#D55E00"
PINK, SKY, GREY, MID_GREY = "#CC79A7", "#56B4E9", "#7A7A7A", "#9A9A9A"
INDIGO, TEAL = "#5B6FC0", "#4B8F8C"

SCALE = ("#A0A0A0", "#E69F00", "#D55E00")
"""Low to high. The low end fades on either background; viridis would fade into one of them at either end."""

FAINT = Style(MID_GREY, width=1.5)

STEM_COLOURS: Mapping[str, str] = {
    "drums": VERMILLION,
    "bass": BLUE,
    "other": GREEN,
    "vocals": PINK,
    "guitar": ORANGE,
    "piano": SKY,
}

_DASHES = ("solid", "dash", "dot")

_KINDS: Mapping[Kind, tuple[tuple[str, ...], str]] = {
    "baseline": ((GREY,), "dash"),
    "schedule": ((BLUE, INDIGO, SKY, TEAL), "solid"),
    "shift": ((GREEN,), "solid"),
    "line": ((ORANGE,), "solid"),
    "constant": ((PINK,), "solid"),
    "family": ((SKY, TEAL, INDIGO), "dash"),
    "oracle": ((VERMILLION,), "dash"),
    "greedy": ((VERMILLION,), "dot"),
}
"""Colours and dash of each kind of method; ceilings share a colour and are never drawn solid."""


def method_style(kind: Kind, index: int = 0) -> Style:
    """The look of the method number `index` of its kind."""
    colours, dash = _KINDS[kind]
    repeat = index // len(colours)
    return Style(colours[index % len(colours)], dash if not repeat else _DASHES[repeat % len(_DASHES)])


def stem_style(stem: str) -> Style:
    return Style(STEM_COLOURS.get(stem, GREY), symbol="circle")

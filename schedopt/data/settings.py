"""What a study file may say of stems and excerpts: types of its keys, for pydantic."""

from __future__ import annotations

from math import isfinite
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Strict, WithJsonSchema

from schedopt.data.stems import add_up
from schedopt.errors import DataError


def _stem(value: str) -> str:
    """A name that is safe in the name of a file."""
    safe = value.isprintable() and not set("/\\") & set(value) and value[:1].isalnum() and value[-1:] not in " ."
    if not safe or len(value) > 100:
        raise ValueError("a stem's name has 1 to 100 characters, no slash, and begins with a letter or digit")
    return value


def _sums(value: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    if "all" in value:
        raise ValueError("all stands for all stems: no sum can be called so")
    if empty := [stem for stem, listed in value.items() if not listed]:
        raise ValueError(f"{empty[0]} has an empty list: name the stems that add up to it")
    try:
        add_up((), value)
    except DataError as error:
        raise ValueError(str(error)) from None
    return value


def _excerpt(value: Any) -> float | Literal["track"]:
    if value == "track":
        return "track"
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError('Input should be a number of seconds, or "track" for whole tracks')
    if not isfinite(value):
        raise ValueError("Input should be a finite number")
    if not 0.1 < value <= 600:
        raise ValueError('Input should be greater than 0.1 and at most 600, or "track" for whole tracks')
    return float(value)


def _targets(value: Any) -> str | tuple[str, ...]:
    stems = (value,) if isinstance(value, str) else value
    if not isinstance(stems, (list, tuple)) or not all(isinstance(stem, str) for stem in stems):
        raise ValueError('it is a stem, a list of stems, or "all"')
    if not stems or len(set(stems)) != len(stems) or ("all" in stems and len(stems) > 1):
        raise ValueError("a list of targets names every stem once, and at least one")
    named = tuple(map(_stem, stems))
    return value if isinstance(value, str) else named


Stem = Annotated[str, AfterValidator(_stem)]
Stems = Annotated[tuple[Stem, ...], Strict(False)]
# Checked before, since a union's errors name its members beside the key.
ExcerptLength = Annotated[
    float | Literal["track"],
    BeforeValidator(_excerpt),
    WithJsonSchema({"anyOf": [{"type": "number", "exclusiveMinimum": 0.1, "maximum": 600}, {"const": "track"}]}),
]
Targets = Annotated[str | Stems, BeforeValidator(_targets)]
StemSums = Annotated[dict[Stem, Stems], AfterValidator(_sums)]

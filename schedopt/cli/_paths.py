"""Values on the command line: names of files, words, and numbers."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import click


class NamedPath(click.Path):
    """A path; the empty one, which a shell makes of an unset variable, is not taken for the current folder.

    Whether it can be read shows when it is read: of several files one that cannot be does not stop the others.
    """

    def __init__(self) -> None:
        super().__init__(path_type=Path, readable=False)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value == "":
            self.fail("it is empty; name a file or folder", param, ctx)
        if "\0" in str(value):
            self.fail("it holds a NUL character, which no file's name does", param, ctx)
        return super().convert(value, param, ctx)


class Word(click.types.StringParamType):
    """A text that is not empty, kept as it was given: `./demo` stays one."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not str(value).strip():
            self.fail("it is empty", param, ctx)
        return super().convert(value, param, ctx)


class Number(click.FloatRange):
    """A number in a range; NaN, which compares with nothing, is in none."""

    name = "number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value} is not a finite number", param, ctx)
        return number


PATH = NamedPath()
WORD = Word()

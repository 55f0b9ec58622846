"""The first fault that pydantic finds in a document, in one line for the person who wrote it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from schedopt.errors import shortened, shown

LONGEST_VALUE = 80
"""Characters of a value that is quoted; a longer one is not."""

BRANCHES = ("literal[", "tuple[", "constrained-")
"""Begin the names that pydantic gives to the branches of a union."""

Location = Sequence[int | str]


def explain(error: ValidationError, where: str, model: type[BaseModel]) -> str:
    """The first fault: file, field, value, what is wrong; of an unknown key the nearest known one.

    Args:
        where: names the file.
        model: what the document was checked against.
    """
    fault = error.errors(include_url=False)[0]
    location = _of_document(fault["loc"])
    field = _field(location)
    message = shown(" ".join(str(fault["msg"]).removeprefix("Value error, ").split()))
    if fault["type"] == "tuple_type":  # TOML and JSON know lists
        message = "Input should be a list"
    if fault["type"] == "missing":
        return f"{where}: {field} is missing"
    if fault["type"] == "extra_forbidden":
        known = _known_keys(model, location[:-1])
        more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
        return f"{where}: unknown key {field}{nearest(str(location[-1]), known)}; known: {', '.join(known)}{more}"
    if fault["type"] == "json_invalid":
        return f"{where}: not valid JSON: {message.removeprefix('Invalid JSON: ')}"
    return f"{where}: {field}{_given(fault['input'])}: {message}" if field else f"{where}: {message}"


def nearest(word: str, known: Iterable[str]) -> str:
    """` (did you mean X?)`, or nothing where no known word is near."""
    close = difflib.get_close_matches(word[:LONGEST_VALUE], list(known), n=1, cutoff=0.5)
    return f" (did you mean {close[0]}?)" if close else ""


def _of_document(location: Location) -> Location:
    """`location` without the names that pydantic gives to the branches of a union."""
    return [part for part in location if isinstance(part, int) or not part.startswith(BRANCHES)]


def _field(location: Location) -> str:
    """`schedules.vocals.betas[2]`, with unprintable characters escaped."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location)
    return shortened(shown(text.removeprefix(".")), 2 * LONGEST_VALUE)


def _given(value: Any) -> str:
    """` = VALUE`, where it is short and neither empty nor a table; what is wrong with a table is said of the table."""
    try:
        text = repr(value)
    except ValueError:
        return " = a huge number"  # of thousands of digits
    if value in ([], ()) or isinstance(value, (Mapping, BaseModel)) or len(text) > LONGEST_VALUE:
        return ""
    return f" = {text}"


def _known_keys(model: type[BaseModel], location: Location) -> list[str]:
    """The keys of the table at `location`, which may lie in tables by name and in lists."""
    for part in location:
        if isinstance(part, str) and part in model.model_fields:
            model = _model_in(model.model_fields[part].annotation) or model
    return list(model.model_fields)


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """The model that an annotation holds: itself, or in a list, a dictionary or a union."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for argument in get_args(annotation) if (found := _model_in(argument))), None)

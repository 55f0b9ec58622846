"""Study files as text: the reference of all keys, the JSON schema, and a new file with a comment on every key."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from importlib import resources
from typing import Any

from pydantic.fields import FieldInfo

from schedopt.config import StudyConfig

SCHEMA = resources.files("schedopt.files") / "study.schema.json"
"""What `schedopt run --schema` prints, for editors."""


def study_schema() -> dict[str, Any]:
    """The JSON schema of study files. Rules that tie several keys together are checked when a file is loaded."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **StudyConfig.model_json_schema()}


def reference_text() -> str:
    """Every section, key, default and meaning, as shown by `schedopt run --help`."""
    lines = ["Study file (TOML), with defaults:"]
    for section, keys in _sections():
        lines.append(f"[{section}]")
        for key, entry in keys.items():
            value = "(required)" if entry.is_required() else f"= {_toml(_default(entry))}"
            lines.append(f"  {key} {value}  {entry.description}")
    return "\n".join(lines)


def study_text(values: Mapping[str, Mapping[str, Any]], head: str) -> str:
    """A study file with `values` (section → key → value), all other keys commented out with their defaults.

    Args:
        head: comments above the first section.
    """
    lines = [f"#:schema {SCHEMA}", *(f"# {line}" for line in head.splitlines())]
    for section, keys in _sections():
        lines += ["", f"[{section}]"]
        for key, entry in keys.items():
            if key in values.get(section, {}):
                lines.append(f"{key} = {_toml(values[section][key])}  # {entry.description}")
            else:
                lines.append(f"# {key} = {_toml(_default(entry))}  # {entry.description}")
    return "\n".join(lines) + "\n"


def _sections() -> Iterator[tuple[str, dict[str, FieldInfo]]]:
    for section, field in StudyConfig.model_fields.items():
        model: Any = field.annotation
        yield section, model.model_fields


def _default(entry: FieldInfo) -> Any:
    return entry.get_default(call_default_factory=True)


def _toml(value: Any) -> str:
    if value is None:
        return '"all"'
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return "{}"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(_toml, value))}]"
    # A JSON string is a TOML string too.
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else str(value)

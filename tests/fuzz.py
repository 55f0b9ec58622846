"""Strategies for documents that are nearly right, and for what is not a document at all."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any

from hypothesis import strategies as st

NASTY_NAMES = (
    *(
        "",
        ".",
        "..",
        "~",
        "-rf",
        "../up",
        "/etc/x",
        "a/b",
        "a\\b",
        "a\0b",
        "two\nlines",
        "\x1b[31m",
        " pad ",
        "x" * 300,
    ),
    *(
        "con",
        "a.b",
        "β" * 80,
        "é",
        "a\u202eb",
        "{stem}",
        "{track}/../..",
        "%s",
        "$(id)",
        "`id`",
        "'\"",
        "\ud800",
        "a;b",
    ),
)
"""Names that were trouble somewhere: paths, options, escapes, templates, lone surrogates."""

NUMBERS = st.one_of(
    st.integers(-3, 12),
    st.integers(),
    st.floats(),
    st.floats(0, 1),
    st.sampled_from([0.0, -0.0, 1e-320, 1e-300, 1e300, 5e-324, 2.0**63, 0.1, 1.0, float("nan"), float("inf")]),
)
NAMES = st.one_of(st.sampled_from(NASTY_NAMES), st.text(max_size=12))
SCALARS = st.one_of(NUMBERS, NAMES, st.booleans(), st.none())
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(NAMES, inner, max_size=3)),
    max_leaves=8,
)


def places(document: Any, path: tuple[Any, ...] = ()) -> Iterable[tuple[Any, ...]]:
    """The way to every value of a nested document, inner nodes too."""
    if path:
        yield path
    items = (
        document.items() if isinstance(document, dict) else enumerate(document) if isinstance(document, list) else ()
    )
    for key, value in items:
        yield from places(value, (*path, key))


@st.composite
def mutated(draw: st.DrawFn, valid: dict[str, Any]) -> dict[str, Any]:
    """`valid` with one to four values replaced, removed or added, mostly by something of the same kind."""
    document = copy.deepcopy(valid)
    for _ in range(draw(st.integers(1, 4))):
        ways = list(places(document))
        if not ways:
            break
        *parents, last = draw(st.sampled_from(ways))
        table = document
        for key in parents:
            table = table[key]
        old = table[last]
        action = draw(st.sampled_from(["same kind", "same kind", "anything", "remove", "add"]))
        if action == "remove":
            del table[last]
        elif action == "add" and isinstance(old, dict):
            old[draw(NAMES)] = draw(VALUES)
        elif action == "same kind":
            table[last] = draw(_like(old))
        else:
            table[last] = draw(VALUES)
    return document


def _like(value: Any) -> st.SearchStrategy[Any]:
    if isinstance(value, bool):
        return st.booleans()
    if isinstance(value, (int, float)):
        return NUMBERS
    if isinstance(value, str):
        return NAMES
    if isinstance(value, list):
        return st.lists(NUMBERS, max_size=4)
    return VALUES

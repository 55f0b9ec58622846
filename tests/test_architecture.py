"""Imports point one way: cli → view → songs → proof → workers → search → evaluation → trajectory → … → errors."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "schedopt"

LAYERS = (
    ("errors", "types", "memory"),
    ("files.reading", "files.writing", "files.explain", "files.names"),
    ("registry", "arrays"),
    ("schedules", "disk", "rules", "outputs", "metrics", "optuna_classes"),
    ("refinement", "search_options"),
    ("separators",),
    ("store",),
    ("demo",),
    ("data",),
    ("trajectory",),
    ("evaluation",),
    ("storage",),
    ("config", "files"),
    ("search",),
    ("workers",),
    ("proof",),
    ("songs",),
    ("api", "view"),
    ("cli",),
    ("__main__",),
)
"""From the bottom up; a module may import from its own room and from lower layers. Two of one layer are strangers.
A module that serves lower layers than the rest of its room has a layer of its own."""

RANK = {room: rank for rank, rooms in enumerate(LAYERS) for room in rooms}


def room_of(parts: Sequence[str]) -> str:
    """The room, or the module with a layer of its own, of the path of a module below the package."""
    module = ".".join(parts[:2])
    return module if module in RANK else parts[0]


def imported_rooms(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        for name in names:
            parts = name.split(".")
            room = PACKAGE / parts[1] if len(parts) > 1 else PACKAGE
            if parts[0] == "schedopt" and room != PACKAGE and (room.exists() or room.with_suffix(".py").exists()):
                yield room_of(parts[1:])


MODULES = sorted(PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_down(path: Path) -> None:
    room = room_of(path.relative_to(PACKAGE).with_suffix("").parts)
    if room == "__init__":
        # Names for users, from every room, imported when they are used.
        return
    assert room in RANK, f"{room} has no layer: give it one"
    for other in imported_rooms(path):
        assert other == room or RANK[other] < RANK[room], f"{path.name} ({room}) imports {other}"


def test_files_stay_rooms_of_one_purpose() -> None:
    long = {str(path): lines for path in MODULES if (lines := len(path.read_text().splitlines())) > 400}
    assert not long

"""Files of results: whole or not at all, with the permissions of the umask."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from schedopt.errors import StudyError
from schedopt.files.writing import (
    EMPTY,
    JSON,
    OTHER,
    PAGE,
    TABLE,
    check_writable,
    kind_of,
    replacing,
    write_bytes,
    write_text,
)


@pytest.fixture(params=[0o022, 0o077, 0o002])
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_new_file_has_the_permissions_of_the_umask(tmp_path: Path, umask: int) -> None:
    write_text(tmp_path / "a.json", "β")
    write_bytes(tmp_path / "new" / "b.png", b"x")
    assert (tmp_path / "a.json").read_text(encoding="utf-8") == "β"
    assert mode(tmp_path / "a.json") == mode(tmp_path / "new" / "b.png") == 0o666 & ~umask


def test_a_replaced_file_keeps_its_permissions(tmp_path: Path, umask: int) -> None:
    path = tmp_path / "a.json"
    path.touch()
    path.chmod(0o640)
    write_text(path, "new")
    assert (path.read_text(), mode(path)) == ("new", 0o640)


def test_what_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_text(path, "old")
    with pytest.raises(StudyError, match=r"a\.json: cannot be written"):
        write_text(path, "\ud800")
    with contextlib.suppress(KeyboardInterrupt), replacing(path) as temporary:
        temporary.write_text("half")
        raise KeyboardInterrupt
    assert [(one.name, one.read_text()) for one in tmp_path.iterdir()] == [("a.json", "old")]


def test_looking_leaves_nothing_behind(tmp_path: Path) -> None:
    check_writable(tmp_path / "new" / "x.json")
    assert list((tmp_path / "new").iterdir()) == []
    write_text(tmp_path / "x.json", "old")
    check_writable(tmp_path / "x.json")
    assert (tmp_path / "x.json").read_text() == "old"
    for name in ("a\0b", "x" * 300):
        with pytest.raises(StudyError, match="cannot be written"):
            check_writable(tmp_path / name)


KINDS = {
    "schedopt schedule": '{"format": 3, "kind": "schedopt schedule"}',
    "schedopt benchmark": '{"kind": "schedopt benchmark"}',
    JSON: '{"$schema": "x", "kind": {"const": 1}}',
    PAGE: "<!DOCTYPE html><title>x</title>",
    TABLE: "target,step,beta",
    OTHER: "[study]",
    EMPTY: "",
}


@pytest.mark.parametrize("there", KINDS)
def test_a_file_of_another_kind_is_not_replaced(there: str, tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_text(KINDS[there])
    assert kind_of(path) == there
    for kind in ("schedopt schedule", "schedopt benchmark", JSON, PAGE, TABLE):
        if there in (kind, EMPTY):
            check_writable(path, kind)
        else:
            with pytest.raises(StudyError, match="is a file of another kind; name another one"):
                check_writable(path, kind)
    assert path.read_text() == KINDS[there]

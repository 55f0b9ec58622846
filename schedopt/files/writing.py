"""Every file of results is written here: whole or not at all, with the permissions that the user's umask leaves."""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from schedopt.errors import StudyError, reason, shown

KIND_WITHIN = 1000
"""Bytes at the beginning of a JSON document within which it names its kind."""

PAGE, TABLE, JSON, EMPTY, OTHER = "page", "table", "JSON", "empty", "other"
"""What `kind_of` tells of files that name no kind of their own."""

DATABASE = b"SQLite format 3\0"
"""What every SQLite database begins with."""


def check_writable(path: Path, kind: str = "", *, read: Iterable[Path] = ()) -> None:
    """Make sure that `write_text` will work, before work whose result is to lie there; makes the folder.

    Args:
        kind: of the result, as `kind_of` tells it: a file of another kind is not replaced. Default: any is.
        read: files that the command reads, which its result must not replace.

    Raises:
        StudyError: the file cannot be written, is of another kind, or is one of those.
    """
    with _new_file(path):
        if any(is_same(path, other) for other in read):
            raise StudyError(f"{shown(path)}: this command reads it; name another file for the result")
        if kind and path.exists() and kind_of(path) not in (kind, EMPTY):
            raise StudyError(f"{shown(path)}: is a file of another kind; name another one for the result, or remove it")


def kind_of(path: Path) -> str:
    """What a file of results is, by its beginning: the `kind` that a JSON document names, `PAGE` (HTML), `TABLE` (of
    β), `JSON` without a kind, `EMPTY` or `OTHER`."""
    start = _beginning(path, KIND_WITHIN).decode("utf-8-sig", "replace").lstrip()  # without a byte order mark
    if start.startswith("{"):
        named = re.search(r'"kind":\s*"([^"]*)"', start)
        return named[1] if named else JSON
    if start.lower().startswith("<!doctype html"):
        return PAGE
    if start.startswith(("target,", "point,")):
        return TABLE
    return OTHER if start else EMPTY


def identity(path: Path) -> tuple[int, int] | None:
    """Device and number of the file that a name leads to: equal for two names of one file. None where none is there."""
    with contextlib.suppress(OSError, ValueError):
        state = path.stat()
        return state.st_dev, state.st_ino
    return None


def is_same(path: Path, other: Path) -> bool:
    """Whether two names are of one file that is there."""
    return (found := identity(path)) is not None and found == identity(other)


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8.

    Raises:
        StudyError: the file cannot be written; an older one is still there.
    """
    with replacing(path) as temporary:
        temporary.write_bytes(text.encode("utf-8"))


def write_bytes(path: Path, content: bytes) -> None:
    """Write `content`.

    Raises:
        StudyError: the file cannot be written; an older one is still there.
    """
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def json_text(value: Any, encoding: str = "utf-8") -> str:
    """`value` as a JSON document; characters that `encoding` lacks (some file names hold such) are escaped."""
    text = json.dumps(value, indent=2, ensure_ascii=False)
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        text = json.dumps(value, indent=2)
    return text + "\n"


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """An empty file beside `path` to be filled, which takes its name when all is written and safe on the disk.

    Folders that are missing are made. A file that is replaced keeps its permissions; a new one has those of the umask.

    Raises:
        StudyError: the file cannot be written; an older one is still there.
    """
    with _new_file(path) as temporary:
        yield temporary
        with temporary.open("r+b") as file:
            os.fsync(file.fileno())
        if path.exists():
            shutil.copymode(path, temporary)
        temporary.replace(path)


@contextlib.contextmanager
def _new_file(path: Path) -> Iterator[Path]:
    """A new file in the folder of `path`, gone at the end unless it was renamed."""
    try:
        if path.exists() and not path.is_file():
            raise StudyError(f"{shown(path)}: is not a regular file; name another one")
        if path.exists() and _beginning(path, len(DATABASE)) == DATABASE:
            raise StudyError(f"{shown(path)}: is a database, which may hold studies; name another file")
        path.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):
            path.lstat()  # a name that is too long or holds a NUL
        temporary = path.parent / f".schedopt-{secrets.token_hex(8)}.part"
        try:
            temporary.open("xb").close()  # not tempfile's, which is for its user alone whatever the umask
            yield temporary
        finally:
            temporary.unlink(missing_ok=True)
    except (OSError, ValueError) as error:
        raise StudyError(f"{shown(path)}: cannot be written: {reason(error)}") from None


def _beginning(path: Path, length: int) -> bytes:
    with path.open("rb") as file:
        return file.read(length)

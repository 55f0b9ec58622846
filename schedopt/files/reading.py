"""Documents that users name (study, schedule and benchmark files, bags of models), read up to a limit."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any

from schedopt.errors import SchedoptError, reason, shown

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
"""Windows' editors write it before UTF-8."""


def read_bytes(path: Path | str, limit: int, what: str, refusal: type[SchedoptError]) -> bytes:
    """The content of a regular file of at most `limit` bytes, without a byte order mark.

    Args:
        what: what the file should be, as a message says it: "study file".
        refusal: the error to raise.

    Raises:
        SchedoptError: of the class `refusal`: there is no such file, it is a folder, a pipe or a device, it cannot be
            read, or it is larger.
    """
    where = shown(path)
    try:
        # Opening a pipe would wait for its writer.
        flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
        with open(os.open(path, flags), "rb") as file:
            regular = stat.S_ISREG(os.fstat(file.fileno()).st_mode)
            content = file.read(limit + 1) if regular else b""
    except FileNotFoundError:
        raise refusal(f"{where}: there is no such {what}") from None
    except IsADirectoryError:
        regular = False
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path, or a name that is not text
        raise refusal(f"{where}: the {what} cannot be read: {reason(error)}") from None
    if not regular:
        raise refusal(f"{where}: is not a regular file; name a {what}")
    if len(content) > limit:
        size = f"{limit // 2**20} MiB" if limit >= 2**20 else f"{limit // 2**10} KiB"
        raise refusal(f"{where}: larger than {size}, so it is no {what}")
    return content.removeprefix(BYTE_ORDER_MARK)


def read_text(path: Path | str, limit: int, what: str, refusal: type[SchedoptError]) -> str:
    """As `read_bytes`, as UTF-8 text.

    Raises:
        SchedoptError: as `read_bytes`, or it is not UTF-8.
    """
    try:
        return read_bytes(path, limit, what, refusal).decode("utf-8")
    except UnicodeDecodeError:
        raise refusal(f"{shown(path)}: the {what} cannot be read: it is not UTF-8 text") from None


def parse_json(content: bytes, where: str, refusal: type[SchedoptError]) -> Any:
    """A JSON document in which no key stands twice in one object: other readers would take the last one silently.

    Args:
        where: names the file.
        refusal: the error to raise where one does.

    Raises:
        ValueError: it is no JSON.
        RecursionError: it is nested too deeply.
    """

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            names = [name for name, _ in pairs]
            twice = next(name for name in names if names.count(name) > 1)
            raise refusal(f"{where}: the key {shown(twice)!r} stands twice in one object")
        return found

    return json.loads(content, object_pairs_hook=once)

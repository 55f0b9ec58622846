"""Documents are read up to a limit, and only from regular files."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from schedopt.errors import DataError
from schedopt.files.reading import read_bytes, read_text


def said(path: Path | str, limit: int = 2048) -> str:
    with pytest.raises(DataError) as caught:
        read_text(path, limit, "list of songs", DataError)
    return str(caught.value)


def test_a_byte_order_mark_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"\xef\xbb\xbfx = \xce\xb2")
    assert read_text(path, 10, "x", DataError) == "x = β"
    path.write_bytes(b"\xef\xbb\xbf\xff")
    assert read_bytes(path, 10, "x", DataError) == b"\xff"


def test_what_is_no_document_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "large").write_bytes(bytes(2049))
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    for name in ("fifo", "", "/dev/zero"):
        assert "is not a regular file; name a list of songs" in said(tmp_path / name)
    assert said(tmp_path / "large").endswith("large: larger than 2 KiB, so it is no list of songs")
    assert said(tmp_path / "binary").endswith("the list of songs cannot be read: it is not UTF-8 text")
    assert said(tmp_path / "none").endswith("none: there is no such list of songs")
    for name in ("a\0b", "x" * 300, "\ud800"):
        assert said(tmp_path / name).isprintable()
        assert "cannot be read: " in said(tmp_path / name)

"""A scratch folder that does not stay behind when its process is killed."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from schedopt.storage.owners import is_dead, owner

PREFIX = "schedopt-workers-"
OWNER = "owner"
"""File in the folder that names its process."""


@contextlib.contextmanager
def scratch_folder() -> Iterator[Path]:
    """A folder within the system's temporary one (`TMPDIR`), for this user alone; it goes at the end.

    Those that killed processes of this user and machine have left are removed first.

    Raises:
        OSError: it cannot be made.
    """
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError, ValueError):
            if _is_left_over(folder):
                shutil.rmtree(folder, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=PREFIX, ignore_cleanup_errors=True) as name:
        (Path(name) / OWNER).write_text(owner(), encoding="utf-8")
        yield Path(name)


def _is_left_over(folder: Path) -> bool:
    """Whether it is a folder (not a link to one) of this user whose process has ended."""
    mine = not hasattr(os, "getuid") or folder.lstat().st_uid == os.getuid()
    return mine and not folder.is_symlink() and is_dead((folder / OWNER).read_text(encoding="utf-8"))

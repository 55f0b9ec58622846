"""A hidden scratch folder that does not stay behind when its process is killed.

`separate` writes a song's stems in one beside the results until all of them are complete; a study shares its excerpts
with its workers in one. Its name is random, it is made for this user alone, and no link is followed. What a killed run
left behind is removed by the next run of the same user in the same place.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import filelock

from schedopt.errors import DataError

PREFIX = ".schedopt-"
LOCK, JOB = "lock", "job"
HEADER = "schedopt scratch "
"""Begins the file that says what a folder is for; a folder without it is not one of these."""

OWN_SUFFIXES = (".wav", ".flac", ".mp3", ".pt")
"""Of the files that are written in these folders: the others in one are never removed."""


@contextlib.contextmanager
def scratch_folder(folder: Path, job: str) -> Iterator[Path]:
    """A new folder in `folder`, removed at the end.

    Args:
        job: tells what is made in it; two processes do not do the same at once.

    Raises:
        DataError: another process is at this job.
        OSError: it cannot be made.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.glob(f"{PREFIX}*"):
        if _is_in_use(path, job):
            raise DataError("another process is making these files")
    scratch = Path(tempfile.mkdtemp(prefix=PREFIX, dir=folder))
    try:
        with filelock.FileLock(scratch / LOCK, timeout=0):
            (scratch / JOB).write_text(HEADER + job, encoding="utf-8")
            yield scratch
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _is_in_use(path: Path, job: str) -> bool:
    """Whether a process that is alive does `job` in the scratch folder `path`; one of a dead process is removed."""
    if not _is_own(path):
        return False
    with contextlib.suppress(OSError):
        text = (path / JOB).read_text(encoding="utf-8", errors="replace") if (path / JOB).is_file() else ""
        if not text.startswith(HEADER):
            return False
        try:
            with filelock.FileLock(path / LOCK, timeout=0):
                _clear(path)
        except filelock.Timeout:
            return text == HEADER + job
        path.rmdir()
    return False


def _is_own(path: Path) -> bool:
    """Whether this is a folder, not a link to one, that this user made for himself."""
    try:
        state = path.lstat()
        links = (path / LOCK).is_symlink() or (path / JOB).is_symlink()
    except OSError:
        return False
    private = not hasattr(os, "getuid") or (state.st_uid == os.getuid() and not state.st_mode & stat.S_IRWXO)
    return stat.S_ISDIR(state.st_mode) and private and not links


def _clear(path: Path) -> None:
    """Remove the files that a run makes here, and no others."""
    for file in path.iterdir():
        if file.name in (LOCK, JOB) or file.suffix in OWN_SUFFIXES:
            file.unlink(missing_ok=True)

"""Where the audio of trials is kept: Optuna's artifact store in a folder that only this user can write.

By default it lies beside a SQLite database (`studies.db` → `studies.db.artifacts`), so that whoever reaches the
database reaches it too. A database server has no such place: there `[store] artifacts` names the folder, on disks that
all its machines share.
"""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path
from typing import BinaryIO

from optuna.artifacts import FileSystemArtifactStore
from optuna.artifacts.exceptions import ArtifactNotFound

from schedopt.errors import StudyError, reason, shown
from schedopt.storage.urls import sqlite_file

PRIVATE = 0o700


class ArtifactStore(FileSystemArtifactStore):
    """Optuna's store of files, in which a file that is gone already can be removed: a study's deletion goes on."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.folder = folder

    def remove(self, artifact_id: str) -> None:
        with contextlib.suppress(ArtifactNotFound):
            super().remove(artifact_id)

    def write(self, artifact_id: str, content_body: BinaryIO) -> None:
        """As Optuna's, but half a file (the disk was full) does not stay."""
        try:
            super().write(artifact_id, content_body)
        except BaseException:
            self.remove(artifact_id)
            raise


def artifact_folder(url: str, named: str = "") -> Path | None:
    """The folder of the audio of the studies in the storage `url`; None where there is none.

    Args:
        named: `[store] artifacts`; it comes first.

    Raises:
        StudyError: `named` begins with the home of a user who is not there.
    """
    if named:
        try:
            return Path(named).expanduser().absolute()
        except RuntimeError as error:  # no such user
            raise StudyError(f"{shown(named)}: no folder of audio: {reason(error)}") from None
    path = sqlite_file(url)
    return None if path is None else Path(f"{path}.artifacts").absolute()


def artifact_store(folder: Path, *, create: bool) -> ArtifactStore:
    """The store in `folder`.

    Args:
        create: make the folder (not those above it), for this user alone, where there is none.

    Raises:
        OSError: there is no such folder, or it is not this user's alone to write: in a folder for everybody, as
            /tmp is, someone else may have put it there.
    """
    if create:
        folder.mkdir(mode=PRIVATE, exist_ok=True)
    state = folder.lstat()
    if not stat.S_ISDIR(state.st_mode):
        raise NotADirectoryError(f"{folder} is not a folder")
    if hasattr(os, "getuid") and (state.st_uid != os.getuid() or state.st_mode & stat.S_IWOTH):
        raise PermissionError(f"{folder} can be written by others")
    return ArtifactStore(folder)

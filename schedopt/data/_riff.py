"""How much audio a WAV file's header promises. libsndfile reads a file that was cut short as if it were whole."""

from __future__ import annotations

import os
from pathlib import Path

UNKNOWN_LENGTH = 0x7FFF_0000
"""From here on a size in bytes is the mark of a program that wrote to a pipe and did not know the length."""


def share_there(path: Path) -> float:
    """The part of the samples' bytes that a RIFF WAV file's header promises and that is there; 1 for any other file.

    Raises:
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        head = file.read(12)
        if head[:4] not in (b"RIFF", b"RIFX") or head[8:] != b"WAVE":
            return 1.0
        while len(chunk := file.read(8)) == 8:
            length = int.from_bytes(chunk[4:], "little" if head[:4] == b"RIFF" else "big")
            if chunk[:4] == b"data":
                known = 0 < length < UNKNOWN_LENGTH
                return min(1.0, (size - file.tell()) / length) if known else 1.0
            file.seek(length + length % 2, os.SEEK_CUR)
    return 1.0

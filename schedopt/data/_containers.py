"""How much audio a container promises, beside what lies in the file: decoders read a cut-off file as a whole one.

Sources: RIFF and RF64 (EBU Tech 3306), AIFF (Apple, 1989), W64 (Sony Sound Forge), CAF (Apple, 2011), AU (Sun, 1992).
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal

FROM_UNKNOWN = 0x7FFF_0000
"""From here on a 32-bit size is the mark of a program that wrote to a pipe and did not know the length."""

W64_DATA = b"data\xf3\xac\xd3\x11\x8c\xd1\x00\xc0\x4f\x8e\xdb\x8a"


@dataclass(frozen=True)
class Chunks:
    """How a container writes its chunks: a name, a size, the content; `data` is the chunk of the samples.

    `first`: where chunks begin. `extra`: bytes of the data chunk before its samples. `counted`: bytes of a chunk's
    header that its size includes. `align`: chunks begin at multiples of it.
    """

    data: bytes
    first: int = 12
    size_bytes: int = 4
    order: Literal["little", "big"] = "little"
    extra: int = 0
    counted: int = 0
    align: int = 2


RIFF = Chunks(b"data")
CONTAINERS: dict[bytes, Chunks] = {
    b"RIFF": RIFF,
    b"RIFX": Chunks(b"data", order="big"),
    b"RF64": RIFF,
    b"BW64": RIFF,
    b"FORM": Chunks(b"SSND", order="big", extra=8),
    b"riff": Chunks(W64_DATA, first=40, size_bytes=8, counted=24, align=8),
    b"caff": Chunks(b"data", first=8, size_bytes=8, order="big", extra=4, align=1),
}
"""By a file's first four bytes."""


def share_there(path: Path) -> float:
    """The part of the samples' bytes that a container promises and that is there; 1 where it promises none.

    A few bytes less count as all: up to 4096 or 1 % of the samples, whichever is less.

    Raises:
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        there = os.fstat(file.fileno()).st_size
        magic = file.read(4)
        if magic in (b".snd", b"dns."):
            position, promised = _au(file, "big" if magic == b".snd" else "little")
        elif magic in CONTAINERS:
            position, promised = _data_chunk(file, CONTAINERS[magic])
        else:
            return 1.0
    missing = position + promised - there
    return 1.0 if missing <= max(16, min(4096, promised // 100)) else max(0, there - position) / promised


def _au(file: BinaryIO, order: Literal["little", "big"]) -> tuple[int, int]:
    position, size = (int.from_bytes(file.read(4), order) for _ in range(2))
    return position, _known(size, 4)


def _data_chunk(file: BinaryIO, chunks: Chunks) -> tuple[int, int]:
    """Where the samples begin, and how many bytes of them are promised; (0, 0) where that is not said."""
    long_size = 0
    file.seek(chunks.first)
    name_bytes = len(chunks.data)
    header = name_bytes + chunks.size_bytes
    while len(head := file.read(header)) == header:
        name, begin = head[:name_bytes], file.tell()
        size = int.from_bytes(head[name_bytes:], chunks.order) - chunks.counted
        if name == b"ds64":  # RF64's sizes of 64 bits: of the file, of the samples
            long_size = int.from_bytes(file.read(16)[8:], "little")
        if name == chunks.data:
            if size == 0xFFFF_FFFF and long_size:
                return begin, _known(long_size, 8)
            return begin + chunks.extra, _known(size - chunks.extra, chunks.size_bytes)
        if size < 0:
            break
        file.seek(begin + size + -size % chunks.align)
    return 0, 0


def _known(size: int, size_bytes: int) -> int:
    """`size`, or 0 for the values that stand for an unknown one."""
    return size if 0 < size < (FROM_UNKNOWN if size_bytes == 4 else 2**62) else 0

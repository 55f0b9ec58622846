"""How much audio a container promises, beside what lies in the file: decoders read a cut-off file as a whole one.

Sources: RIFF and RF64 (EBU Tech 3306), AIFF (Apple, 1989), 8SVX (Electronic Arts, 1985), W64 (Sony Sound Forge), CAF
(Apple, 2011), AU (Sun, 1992), ISO/IEC 14496-12 (MP4), ASF (Microsoft, 2004), Matroska (RFC 9559), the Xing header of an
MP3 (LAME), NIST SPHERE, SoX. Formats of pages and frames promise nothing: see `schedopt.data._ends`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from schedopt.data._ends import Untagged, xing_offset

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
SVX = Chunks(b"BODY", order="big")
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


ASF_HEADER = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")
ASF_FILE = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")
MP4_BOXES = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot")
"""With which a file of MP4 or QuickTime begins."""

EBML, SEGMENT = bytes.fromhex("1a45dfa3"), bytes.fromhex("18538067")
"""Matroska's header, and the element that holds all the rest."""

Promise = tuple[int, int]
"""Where the samples begin, and how many bytes from there on are promised; (0, 0) where that is not said."""

NOTHING = (0, 0)


def share_there(path: Path) -> float:
    """The part of the bytes that a container promises and that is there; 1 where it promises none.

    Tags of ID3v2 in front, which decoders pass over, do not count.

    A few bytes less count as all: up to 4096 or 1 % of the samples, whichever is less.

    Raises:
        OSError: the file cannot be read.
    """
    with path.open("rb") as opened:
        file = Untagged(opened)
        position, promised = promise_of(file)
    missing = position + promised - file.size
    return 1.0 if missing <= max(16, min(4096, promised // 100)) else max(0, file.size - position) / promised


def promise_of(file: Untagged) -> Promise:
    """What the container of `file` promises."""
    file.seek(0)
    head = file.read(64)
    file.seek(0)
    return _reader(head)(file)


def _reader(head: bytes) -> Callable[[Untagged], Promise]:
    """The function that reads the promise of a container that begins with `head`."""
    magic, kind = head[:4], head[8:12]
    if magic in (b".snd", b"dns."):
        return lambda file: _au(file, "big" if magic == b".snd" else "little")
    if magic == b"FORM" and kind in (b"8SVX", b"16SV"):
        return lambda file: _data_chunk(file, SVX)
    if magic == b"RIFF" and kind != b"WAVE":  # a film (AVI): sound lies all over it
        return lambda _: (8, _known(int.from_bytes(head[4:8], "little"), 4))
    if magic in CONTAINERS:
        return lambda file: _data_chunk(file, CONTAINERS[magic])
    if magic in (b".SoX", b"XoS."):
        return lambda _: _sox(head, "little" if magic == b".SoX" else "big")
    if head.startswith(b"NIST_1A"):
        return _nist
    if head.startswith(ASF_HEADER):
        return _asf
    if head.startswith(EBML):
        return lambda _: _matroska(head)
    return _boxes if head[4:8] in MP4_BOXES else _xing


def _au(file: Untagged, order: Literal["little", "big"]) -> Promise:
    file.seek(4)
    position, size = (int.from_bytes(file.read(4), order) for _ in range(2))
    return position, _known(size, 4)


def _sox(head: bytes, order: Literal["little", "big"]) -> Promise:
    """Samples of 4 bytes each."""
    return 4 + int.from_bytes(head[4:8], order), 4 * _known(int.from_bytes(head[8:16], order), 8)


def _nist(file: Untagged) -> Promise:
    text = file.read(4096)
    found = {name: int(value) for name, value in re.findall(rb"^(\w+) -i (\d+)\s", text, re.MULTILINE)}
    lines = text.split(b"\n")
    names = (b"sample_count", b"channel_count", b"sample_n_bytes")
    if any(name not in found for name in names) or not lines[1].strip().isdigit():
        return NOTHING
    count, channels, size = (found[name] for name in names)
    return int(lines[1]), count * channels * size


def _asf(file: Untagged) -> Promise:
    """The size of the whole file; a broadcast does not know it."""
    header = file.read(65_536)
    place = header.find(ASF_FILE)
    if place < 0:
        return NOTHING
    is_broadcast = header[place + 88 : place + 89] not in (b"\0", b"\2")
    return 0, 0 if is_broadcast else _known(int.from_bytes(header[place + 40 : place + 48], "little"), 8)


def _matroska(head: bytes) -> Promise:
    """The size of the segment; a live recording does not know it."""
    after, size = _element_size(head, 4)
    place = after + size
    if not head.startswith(SEGMENT, place) or len(head) < place + 12:
        return NOTHING
    begin, size = _element_size(head, place + 4)
    is_unknown = size == (1 << 7 * (begin - place - 4)) - 1
    return NOTHING if is_unknown else (begin, size)


def _element_size(head: bytes, place: int) -> tuple[int, int]:
    """Where a size of variable length that stands at `place` ends, and what it says."""
    count = 9 - head[place].bit_length()  # leading zeros say how many bytes there are
    value = int.from_bytes(head[place : place + count], "big")
    return place + count, value & ((1 << 7 * count) - 1)


def _boxes(file: Untagged) -> Promise:
    """The end of the last box: a recorder writes fragments, of which some may be missing."""
    end = 0
    for _, place, size in boxes(file):
        if not size:
            return NOTHING
        end = place + size
    return 0, end


def boxes(file: Untagged) -> Iterator[tuple[bytes, int, int]]:
    """The boxes of a file of MP4: name, position, and size, which is 0 where the row of boxes ends too early."""
    place = 0
    while place < file.size:
        file.seek(place)
        head = file.read(16)
        size = int.from_bytes(head[:4], "big")
        if size == 1:
            size = int.from_bytes(head[8:16], "big")
        if size < 8 or not head[4:8].isalnum():  # to the end of the file; or a foreign tag
            size = 0
        yield head[4:8], place, size
        if not size:
            return
        place += size


def _xing(file: Untagged) -> Promise:
    """Of an MP3 the bytes that its first frame counts: flags, frames where bit 0 says so, bytes where bit 1 does."""
    frame = file.read(64)
    offset = xing_offset(frame)
    if offset is None or frame[offset : offset + 4] not in (b"Xing", b"Info"):
        return NOTHING
    flags = int.from_bytes(frame[offset + 4 : offset + 8], "big")
    if not flags & 2:
        return NOTHING
    place = offset + 8 + 4 * (flags & 1)
    return 0, _known(int.from_bytes(frame[place : place + 4], "big"), 4)


def _data_chunk(file: Untagged, chunks: Chunks) -> Promise:
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
    return NOTHING


def _known(size: int, size_bytes: int) -> int:
    """`size`, or 0 for the values that stand for an unknown one."""
    return size if 0 < size < (FROM_UNKNOWN if size_bytes == 4 else 2**62) else 0

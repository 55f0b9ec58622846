"""Whether a file of pages or frames ends in the middle of one: such formats promise no length, but none ends there.

Sources: Ogg (RFC 3533), MPEG audio (ISO/IEC 11172-3 and 13818-3), ADTS (13818-7), AC-3 and E-AC-3 (ETSI TS 102 366),
DTS (ETSI TS 102 114), MPEG transport streams (13818-1), VOC (Creative Labs).
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

TAIL = 2**17
"""Bytes at a file's end that are searched for a row of frames."""

ROW = 4
"""So many frames, each where the one before it ends, are no accident."""

MPEG_RATES = {  # kbit/s: by (version 1, layer)
    (True, 1): (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (True, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (True, 3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (False, 1): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (False, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (False, 3): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
AC3_RATES = (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384, 448, 512, 576, 640)


def after_id3(file: BinaryIO, place: int = 0) -> int:
    """Where the tags of ID3v2 that stand at `place` end; `place` itself where there is none."""
    while True:
        file.seek(place)
        head = file.read(10)
        if head[:3] != b"ID3" or len(head) < 10:
            return place
        size = 0
        for byte in head[6:]:
            size = size << 7 | byte & 127
        place += 10 + size + (10 if head[5] & 16 else 0)  # a footer repeats the header


class Untagged:
    """A file as it is without tags of ID3v2 in front: positions count from their end, `begin`. Read from there on."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.begin = after_id3(file)
        self.size = max(0, os.fstat(file.fileno()).st_size - self.begin)
        self.seek(0)

    def seek(self, place: int) -> None:
        self._file.seek(self.begin + place)

    def tell(self) -> int:
        return self._file.tell() - self.begin

    def read(self, count: int) -> bytes:
        return self._file.read(count)

    def after_tag(self, place: int) -> int:
        """Where tags of ID3v2 that stand at `place` end; see `after_id3`."""
        return after_id3(self._file, self.begin + place) - self.begin


@dataclass(frozen=True)
class End:
    """How a file ends: `what` is incomplete, or missing; `is_cut` where no writer leaves a file so."""

    what: str
    is_cut: bool


def end_of(path: Path) -> End | None:
    """What is wrong with a file's end; None where nothing is, or where that cannot be told.

    Raises:
        OSError: the file cannot be read.
    """
    with path.open("rb") as opened:
        file = Untagged(opened)
        head = file.read(20)
        if head.startswith(b"OggS"):
            return _ogg(file)
        if head.startswith(b"Creative Voice File\x1a"):
            return _voc(file)
        if _is_transport(file):
            return End("its last packet is incomplete", False) if file.size % 188 else None
        file.seek(max(0, file.size - TAIL))
        return _frames(file.read(TAIL))


def _ogg(file: Untagged) -> End | None:
    """Pages, of one stream or several, one after the other or mixed; each stream ends with a page that says so."""
    there, place = file.size, 0
    still_open: set[bytes] = set()
    while place < there:
        file.seek(place)
        head = file.read(27)
        if len(head) < 27 or not head.startswith(b"OggS"):
            if b"OggS".startswith(head[:4]) and len(head) < 27:
                return End("its last page is incomplete", True)
            found = _next_page(file, place + 1)
            if found is None:  # what a tagger or a player has appended
                break
            place = found
            continue
        serial = head[14:18]
        (still_open.discard if head[5] & 4 else still_open.add)(serial)
        sizes = file.read(head[26])
        place += 27 + head[26] + sum(sizes)
        if len(sizes) < head[26] or place > there:
            return End("its last page is incomplete", True)
    return End("its last page is not marked as the last", False) if still_open else None


def _next_page(file: Untagged, place: int) -> int | None:
    file.seek(place)
    before = b""
    while piece := file.read(TAIL):
        at = (before + piece).find(b"OggS")
        if at >= 0:
            return place + at - len(before)
        place, before = place + len(piece), piece[-3:]
    return None


def _voc(file: Untagged) -> End | None:
    """Blocks: a kind, a size of three bytes, the content; the last is a kind 0 alone."""
    there = file.size
    file.seek(20)
    place = int.from_bytes(file.read(2), "little")
    while place < there:
        file.seek(place)
        kind, size = file.read(1), file.read(3)
        if kind == b"\0":
            return None
        place += 4 + int.from_bytes(size, "little")
        if place > there:
            return End("its last block is incomplete", True)
    return End("its last block is missing", False)


def _is_transport(file: Untagged) -> bool:
    file.seek(0)
    start = file.read(3 * 188)
    return file.size > 10 * 188 and all(start[place : place + 1] == b"G" for place in (0, 188, 376))


def _frames(tail: bytes) -> End | None:
    """The row of frames that goes to the end of `tail`, if there is one: whether the last one is whole."""
    for sync, length in SYNCS:
        place = tail.find(sync)
        while 0 <= place < len(tail) - 16:
            end, count = _row(tail, place, sync, length)
            if count >= ROW:
                return End("its last frame is incomplete", False) if end > len(tail) else None
            place = tail.find(sync, place + 1)
    return None


def _row(tail: bytes, place: int, sync: bytes, length: Callable[[bytes], int | None]) -> tuple[int, int]:
    """Where a row of frames that begins at `place` ends, and how many there are; ID3v1 and other tags end it."""
    count = 0
    while place < len(tail):
        size = length(tail[place : place + 16]) if tail.startswith(sync, place) else None
        if not size:
            rest = len(tail) - place
            # A header that is cut off is a frame that is; what else follows is a tag.
            return (place + rest + 1 if rest < 8 and sync.startswith(tail[place : place + 1]) else place), count
        place, count = place + size, count + 1
    return place, count


def _mpeg(head: bytes) -> int | None:
    """Bytes of a frame of MPEG audio, from its header."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return None
    version, layer = head[1] >> 3 & 3, 4 - (head[1] >> 1 & 3)  # version 3: MPEG-1; 2: MPEG-2; 0: MPEG-2.5
    rate, frequency, padding = head[2] >> 4, head[2] >> 2 & 3, head[2] >> 1 & 1
    if version == 1 or layer == 4 or rate in (0, 15) or frequency == 3:
        return None
    hertz = (44_100, 48_000, 32_000)[frequency] >> {3: 0, 2: 1, 0: 2}[version]
    bits = 1000 * MPEG_RATES[version == 3, layer][rate - 1]
    if layer == 1:
        return (12 * bits // hertz + padding) * 4
    return (144 if layer == 2 or version == 3 else 72) * bits // hertz + padding


def _adts(head: bytes) -> int | None:
    if len(head) < 6 or head[0] != 0xFF or head[1] & 0xF6 != 0xF0:
        return None
    return (head[3] & 3) << 11 | head[4] << 3 | head[5] >> 5


def _ac3(head: bytes) -> int | None:
    if len(head) < 6:
        return None
    if head[5] >> 3 > 10:  # E-AC-3
        return 2 * (((head[2] & 7) << 8 | head[3]) + 1)
    code, rate = head[4] & 63, head[4] >> 6
    if code > 37 or rate == 3:
        return None
    bits = 1000 * AC3_RATES[code // 2]
    words = bits * 96 // (48_000, 44_100, 32_000)[rate]
    return 2 * (words + (code & 1 if rate == 1 else 0))


def _dts(head: bytes) -> int | None:
    return None if len(head) < 8 else ((head[5] & 3) << 12 | head[6] << 4 | head[7] >> 4) + 1


SYNCS: tuple[tuple[bytes, Callable[[bytes], int | None]], ...] = (
    (b"\x7f\xfe\x80\x01", _dts),
    (b"\x0b\x77", _ac3),
    (b"\xff", _adts),
    (b"\xff", _mpeg),
)
"""The bytes with which a frame begins, and its length in bytes by its header."""


def xing_offset(frame: bytes) -> int | None:
    """Where a frame of MPEG audio of layer 3 would have a Xing header; None where it is no such frame."""
    if _mpeg(frame) is None or frame[1] >> 1 & 3 != 1:
        return None
    is_first, is_mono = frame[1] >> 3 & 3 == 3, frame[3] >> 6 == 3
    return 4 + {(True, False): 32, (True, True): 17, (False, False): 17, (False, True): 9}[is_first, is_mono]


def is_tagged(path: Path) -> bool:
    """Whether a tag of ID3v2 stands in front.

    Raises:
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        return after_id3(file) > 0


def is_mpeg(path: Path) -> bool:
    """Whether a file begins, after a tag, with frames of MPEG audio (MP3).

    Raises:
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        return _mpeg(Untagged(file).read(4)) is not None

"""What a file holds after the end of its audio: a second file that `cat` has appended, or audio that no header counts.

Tags, padding and chunks that follow the samples are usual and do not matter.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

import soundfile

from schedopt.data._containers import ASF_HEADER, CONTAINERS, MP4_BOXES, Chunks, boxes, promise_of
from schedopt.data._ends import Untagged

LEAST = 2**16
"""Bytes after the end that do not matter, whatever they are."""

SHARE = 10
"""Nor does what is less than the part 1 / SHARE of the file up to its end."""

BLOCK = 2**20
"""Bytes that are searched at once."""

FLAC = b"fLaC"
SEARCHED = {
    FLAC: re.compile(rb"fLaC[\x00\x80]\x00\x00\x22"),  # with STREAMINFO's header: the first block, of 34 bytes
    b"TTA1": re.compile(rb"TTA1\x01\x00"),
    b"FLV\1": re.compile(rb"FLV\x01[\x01\x04\x05]\x00\x00\x00\x09"),
}
"""Headers, long enough not to occur by chance, of formats that say nothing of their length in bytes."""

OF_A_KIND = (b"RIFF", b"RIFX", b"RF64", b"BW64", b"FORM")
"""Their kind stands after the size: WAVE, AIFF, ..."""


@dataclass(frozen=True)
class Rest:
    """What is not read: `what` says it in words. `misleads`: a search for a time may end in it (FLAC)."""

    what: str
    misleads: bool = False


def read_up_to(path: Path, frames: int) -> int | None:
    """Up to which byte libsndfile reads for the last of `frames` frames.

    None where that one cannot be read, as of a FLAC file that was cut short, or whose header is wrong.
    """
    try:
        with path.open("rb") as raw, soundfile.SoundFile(raw.fileno(), closefd=False) as file:
            file.seek(frames - 1)
            is_there = len(file.read(1)) == 1
            return os.lseek(raw.fileno(), 0, os.SEEK_CUR) if is_there else None
    except (OSError, RuntimeError):  # libsndfile's errors are RuntimeErrors
        return None


def rest_of(path: Path, read_to: int | None) -> Rest | None:
    """What follows the end of a file's audio and may be audio; None where nothing does, or where that cannot be told.

    Args:
        read_to: up to which byte a decoder has read, if it is known. Otherwise the container has to say it, and only
            those count at whose promise ffmpeg stops.

    Raises:
        OSError: the file cannot be read.
    """
    with path.open("rb") as opened:
        file = Untagged(opened)
        head = file.read(64)
        if head[4:8] in MP4_BOXES:
            return _second_film(file)
        there = _before_tags(file)
        magic = head[:4]
        if magic in SEARCHED and (place := _find(file, SEARCHED[magic], len(magic), there)) is not None:
            return Rest(_another(there - place), misleads=magic == FLAC)
        end = _promised_end(file, head) if read_to is None else read_to - file.begin
        if end is None or end >= there:
            return None
        pattern = _header(head)
        start = _after_chunks(file, CONTAINERS.get(magic), pattern, end, there)
        if pattern is not None and (begin := _find(file, pattern, start, there)) is not None:
            return Rest(_another(there - begin))
        size = there - start
        if size <= max(LEAST, end // SHARE) or _find(file, re.compile(rb"[^\0]"), start, there) is None:
            return None
        return Rest(f"{size} bytes, more than a tag or padding")


def _another(size: int) -> str:
    return f"another file of its format begins there ({size} bytes)"


def _second_film(file: Untagged) -> Rest | None:
    """A second header among the boxes; of fragments, which may repeat theirs, it means nothing."""
    seen: set[bytes] = set()
    for name, place, _ in boxes(file):
        if name == b"moof":
            return None
        if name in seen and name in (b"ftyp", b"moov"):
            return Rest(_another(file.size - place))
        seen.add(name)
    return None


def _promised_end(file: Untagged, head: bytes) -> int | None:
    if not head.startswith((*CONTAINERS, ASF_HEADER)) or (head[:4] == b"RIFF" and head[8:12] != b"WAVE"):
        return None
    position, promised = promise_of(file)
    return position + promised if promised else None


def _header(head: bytes) -> re.Pattern[bytes] | None:
    """How another file of the format of one that begins with `head` would begin."""
    if head.startswith(OF_A_KIND):
        return re.compile(re.escape(head[:4]) + b"(?s:....)" + re.escape(head[8:12]))
    for known in (ASF_HEADER, head[:8] if head.startswith(b"caff") else b"", b"riff", b".snd", b"dns."):
        if known and head.startswith(known):
            return re.compile(re.escape(known))
    return None


def _before_tags(file: Untagged) -> int:
    """Where the tags at a file's end begin: APE, and ID3v1 after it."""
    end = file.size
    if end >= 128 and _at(file, end - 128, 3) == b"TAG":
        end -= 128
    footer = _at(file, max(0, end - 32), 32)
    if footer.startswith(b"APETAGEX"):
        has_header = footer[23] & 128
        end -= int.from_bytes(footer[12:16], "little") + (32 if has_header else 0)
    return max(0, end)


def _after_chunks(file: Untagged, chunks: Chunks | None, header: re.Pattern[bytes] | None, end: int, there: int) -> int:
    """Where the tags and chunks that follow `end` are over, or another file begins."""
    place = end
    while place < there:
        after = file.after_tag(place)
        if after == place and chunks is not None and not (header and header.match(_at(file, place, 64))):
            begins = (place, place + -place % chunks.align)
            after = next(filter(None, (_after_chunk(file, chunks, begin, there) for begin in begins)), place)
        if after == place:
            break
        place = after
    return min(place, there)


def _after_chunk(file: Untagged, chunks: Chunks, place: int, there: int) -> int | None:
    """Where the chunk that stands at `place` ends; None where none does."""
    name_bytes = len(chunks.data)
    head = _at(file, place, name_bytes + chunks.size_bytes)
    size = int.from_bytes(head[name_bytes:], chunks.order) - chunks.counted
    after = place + len(head) + size
    is_chunk = len(head) == name_bytes + chunks.size_bytes and head[:4].isascii() and head[:4].decode().isprintable()
    return after + -size % chunks.align if is_chunk and size >= 0 and after <= there else None


def _at(file: Untagged, place: int, count: int) -> bytes:
    file.seek(place)
    return file.read(count)


def _find(file: Untagged, pattern: re.Pattern[bytes], start: int, end: int) -> int | None:
    """Where the first match of `pattern`, of at most 64 bytes, begins between `start` and `end`."""
    for place in range(start, end, BLOCK):
        found = pattern.search(_at(file, place, min(BLOCK + 64, end - place)))
        if found:
            return place + found.start()
    return None

"""What is scored: excerpts of fixed length from the places of each track where its stems sound, or whole tracks.

A stem *sounds* in a slot of 0.1 s if its RMS there (both channels) is above `silence_db` dBFS. It is
*audible* in an excerpt if it sounds in at least a quarter of its slots: SDR compares energies over the
whole excerpt, and of a stem that is there for a moment it tells more about what leaks into the rest than
about the stem.

An excerpt's place is rated by how many stems are audible, then by the level of the quietest of these (in
steps of 0.1 dB, so that rounding does not decide), then by how early it is. Several excerpts of a track
never overlap; together they have the highest rating that is possible.
"""

from __future__ import annotations

import functools
import hashlib
import logging
import math
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from schedopt.arrays import ScratchFiles
from schedopt.data._resample import SAMPLE_RATE
from schedopt.disk import DiskStore, default_folder
from schedopt.errors import DataError
from schedopt.types import STEMS, Excerpt, ExcerptLength, Track

log = logging.getLogger("schedopt")

SILENCE_DB = -60.0
"""dBFS; below it lie noise floors, bleed and the ends of reverbs."""

SLOT = SAMPLE_RATE // 10
"""Samples of a slot; excerpts start on slots, so at tenths of a second."""

SOUNDING_SHARE, SOUNDING_SLOTS = 0.25, 15
"""An audible stem sounds in this part of an excerpt's slots, or in so many of a long excerpt or a whole track."""

SILENCE_RULE = (
    f"a stem counts as silent where it is above {SILENCE_DB:g} dBFS for less than {SOUNDING_SLOTS / 10:g} s"
    " and less than a quarter of an excerpt or track"
)

SCAN_SLOTS = 600
"""Frames read at once while a track is scanned: 60 s, 85 MB."""

KEPT = 2**30
"""Bytes of excerpts of generated tracks in the cache folder, at most: 140 excerpts of 5.3 s."""

_Kept = tuple[list[tuple[float, frozenset[str], str, npt.NDArray[np.float32]]], str]

Powers = npt.NDArray[np.float64]  # (stems, slots), mean square of each slot
Ratings = npt.NDArray[np.int64]  # (places,)


def cut_excerpts(
    tracks: Sequence[Track],
    seconds: ExcerptLength,
    per_track: int = 1,
    silence_db: float = SILENCE_DB,
    *,
    stems: Sequence[str] = STEMS,
    optional: Sequence[str] = (),
    workers: int = 1,
) -> list[Excerpt]:
    """`per_track` excerpts of `seconds` from each track, in the order of the tracks and in time within each.

    Every track is read once from end to end, a minute at a time, and then once more where the excerpts lie.
    Tracks that are too short, that lack a stem, or in which no stem sounds, are left out with a note in the log; a
    track with room for fewer excerpts gives fewer.

    Args:
        seconds: "track" for whole tracks, one excerpt each; their references lie in memory-mapped temporary files.
        stems: of the excerpts, in this order; a track needs all of them.
        optional: stems that follow them in the excerpts; where a track lacks one it is silent there.
        workers: tracks that are read at the same time, in threads.

    Raises:
        DataError: if the length is not usable or no track is left.

    >>> import schedopt
    >>> (excerpt,) = schedopt.cut_excerpts(schedopt.load_tracks("demo", "search", 1), 0.5)
    >>> excerpt.references.shape, "drums" in excerpt.audible
    (torch.Size([4, 2, 22050]), True)
    """
    if seconds != "track" and not (math.isfinite(seconds) and round(seconds * SAMPLE_RATE) >= SLOT):
        raise DataError(f"an excerpt must last at least 0.1 s, got {seconds} s")
    if per_track < 1:
        raise DataError(f"the number of excerpts of a track must be at least 1, got {per_track}")
    cut = _Cut(tuple(stems), tuple(optional), seconds, per_track, silence_db)
    with ThreadPoolExecutor(workers) as pool:
        cuts = list(pool.map(cut, tracks))
    for _, note in cuts:
        if note:
            log.warning("%s; left out", note)
    _note_absent(tracks, optional)
    excerpts = [excerpt for found, _ in cuts for excerpt in found]
    if not excerpts:
        raise DataError(_nothing_left(tracks, seconds, stems))
    fewer = sum(0 < len(found) < per_track for found, _ in cuts)
    if fewer:
        log.warning(
            "%d of %d tracks give fewer than %d excerpts (%s): there are %d in all",
            fewer,
            len(tracks),
            per_track,
            "whole tracks are one each" if seconds == "track" else f"no more of {seconds:g} s fit or sound",
            len(excerpts),
        )
    return excerpts


def audible_stems(
    references: torch.Tensor, stems: Sequence[str] = STEMS, silence_db: float = SILENCE_DB
) -> frozenset[str]:
    """The stems of references (stems, channels, samples) at 44.1 kHz that are audible, by this module's rule."""
    assert len(references) == len(stems), f"{len(references)} references, but stems {stems}"
    powers = _slot_powers(references)
    sounding = (powers > 10 ** (silence_db / 10)).sum(axis=1)
    needed = _slots_needed(powers.shape[1])
    return frozenset(stem for stem, slots in zip(stems, sounding, strict=True) if slots >= needed)


@dataclass(frozen=True)
class _Cut:
    """How each track is cut; calling it gives the excerpts of one track, and if there is none, why."""

    stems: tuple[str, ...]
    optional: tuple[str, ...]
    seconds: ExcerptLength
    per_track: int
    silence_db: float

    def __call__(self, track: Track) -> tuple[list[Excerpt], str]:
        if lack := _lack(track, self.stems):
            return [], lack
        recipe = None if self.seconds == "track" else getattr(track, "recipe", None)
        if recipe is not None:
            return self._kept(track, recipe)
        try:
            return self._of_track(track) if self.seconds == "track" else self._of_places(track, self.seconds)
        finally:
            track.close()

    def _kept(self, track: Track, recipe: str) -> tuple[list[Excerpt], str]:
        """The excerpts of a generated track: rendering it takes a second, reading what was cut of it a hundredth."""
        assert self.seconds != "track"
        key = (recipe, self.stems, self.optional, self.seconds, self.per_track, self.silence_db, _code())
        disk = DiskStore(default_folder() / "excerpts", KEPT)
        kept: _Kept | None = disk.get(key)
        if kept is None:
            found, note = self._of_places(track, self.seconds)
            kept = [(one.start, one.audible, one.fingerprint, one.references.numpy()) for one in found], note
            disk.put(key, kept, sum(one.references.nbytes for one in found))
        parts, note = kept
        stems = self.stems + self.optional
        return [
            Excerpt(track.name, start, SAMPLE_RATE, stems, torch.from_numpy(references), audible, fingerprint)
            for start, audible, fingerprint, references in parts
        ], note

    def _of_places(self, track: Track, seconds: float) -> tuple[list[Excerpt], str]:
        samples, length = round(seconds * SAMPLE_RATE), round(track.seconds * SAMPLE_RATE)
        if length < samples:
            return [], f"{track.name}: {track.seconds:.3f} s long, shorter than an excerpt of {seconds:g} s"
        powers = np.concatenate(list(map(_slot_powers, self._blocks(track, length))), axis=1)
        ratings = _rate(powers, samples // SLOT, (length - samples) // SLOT + 1, self.silence_db)
        found = []
        for place in _choose(ratings, -(-samples // SLOT), self.per_track):
            start = place * SLOT / SAMPLE_RATE
            found += self._excerpt(track, start, self._read(track, start, samples / SAMPLE_RATE))
        return found, "" if found else self._silent(track)

    def _of_track(self, track: Track) -> tuple[list[Excerpt], str]:
        length = round(track.seconds * SAMPLE_RATE)
        if length < SLOT:
            return [], f"{track.name}: {track.seconds:.3f} s long, shorter than 0.1 s"
        references = ScratchFiles(Path(tempfile.gettempdir())).empty(len(self.stems + self.optional), 2, length)
        first = 0
        for piece in self._blocks(track, length):
            references[..., first : first + piece.shape[-1]] = piece
            first += piece.shape[-1]
        found = self._excerpt(track, 0.0, references)
        return found, "" if found else self._silent(track)

    def _silent(self, track: Track) -> str:
        return f"{track.name}: no stem sounds anywhere (above {self.silence_db:g} dBFS)"

    def _excerpt(self, track: Track, start: float, references: torch.Tensor) -> list[Excerpt]:
        """One excerpt, or none where no stem sounds."""
        stems = self.stems + self.optional
        audible = audible_stems(references, stems, self.silence_db)
        if not audible:
            return []
        fingerprint = _fingerprint(references, stems)
        return [Excerpt(track.name, start, SAMPLE_RATE, stems, references, audible, fingerprint)]

    def _blocks(self, track: Track, length: int) -> Iterator[torch.Tensor]:
        """The track from end to end, a minute at a time; of a scan the last slot may not be whole."""
        for first in range(0, length, SCAN_SLOTS * SLOT):
            count = min(SCAN_SLOTS * SLOT, length - first)
            yield self._read(track, first / SAMPLE_RATE, count / SAMPLE_RATE)

    def _read(self, track: Track, start: float, seconds: float) -> torch.Tensor:
        """Our stems of a piece of the track, (stems, 2, samples)."""
        piece, stems = track.read(start, seconds), self.stems + self.optional
        if stems == track.stems:
            return piece
        chosen = torch.zeros(len(stems), *piece.shape[1:])
        for number, stem in enumerate(stems):
            if stem in track.stems:
                chosen[number] = piece[track.stems.index(stem)]
        return chosen


@functools.cache
def _code() -> str:
    """Hash of this module, which decides what is cut."""
    return hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:16]


def _note_absent(tracks: Sequence[Track], optional: Sequence[str]) -> None:
    for stem in optional:
        names = [track.name for track in tracks if stem not in track.stems]
        if names:
            more = ", …" if len(names) > 3 else ""
            log.warning(
                "%s is absent from %d of %d tracks, so silent there: %s%s",
                stem,
                len(names),
                len(tracks),
                ", ".join(names[:3]),
                more,
            )


def _slot_powers(audio: torch.Tensor) -> Powers:
    """Mean square of whole slots of (stems, channels, samples): (stems, slots)."""
    stems, channels, samples = audio.shape
    slots = samples // SLOT
    powers = np.empty((stems, slots))
    for stem in range(stems):
        slotted = audio[stem, :, : slots * SLOT].numpy().reshape(channels, slots, SLOT)
        for first in range(0, slots, SCAN_SLOTS):
            # Not squared in float32, where samples above 1e19 would overflow.
            squares = np.square(slotted[:, first : first + SCAN_SLOTS], dtype=np.float64)
            powers[stem, first : first + SCAN_SLOTS] = squares.mean(axis=(0, 2))
    return powers


def _slots_needed(slots: int) -> int:
    return max(1, min(math.ceil(SOUNDING_SHARE * slots), SOUNDING_SLOTS))


def _rate(powers: Powers, width: int, places: int, silence_db: float) -> Ratings:
    """Rating of each place at which an excerpt of `width` whole slots can start; the higher the better."""
    sounding = _window_sums(powers > 10 ** (silence_db / 10), width)[:, :places]
    audible = sounding >= _slots_needed(width)  # (stems, places)
    power = np.maximum(_window_sums(powers, width)[:, :places] / width, 1e-20)
    quietest = np.where(audible, 10 * np.log10(power), np.inf).min(axis=0)  # dBFS, inf where no stem is audible
    tenths = np.where(np.isfinite(quietest), np.round(10 * quietest), 0).astype(np.int64)
    # one audible stem more counts for more than any level, also summed over the excerpts of a track
    return np.asarray(audible.sum(axis=0, dtype=np.int64) * 10**9 + tenths)


def _window_sums(values: npt.NDArray[np.generic], width: int) -> Powers:
    """Sums over `width` slots from each slot on: (stems, slots) → (stems, slots − width + 1)."""
    sums = np.cumsum(values, axis=1, dtype=np.float64)
    sums = np.pad(sums, ((0, 0), (1, 0)))
    return np.asarray(sums[:, width:] - sums[:, :-width])


def _choose(ratings: Ratings, width: int, count: int) -> list[int]:
    """Starts of `count` windows of `width` that do not overlap, with the highest sum of ratings; early ones
    where equal.

    Dynamic programming: the best of j windows from place i on is the best over i' ≥ i of one at i' and j −
    1 after it. Fewer are chosen where `count` do not fit.
    """
    places = len(ratings)
    count = min(count, (places - 1) // width + 1)
    rest = np.zeros(places + width, np.int64)  # the best of no windows, from each place on
    tables = []
    for _ in range(count):
        total = ratings + rest[width:]  # one window here and the best of one less after it
        rest = np.full(places + width, -(2**60), np.int64)  # beyond the last place none fits
        rest[:places] = np.maximum.accumulate(total[::-1])[::-1]
        tables.append(total)
    starts: list[int] = []
    first = 0
    for total in reversed(tables):
        starts.append(first + int(np.argmax(total[first:])))
        first = starts[-1] + width
    return starts


def _fingerprint(references: torch.Tensor, stems: Sequence[str]) -> str:
    """Hash of samples, stems and rate; shows whether two studies heard the same."""
    digest = hashlib.sha256(f"{SAMPLE_RATE} {' '.join(stems)} {tuple(references.shape)} ".encode())
    digest.update(np.ascontiguousarray(references.numpy(), dtype="<f4").data)
    return digest.hexdigest()[:32]


def _lack(track: Track, stems: Sequence[str]) -> str:
    """What a track lacks of `stems`, if anything."""
    missing = [stem for stem in stems if stem not in track.stems]
    return f"{track.location}: {', '.join(missing)} is missing; a track needs {', '.join(stems)}" if missing else ""


def _nothing_left(tracks: Sequence[Track], seconds: ExcerptLength, stems: Sequence[str]) -> str:
    if not tracks:
        return "there are no tracks to cut excerpts from"
    whole = [track for track in tracks if set(stems) <= set(track.stems)]
    if not whole:
        return _lack(tracks[0], stems) + (", and no other track has them all" if len(tracks) > 1 else "")
    longest = max(whole, key=lambda track: track.seconds)
    if seconds != "track" and longest.seconds < seconds:
        return (
            f"no track is as long as an excerpt of {seconds:g} s; the longest, {longest.name}, lasts "
            f"{longest.seconds:.3f} s: ask for shorter excerpts"
        )
    return f"no stem sounds in any of the {len(whole)} tracks"

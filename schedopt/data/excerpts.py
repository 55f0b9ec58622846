"""Where to listen: excerpts of fixed length from the places of each track where its stems sound.

A stem *sounds* in a slot of 0.1 s if its RMS there (both channels) is above `silence_db` dBFS. It is
*audible* in an excerpt if it sounds in at least a quarter of its slots: SDR compares energies over the
whole excerpt, and of a stem that is there for a moment it tells more about what leaks into the rest than
about the stem.

An excerpt's place is rated by how many stems are audible, then by the level of the quietest of these (in
steps of 0.1 dB, so that rounding does not decide), then by how early it is. Several excerpts of a track
never overlap; together they have the highest rating that is possible.
"""

from __future__ import annotations

import hashlib
import logging
import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt
import torch

from schedopt.data._resample import SAMPLE_RATE
from schedopt.errors import DataError
from schedopt.types import STEMS, Excerpt, Track

log = logging.getLogger("schedopt")

SILENCE_DB = -60.0
"""dBFS; below it lie noise floors, bleed and the ends of reverbs."""

SLOT = SAMPLE_RATE // 10
"""Samples of a slot; excerpts start on slots, so at tenths of a second."""

SOUNDING_SHARE = 0.25
"""Part of an excerpt's slots in which an audible stem sounds."""

SCAN_SLOTS = 600
"""Frames read at once while a track is scanned: 60 s, 85 MB."""

Powers = npt.NDArray[np.float64]  # (stems, slots), mean square of each slot
Ratings = npt.NDArray[np.int64]  # (places,)


def cut_excerpts(
    tracks: Sequence[Track], seconds: float, per_track: int = 1, silence_db: float = SILENCE_DB, *, workers: int = 1
) -> list[Excerpt]:
    """`per_track` excerpts of `seconds` from each track, in the order of the tracks and in time within each.

    Every track is read once from end to end, a minute at a time, and then once more where the excerpts lie.
    Tracks that are too short, or in which no stem sounds, are left out with a note in the log; a track with
    room for fewer excerpts gives fewer. Each of the `workers` threads reads one track after the other.

    Raises:
        DataError: if the length is not usable or no track is left.
    """
    samples = round(seconds * SAMPLE_RATE) if math.isfinite(seconds) else 0
    if samples < SLOT:
        raise DataError(f"an excerpt must last at least 0.1 s, got {seconds} s")
    if per_track < 1:
        raise DataError(f"the number of excerpts of a track must be at least 1, got {per_track}")
    with ThreadPoolExecutor(workers) as pool:
        cuts = list(pool.map(lambda track: _cut(track, samples, per_track, silence_db), tracks))
    for _, note in cuts:
        if note:
            log.warning("%s; left out", note)
    excerpts = [excerpt for found, _ in cuts for excerpt in found]
    if not excerpts:
        raise DataError(_nothing_left(tracks, seconds))
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


def _cut(track: Track, samples: int, per_track: int, silence_db: float) -> tuple[list[Excerpt], str]:
    """The excerpts of one track; if there is none, why."""
    length = round(track.seconds * SAMPLE_RATE)
    if length < samples:
        return [], f"{track.name}: {track.seconds:.3f} s long, shorter than an excerpt of {samples / SAMPLE_RATE:g} s"
    ratings = _rate(_scan(track, length), samples // SLOT, (length - samples) // SLOT + 1, silence_db)
    found = []
    for place in _choose(ratings, -(-samples // SLOT), per_track):
        start = place * SLOT / SAMPLE_RATE
        references = track.read(start, samples / SAMPLE_RATE)
        audible = audible_stems(references, STEMS, silence_db)
        if audible:
            found.append(Excerpt(track.name, start, SAMPLE_RATE, STEMS, references, audible, _fingerprint(references)))
    return found, "" if found else f"{track.name}: no stem sounds anywhere (above {silence_db:g} dBFS)"


def _scan(track: Track, length: int) -> Powers:
    """Power of each stem in each whole slot of a track, read block by block."""
    slots = length // SLOT
    blocks = [
        _slot_powers(track.read(first * SLOT / SAMPLE_RATE, min(SCAN_SLOTS, slots - first) * SLOT / SAMPLE_RATE))
        for first in range(0, slots, SCAN_SLOTS)
    ]
    return np.concatenate(blocks, axis=1)


def _slot_powers(audio: torch.Tensor) -> Powers:
    """Mean square of whole slots of (stems, channels, samples): (stems, slots)."""
    stems, channels, samples = audio.shape
    slots = samples // SLOT
    powers = np.empty((stems, slots))
    for stem in range(stems):
        slotted = audio[stem, :, : slots * SLOT].numpy().reshape(channels, slots, SLOT)
        # Not squared in float32, where samples above 1e19 would overflow.
        powers[stem] = np.square(slotted, dtype=np.float64).mean(axis=(0, 2))
    return powers


def _slots_needed(slots: int) -> int:
    return max(1, math.ceil(SOUNDING_SHARE * slots))


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


def _fingerprint(references: torch.Tensor) -> str:
    """Hash of samples, stems and rate; shows whether two studies heard the same."""
    digest = hashlib.sha256(f"{SAMPLE_RATE} {' '.join(STEMS)} {tuple(references.shape)} ".encode())
    digest.update(np.ascontiguousarray(references.numpy(), dtype="<f4").data)
    return digest.hexdigest()[:32]


def _nothing_left(tracks: Sequence[Track], seconds: float) -> str:
    longest = max(tracks, key=lambda track: track.seconds, default=None)
    if longest is None:
        return "there are no tracks to cut excerpts from"
    if longest.seconds < seconds:
        return (
            f"no track is as long as an excerpt of {seconds:g} s; the longest, {longest.name}, lasts "
            f"{longest.seconds:.3f} s: ask for shorter excerpts"
        )
    return f"no stem sounds in any of the {len(tracks)} tracks"

"""How good is a separation of which no true stem is known? Self-remix, and what it says of the true SI-SDR.

A song's estimates are moved in time against one another by seeded amounts, added up to a new mixture, and separated
again as the song was. How close the second estimates come to the first ones is the *self-remix score*, an SI-SDR in dB.
Songs that a model separates well have higher ones. It is no SI-SDR of the song: the second mixture consists of what
the model has made itself. So the true SI-SDR is estimated from it by a line that was fitted, for one model and
schedule, on songs whose stems are known (`calibration.json`, made by `python -m benchmarks.quality`). Without one there
is no interval.

Costs as many passes as the separation itself: 1 and N more for each stem with a schedule of N steps, times the shifts.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Any

import numpy as np
from torch import Tensor

from schedopt.arrays import Arrays, Memory, blocks
from schedopt.errors import DataError
from schedopt.files.schedule_file import Entry
from schedopt.metrics import si_sdr
from schedopt.separators import Plugin, Separator, as_separator
from schedopt.songs.refining import Position, SongPasses, separate, stems_to_estimate

CALIBRATION = resources.files("schedopt.songs") / "calibration.json"

COVERAGE = 0.8
"""Share of songs, like those of the calibration, whose true SI-SDR lies within the interval."""


@dataclass(frozen=True)
class Quality:
    """What is known of the quality of one stem's estimate.

    Attributes:
        self_remix: score in dB; None where the estimate is silent.
        si_sdr: the true SI-SDR as estimated from it, dB; None without a calibration.
        interval: with `COVERAGE`, dB; None without a calibration.
        note: why there is no interval, or which songs it holds for.
    """

    self_remix: float | None
    si_sdr: float | None = None
    interval: tuple[float, float] | None = None
    note: str = ""

    def document(self) -> dict[str, Any]:
        """For `--json`."""
        interval = None if self.interval is None else [round(end, 3) for end in self.interval]
        return {
            "self_remix": None if self.self_remix is None else round(self.self_remix, 3),
            "si_sdr": None if self.si_sdr is None else round(self.si_sdr, 3),
            "interval": interval,
            "note": self.note,
        }


@dataclass(frozen=True)
class Line:
    """A calibration: true SI-SDR = intercept + slope · score ± half_width, for scores from `low` to `high`; dB."""

    intercept: float
    slope: float
    half_width: float
    low: float
    high: float
    tracks: int

    def quality(self, score: float, songs: str) -> Quality:
        """What `score` says."""
        if not self.low <= score <= self.high:
            where = f"{self.low:.1f} to {self.high:.1f} dB"
            return Quality(score, note=f"no interval: outside the calibrated scores, {where}")
        value = self.intercept + self.slope * score
        return Quality(score, value, (value - self.half_width, value + self.half_width), f"calibrated on {songs}")


def quality(
    separator: Separator | Plugin,
    mixture: Tensor,
    estimates: Mapping[str, Tensor] | None = None,
    entries: Mapping[str, Entry] | None = None,
    *,
    arrays: Arrays | None = None,
    shifts: int = 0,
    seed: int = 0,
    on_position: Callable[[Position], None] = lambda _: None,
) -> dict[str, Quality]:
    """Stem → what is known of the quality of its estimate.

    Args:
        mixture: (channels, samples) at the separator's rate, on the CPU.
        estimates: of all stems, each as the mixture; they are made here (at their cost) where None.
        entries: the schedules by stem that the estimates were made with.
        arrays: where arrays as long as the song live; by default in memory.
        shifts: that of `SongPasses`.
        seed: of the amounts by which the estimates are moved.

    Raises:
        DataError: an estimate is missing or has another shape.

    >>> import schedopt
    >>> separator = schedopt.load_separator("demo", device="cpu")
    >>> song = schedopt.mix(schedopt.load_tracks("demo", "held-out", 1)[0].read(0.0, 1.0))
    >>> sorted(schedopt.quality(separator, song))
    ['bass', 'drums', 'other', 'vocals']
    """
    separator, entries, arrays = as_separator(separator), entries or {}, arrays or Memory()
    if estimates is None:
        estimates = dict(_separated(separator, mixture, entries, arrays, shifts, on_position))
    for stem in separator.stems:
        if stem not in estimates or estimates[stem].shape != mixture.shape:
            raise DataError(f"quality: the estimate of {stem} is missing, or not as long as the song")
    moves = _moves(separator.stems, mixture.shape[-1], seed)
    remix = _remixed(separator, mixture, estimates, moves, arrays)
    found: dict[str, Quality] = {}
    for stem, again in _separated(separator, remix, entries, arrays, shifts, on_position):
        first = arrays.empty(*mixture.shape).zero_()
        _add_moved(first, estimates[stem], moves[stem])
        found[stem] = _judged(separator, stem, _score(first, again), entries, shifts)
    return found


def _separated(
    separator: Separator,
    mixture: Tensor,
    entries: Mapping[str, Entry],
    arrays: Arrays,
    shifts: int,
    on_position: Callable[[Position], None],
) -> Any:
    needed = stems_to_estimate(separator, entries, separator.stems)
    passes = SongPasses(separator, mixture, needed, arrays, shifts, on_position)
    return separate(passes, entries, separator.stems)


def _moves(stems: tuple[str, ...], samples: int, seed: int) -> dict[str, int]:
    """Samples by which each estimate is moved to the right, around the song's end; anything up to its length."""
    rng = np.random.default_rng([seed, len(stems)])
    return {stem: int(rng.integers(samples)) for stem in stems}


def _remixed(
    separator: Separator, mixture: Tensor, estimates: Mapping[str, Tensor], moves: Mapping[str, int], arrays: Arrays
) -> Tensor:
    """The sum of the moved estimates, (channels, samples), with the mixture's mean once: every estimate holds it."""
    total = arrays.empty(*mixture.shape).zero_()
    for stem in separator.stems:
        _add_moved(total, estimates[stem], moves[stem])
    surplus = (len(separator.stems) - 1) * separator.mean_of(mixture)
    for block in blocks(total.shape[-1]):
        total[:, block] -= surplus
    return total


def _add_moved(total: Tensor, audio: Tensor, move: int) -> None:
    """Add (channels, samples), moved around its end by `move` samples, to `total` in place."""
    samples = audio.shape[-1]
    for first, last, offset in ((0, samples - move, move), (samples - move, samples, move - samples)):
        for block in blocks(last - first):
            begin, end = first + block.start, first + block.stop
            total[:, begin + offset : end + offset] += audio[:, begin:end]


def _score(first: Tensor, again: Tensor) -> float | None:
    """SI-SDR in dB of the second estimate against the first; None where this is silent or not finite."""
    try:
        return float(si_sdr(first, again))
    except DataError:
        return None


def _judged(separator: Separator, stem: str, score: float | None, entries: Mapping[str, Entry], shifts: int) -> Quality:
    if score is None:
        return Quality(None, note="the estimate is silent")
    songs, line = calibration(separator.fingerprint, entries, stem) if shifts == 0 else ("", None)
    if line is None:
        return Quality(score, note="not calibrated for this model and schedule: it compares songs, and is no SI-SDR")
    return line.quality(score, songs)


def how(entries: Mapping[str, Entry]) -> str:
    """Stands for the schedules that a calibration belongs to: 16 hex digits, the same for what refines alike."""
    settings = {
        stem: [entry.betas, entry.refinement(stem).model_dump(mode="json", exclude_defaults=True)]
        for stem, entry in sorted(entries.items())
    }
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]


def calibration(fingerprint: str, entries: Mapping[str, Entry], stem: str) -> tuple[str, Line | None]:
    """The songs and the line of a separator (its `fingerprint`), schedules and stem; None where there is no line."""
    for one in _calibrations():
        if (one["fingerprint"], one["how"]) == (fingerprint, how(entries)) and stem in one["stems"]:
            return one["songs"], Line(**one["stems"][stem])
    return "", None


@functools.cache
def _calibrations() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(CALIBRATION.read_text(encoding="utf-8"))["calibrations"]
    return found

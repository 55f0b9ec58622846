"""The trajectory of a whole song, step after step, piece after piece.

`schedopt.trajectory.refine` holds an excerpt in memory; here the same steps are taken over waves on a shelf. A song is
one scene, as an excerpt is in a study: every step's input is normalised (and guarded) as a whole, and the separator
cuts it into its own overlapping segments. So there are no seams but Demucs' own, and the estimates are those that
`refine` gives for the whole song. Memory holds a segment; the shelf holds the song once for the mixture, for each stem,
and for the last two steps of the target at work.

Every wave is made from its beginning to its end, and each piece depends only on waves that are complete. So what an
interrupted run left on a shelf is continued, and the result is the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from schedopt.files.schedule_file import Entry
from schedopt.memory import return_freed_memory
from schedopt.rules import rule
from schedopt.schedules import Schedule
from schedopt.separators import Level, LevelMeter, Separator, Wave
from schedopt.songs.waves import KeptWave, Share, Shelf, Sum, pieces
from schedopt.trajectory import (
    MAX_SHIFT_SECONDS,
    Parts,
    Refinement,
    Scene,
    State,
    next_input,
    noise_generator,
    split,
    stems_needed,
)

TRIM_EVERY = 32
"""Pieces after which freed memory is given back: kept memory falls to bits, which took 0.8 MiB a segment."""

TRICK_SEED = 0
"""Of the shift trick's delays, which demucs draws anew in every run."""


@dataclass(frozen=True)
class Place:
    """How far a song is: `target` is None in the plain pass, `samples` of the mixture are done in step `step`."""

    target: str | None
    step: int
    samples: int


class SegmentNews(NamedTuple):
    """A segment goes into a network, or comes out: of which step (see `Place`), and where in it."""

    target: str | None
    step: int
    model: int
    shift: int
    offset: int
    state: Literal["start", "end"]


@dataclass(frozen=True)
class Desk:
    """What a song is separated with, and where its waves lie.

    Attributes:
        mixture: the whole song at the separator's rate, on the CPU.
        shelf: for the waves of the steps. One that an interrupted run of the same song left is continued.
        shifts: every pass is the mean over so many seeded shifts (Demucs' shift trick); 0: one pass, unshifted.
        on_piece: called when a piece of a step is kept.
        on_segment: called before and after every segment.
    """

    separator: Separator
    mixture: Wave
    shelf: Shelf
    shifts: int = 0
    on_piece: Callable[[Place], None] = lambda _: None
    on_segment: Callable[[SegmentNews], None] = lambda _: None

    def estimates(
        self, wave: Wave, level: Level, place: Place, stems: Sequence[str], shift: int = 0
    ) -> Iterator[Tensor]:
        """One pass over `wave` from `place.samples` on: pieces (stems, channels, samples)."""

        def notify(model: int, trick: int, offset: int, state: Literal["start", "end"]) -> None:
            self.on_segment(SegmentNews(place.target, place.step, model, trick, offset, state))

        return self.separator.stream(
            wave, level, shifts=self.delays(shift), stems=stems, start=place.samples, notify=notify
        )

    def delays(self, shift: int = 0) -> list[int]:
        """Delays over which a pass is averaged, on top of the step's own `shift`; samples."""
        rng = np.random.default_rng(TRICK_SEED)
        longest = int(MAX_SHIFT_SECONDS * self.separator.sample_rate)
        trick = rng.integers(0, longest + 1, self.shifts).tolist() if self.shifts else [0]
        return [shift + delay for delay in trick]


def separate(desk: Desk, entries: Mapping[str, Entry], stems: Sequence[str]) -> dict[str, Wave]:
    """Estimates of `stems`: refined where `entries` has a schedule for the stem, else those of the plain pass.

    Costs, in passes over the song: 1 for the plain pass of all stems, and N for each stem with a schedule of N steps
    (each times `desk.shifts`, where there are any).
    """
    refinements = {stem: entries[stem].refinement(stem) for stem in stems if stem in entries}
    needed = set(stems)
    for refinement in refinements.values():
        needed |= set(stems_needed(desk.separator.stems, refinement))
    plain = _plain(desk, [stem for stem in desk.separator.stems if stem in needed])
    return {
        stem: _Target(desk, refinements[stem], entries[stem].betas, plain).refined()
        if stem in refinements
        else plain[stem]
        for stem in stems
    }


def passes(entries: Mapping[str, Entry], stems: Sequence[str]) -> int:
    """Passes over the song that `separate` makes at most, without the shift trick."""
    return 1 + sum(len(entries[stem].betas) for stem in stems if stem in entries)


def waves_at_most(entries: Mapping[str, Entry], stems: Sequence[str], of_model: Sequence[str]) -> int:
    """Waves as long as the song that `separate` has on the shelf at once, at most, beside the mixture."""
    targets = [stem for stem in stems if stem in entries]
    # Estimates, others and total of two steps, and their inputs.
    return len(of_model) + len(targets) + (7 if targets else 0)


def _plain(desk: Desk, stems: Sequence[str]) -> Mapping[str, Wave]:
    """Step 0: the plain pass's estimates of `stems`."""
    waves = {stem: desk.shelf.wave(f"{desk.separator.stems.index(stem)}-plain") for stem in stems}

    def estimates(start: int) -> Iterator[Sequence[Tensor]]:
        level = _level(desk.mixture)
        for estimate in desk.estimates(desk.mixture, level, Place(None, 0, start), stems):
            yield list(estimate)

    _fill(desk, list(waves.values()), estimates, lambda samples: Place(None, 0, samples))
    return waves


@dataclass(frozen=True)
class _Step:
    """Waves of `schedopt.trajectory.State` after one step."""

    target: Wave
    others: Wave | None = None
    total: Wave | None = None

    def pieces(self, start: int) -> Iterator[Parts]:
        """Piece by piece what a pass gave; only of step 0, whose total is what it hands out."""
        for target in pieces(self.target, start):
            others, handed = (
                None if wave is None else wave.read(start, target.shape[-1]) for wave in (self.others, self.total)
            )
            yield Parts(target, others, target if handed is None else handed)
            start += target.shape[-1]


@dataclass(frozen=True)
class _WithResidual:
    """A target's plain estimate with its share of what the estimates of all stems leave of the mixture."""

    target: Wave
    share: float
    mixture: Wave
    estimates: Sum

    @property
    def samples(self) -> int:
        return self.target.samples

    def read(self, first: int, count: int) -> Tensor:
        left = self.mixture.read(first, count) - self.estimates.read(first, count)
        return self.target.read(first, count) + self.share * left


class _Target:
    """One target's way through its schedule."""

    def __init__(self, desk: Desk, refinement: Refinement, betas: Schedule, plain: Mapping[str, Wave]) -> None:
        self.desk = desk
        self.refinement = refinement
        self.betas = betas
        self.how = rule(refinement.rule)
        stem = refinement.target
        rest = [wave for other, wave in plain.items() if other != stem]
        handed = plain[stem]
        if refinement.residual > 0:
            handed = _WithResidual(plain[stem], refinement.residual, desk.mixture, Sum(list(plain.values())))
        has_total = refinement.output == "mean" or refinement.residual > 0
        self.first = _Step(plain[stem], Sum(rest) if self.how.needs_others else None, handed if has_total else None)

    def refined(self) -> Wave:
        """The estimate that is handed out after the last step."""
        steps, handed = len(self.betas), self._parts()[-1] if self.first.total is not None else "target"
        if not self._is_complete(steps, [handed]):
            done = next((n for n in range(steps, 0, -1) if self._is_complete(n, self._parts())), 0)
            for n in range(done + 1, steps + 1):
                self._take(n)
                self._forget(n - 1)
                if not self.how.takes_noise:
                    self.desk.shelf.drop(self._name(n, "input"))
        for n in range(1, steps + 1):
            self._forget(n, but=handed if n == steps else "")
        wave = self.desk.shelf.wave(self._name(steps, handed))
        return wave if self.first.total is None else Share(wave, steps + 1 if self._is_mean else 1)

    @property
    def _is_mean(self) -> bool:
        return self.refinement.output == "mean"

    def _take(self, n: int) -> None:
        """Make the waves of step n from those of step n−1."""
        stem = self.refinement.target
        wave, level, is_mixture = self._make_input(n)
        before = self._step(n - 1)
        shift = self.refinement.shift_of(n, self.desk.separator.sample_rate)
        wanted = stems_needed(self.desk.separator.stems, self.refinement)

        def estimates(start: int) -> Iterator[Sequence[Tensor]]:
            # The unshifted mixture again has the estimates of step 0 again, as in `trajectory.advance`.
            for parts in self.first.pieces(start) if is_mixture and not shift else separated(start):
                made = [parts.target] if parts.others is None else [parts.target, parts.others]
                if before.total is not None:
                    earlier = before.total.read(start, parts.target.shape[-1]) if self._is_mean else None
                    made.append(parts.handed if earlier is None else earlier + parts.handed)
                yield made
                start += parts.target.shape[-1]

        def separated(start: int) -> Iterator[Parts]:
            for estimate in self.desk.estimates(wave, level, Place(stem, n, start), wanted, shift):
                y = wave.read(start, estimate.shape[-1])
                yield split(estimate, wanted, self.refinement, y)
                start += estimate.shape[-1]

        _fill(self.desk, self._waves(n), estimates, lambda samples: Place(stem, n, samples))

    def _make_input(self, n: int) -> tuple[Wave, Level, bool]:
        """y_n as a wave, its level, and whether it is the mixture itself."""
        wave = self.desk.shelf.wave(self._name(n, "input"))
        wave.truncate(0)
        meter, is_mixture = LevelMeter(), True
        peak = 1.0
        if self.refinement.peak_guard:
            peak = max(1.0, *(float(y.abs().max()) for _, y in self._inputs(n)))
        for mixture, y in self._inputs(n):
            y = y / peak if self.refinement.peak_guard else y
            wave.append(y)
            meter.add(y)
            is_mixture = is_mixture and torch.equal(y, mixture)
        return wave, meter.level, is_mixture

    def _inputs(self, n: int) -> Iterator[tuple[Tensor, Tensor]]:
        """The mixture and y_n before the peak guard, piece by piece."""
        step, mixture = self._step(n - 1), self.desk.mixture
        noise = _noise(self.refinement, n, mixture.samples)
        last_input = mixture
        if self.how.takes_noise and n > 1:
            last_input = self.desk.shelf.wave(self._name(n - 1, "input"))
        first = 0
        for piece in pieces(mixture):
            count = piece.shape[-1]
            state = State(
                step=n - 1,
                target=step.target.read(first, count),
                others=None if step.others is None else step.others.read(first, count),
                last_input=last_input.read(first, count) if self.how.takes_noise else None,
            )
            drawn = None if noise is None else noise(len(piece), count)
            yield piece, next_input(self.refinement, Scene(piece), state, self.betas[:n], drawn)
            first += count

    def _parts(self) -> list[str]:
        """Names of a step's waves."""
        return [
            "target",
            *(["others"] if self.how.needs_others else []),
            *(["total"] if self.first.total is not None else []),
        ]

    def _waves(self, n: int) -> list[KeptWave]:
        return [self.desk.shelf.wave(self._name(n, part)) for part in self._parts()]

    def _step(self, n: int) -> _Step:
        """The waves after step n, which are complete."""
        if n == 0:
            return self.first
        return _Step(**dict(zip(self._parts(), self._waves(n), strict=True)))

    def _is_complete(self, n: int, parts: Sequence[str]) -> bool:
        return all(self.desk.shelf.samples(self._name(n, part)) == self.desk.mixture.samples for part in parts)

    def _name(self, n: int, part: str) -> str:
        """Of a wave on the shelf; by the stem's number, since stems of foreign models may be called anything."""
        return f"{self.desk.separator.stems.index(self.refinement.target)}-{n}-{part}"

    def _forget(self, n: int, but: str = "") -> None:
        for part in (*self._parts(), "input"):
            if part != but:
                self.desk.shelf.drop(self._name(n, part))


def _fill(
    desk: Desk,
    waves: Sequence[KeptWave],
    estimates: Callable[[int], Iterator[Sequence[Tensor]]],
    place: Callable[[int], Place],
) -> None:
    """Make `waves` as long as the mixture, from `estimates(start)`: pieces of all of them from sample `start` on."""
    done = min(wave.samples for wave in waves)
    for wave in waves:
        wave.truncate(done)
    if done == desk.mixture.samples:
        return
    for number, parts in enumerate(estimates(done)):
        if number % TRIM_EVERY == TRIM_EVERY - 1:
            return_freed_memory()
        for wave, part in zip(waves, parts, strict=True):
            wave.append(part)
            wave.secure()
        done += parts[0].shape[-1]
        desk.on_piece(place(done))


def _level(wave: Wave) -> Level:
    meter = LevelMeter()
    for piece in pieces(wave):
        meter.add(piece)
    return meter.level


def _noise(refinement: Refinement, step: int, samples: int) -> Callable[[int, int], Tensor] | None:
    """Gives a scene's noise of one step piece by piece: (channels, count) → the next piece; None without noise."""
    generators: list[np.random.Generator] = []

    def draw(channels: int, count: int) -> Tensor:
        for channel in range(len(generators), channels):
            generator = noise_generator(refinement, step)
            assert generator is not None
            _skip(generator, channel * samples)
            generators.append(generator)
        return torch.from_numpy(np.stack([g.standard_normal(count, dtype=np.float32) for g in generators]))

    return None if noise_generator(refinement, step) is None else draw


def _skip(generator: np.random.Generator, count: int) -> None:
    """Draw `count` normals and forget them: a scene's noise is drawn one channel after the other."""
    for first in range(0, count, 2**20):
        generator.standard_normal(min(2**20, count - first), dtype=np.float32)

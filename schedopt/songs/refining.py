"""The trajectories of a whole song, for each of its stems; arrays as long as the song live where `arrays` says.

It is the engine that scores excerpts in a study: every pass's input is normalised (and guarded) as a whole, and the
separator cuts it into its own overlapping segments. So there are no seams but the separator's own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from schedopt.arrays import Arrays, Memory, blocks
from schedopt.files.schedule_file import Entry
from schedopt.memory import return_freed_memory
from schedopt.outputs import OUTPUTS
from schedopt.refinement import MAX_SHIFT_SECONDS
from schedopt.separators import Separator
from schedopt.trajectory import Scene, trajectories

TRIM_EVERY = 32
"""Segments after which freed memory is given back: kept memory becomes fragmented, which took 0.8 MiB a segment."""

TRICK_SEED = 0
"""Of the shift trick's delays, which demucs draws anew in every run."""


class Position(NamedTuple):
    """How far a song is: `target` is None in the plain pass, `samples` of the mixture are done in step `step`."""

    target: str | None
    step: int
    samples: int


class SegmentNews(NamedTuple):
    """A segment goes into a network, or comes out: of which step (see `Position`), and where in it."""

    target: str | None
    step: int
    model: int
    shift: int
    offset: int
    state: Literal["start", "end"]


@dataclass
class SongPasses:
    """Passes over one song, for `schedopt.trajectory`; those over the mixture itself are run once.

    Attributes:
        mixture: the whole song at the separator's rate, (channels, samples), on the CPU.
        needed: stems that the plain pass estimates.
        shifts: every pass is the mean over so many seeded shifts (Demucs' shift trick); 0: one pass, unshifted.
        on_position: called when a segment of a step is done.
        on_segment: called before and after every segment.
        target: of the passes to come; None for the plain pass.
    """

    separator: Separator
    mixture: Tensor
    needed: tuple[str, ...]
    arrays: Arrays = field(default_factory=Memory)
    shifts: int = 0
    on_position: Callable[[Position], None] = lambda _: None
    on_segment: Callable[[SegmentNews], None] = lambda _: None
    target: str | None = None
    _plain: Tensor | None = None
    _segments: int = 0

    @property
    def stems(self) -> tuple[str, ...]:
        return self.separator.stems

    @property
    def sample_rate(self) -> int:
        return self.separator.sample_rate

    def mean_of(self, audio: Tensor) -> Tensor:
        return self.separator.mean_of(audio)

    def run(self, inputs: Sequence[Tensor], shift: int, stems: tuple[str, ...], step: int) -> list[Tensor]:
        """See `schedopt.trajectory.RunsPasses`; of one input."""
        (y,) = inputs
        if shift == 0 and set(stems) <= set(self.needed) and self._is_mixture(y):
            return [_view(self.plain(), self.needed, stems)]
        return [self._separate(y, self.target, step, shift, stems)]

    def plain(self) -> Tensor:
        """The plain pass's estimates of the stems `needed`: (stems, channels, samples)."""
        if self._plain is None:
            self._plain = self._separate(self.mixture, None, 0, 0, self.needed)
        return self._plain

    def _is_mixture(self, y: Tensor) -> bool:
        return y is self.mixture or all(
            torch.equal(y[:, block], self.mixture[:, block]) for block in blocks(y.shape[-1])
        )

    def _separate(self, y: Tensor, target: str | None, step: int, shift: int, stems: tuple[str, ...]) -> Tensor:
        samples = y.shape[-1]
        delays = self._delays(shift)
        runs = len(self.separator.members) * len(delays)

        def notify(model: int, trick: int, offset: int, state: Literal["start", "end"]) -> None:
            self.on_segment(SegmentNews(target, step, model, trick, offset, state))
            if state == "end":
                self._segments += 1
                if self._segments % TRIM_EVERY == 0:
                    return_freed_memory()
                stride = self.separator.members[model].cut.stride or samples
                done = (model * len(delays) + trick) * samples + min(samples, offset + stride)
                self.on_position(Position(target, step, done // runs))

        made = self.separator.separate(y[None], shifts=delays, stems=stems, arrays=self.arrays, notify=notify)
        self.on_position(Position(target, step, samples))
        return made[0]

    def _delays(self, shift: int) -> list[int]:
        """Delays over which a pass is averaged, on top of the step's own `shift`; samples."""
        rng = np.random.default_rng(TRICK_SEED)
        longest = int(MAX_SHIFT_SECONDS * self.sample_rate)
        trick = rng.integers(0, longest + 1, self.shifts).tolist() if self.shifts else [0]
        return [shift + delay for delay in trick]


def separate(passes: SongPasses, entries: Mapping[str, Entry], stems: Sequence[str]) -> Iterator[tuple[str, Tensor]]:
    """Each of `stems` with its estimate, (channels, samples): refined where `entries` has a schedule for it.

    Costs, in passes over the song: 1 for the plain pass of all stems, and N for each stem with a schedule of N steps
    (each times `passes.shifts`, where there are any).
    """
    scene = Scene(passes.mixture)
    for stem in stems:
        if stem not in entries:
            yield stem, _view(passes.plain(), passes.needed, (stem,))[0]
            continue
        passes.plain()
        passes.target = stem
        yield stem, _refined(passes, scene, entries[stem], stem)


def stems_to_estimate(separator: Separator, entries: Mapping[str, Entry], stems: Sequence[str]) -> tuple[str, ...]:
    """The stems that the plain pass must estimate, in the separator's order, so that `separate` can make `stems`."""
    needed = set(stems)
    for stem in stems:
        if stem in entries:
            needed |= set(entries[stem].refinement(stem).stems_needed(separator.stems))
    return tuple(stem for stem in separator.stems if stem in needed)


def count_passes(entries: Mapping[str, Entry], stems: Sequence[str]) -> int:
    """Passes over the song that `separate` makes at most, without the shift trick."""
    return 1 + sum(len(entries[stem].betas) for stem in stems if stem in entries)


def arrays_at_most(separator: Separator, entries: Mapping[str, Entry], stems: Sequence[str]) -> int:
    """Arrays (channels, samples) that `separate` holds at once, at most, the mixture and the results included."""
    plain = len(stems_to_estimate(separator, entries, stems))
    taken = [0]
    for how in (entries[stem].refinement(stem) for stem in stems if stem in entries):
        estimated = len(how.stems_needed(separator.stems))
        # The estimates of two steps, their inputs, the output's sum and the noise.
        taken.append(2 * estimated + 3 + OUTPUTS.find(how.output).arrays(estimated))
    return 1 + plain + len(stems) + max(taken)


def _refined(passes: SongPasses, scene: Scene, entry: Entry, stem: str) -> Tensor:
    """The output after the last step: (channels, samples)."""
    # One state at a time: each holds arrays as long as the song.
    for (state,) in trajectories(passes, [scene], entry.betas, entry.refinement(stem), passes.arrays):
        last = state
    out = passes.arrays.empty(*scene.mixture.shape)
    for block in blocks(out.shape[-1]):
        out[:, block] = last.output(block)
    return out


def _view(estimates: Tensor, held: tuple[str, ...], stems: tuple[str, ...]) -> Tensor:
    """The estimates of `stems`, of those (held, channels, samples); without a copy of one stem or of all."""
    if held == stems:
        return estimates
    if len(stems) == 1:
        index = held.index(stems[0])
        return estimates[index : index + 1]
    return estimates[[held.index(stem) for stem in stems]]

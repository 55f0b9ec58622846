"""A schedule file ready to refine songs: the file, and the separator that its schedules were searched with."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from schedopt.data import read_song
from schedopt.errors import DataError, reason
from schedopt.files.presets import open_schedule
from schedopt.files.schedule_file import ScheduleFile, check_separator
from schedopt.separators import Separator, load_separator
from schedopt.songs.quality import Quality, quality
from schedopt.songs.refining import SongPasses, separate, stems_to_estimate


def load_separator_of(
    file: ScheduleFile | None,
    model: str,
    *,
    device: str = "auto",
    overlap: float | None = None,
    segment: float | None = None,
    trust_pickle: bool = False,
) -> Separator:
    """The model in the settings asked for, else in those of `file`'s search, else in demucs'; always in float32."""
    searched = None if file is None else file.model
    if searched is not None:
        overlap = searched.overlap if overlap is None else overlap
        segment = searched.segment if segment is None and searched.segment != "model" else segment
    return load_separator(
        model,
        device=device,
        precision="float32",
        overlap=0.25 if overlap is None else overlap,
        segment=segment,
        stems={} if searched is None else searched.stems,
        trust_pickle=trust_pickle,
    )


@dataclass(frozen=True)
class SongSchedule:
    """The schedules of a file, for whole songs in memory. Made by `load_schedule`.

    Attributes:
        file: the schedule file.
        model: the separator's name; that of the search unless another was asked for.
    """

    file: ScheduleFile
    model: str
    device: str = "auto"
    trust_pickle: bool = False

    @functools.cached_property
    def separator(self) -> Separator:
        """The separator, loaded when it is first used.

        Raises:
            SeparatorError: it cannot be loaded.
            ScheduleError: the schedules were searched with other weights.
        """
        found = load_separator_of(self.file, self.model, device=self.device, trust_pickle=self.trust_pickle)
        check_separator(self.file, found, "the schedule", "model=")
        return found

    @property
    def betas(self) -> dict[str, tuple[float, ...]]:
        """Target → β_1 … β_N; the target `all` serves every stem without a schedule of its own."""
        return {target: entry.betas for target, entry in self.file.schedules.items()}

    def refine(
        self, audio: Tensor | NDArray[np.float32] | Path | str, *, stems: Sequence[str] | None = None, shifts: int = 0
    ) -> dict[str, Tensor]:
        """Stem → estimate, (channels, samples) on the CPU. Costs 1 pass, and N more for each stem with a schedule.

        Args:
            audio: a song as (channels, samples) at `separator.sample_rate`, or a file of any format and rate.
            stems: those that are wanted; all of the model's where None.
            shifts: average every pass over so many seeded shifts; 0 for none.

        Raises:
            DataError: the audio cannot be read, has another shape, holds NaN, infinite or complex samples, or the model
                lacks one of `stems`.
        """
        separator, song = self.separator, self._song(audio)
        wanted = separator.stems if stems is None else tuple(stems)
        unknown = [stem for stem in wanted if stem not in separator.stems]
        if unknown:
            raise DataError(f"{separator.name} has no stem {unknown[0]!r}, only {', '.join(separator.stems)}")
        entries = self.file.entries(separator.stems)
        passes = SongPasses(separator, song, stems_to_estimate(separator, entries, wanted), shifts=shifts)
        return dict(separate(passes, entries, wanted))

    def quality(
        self, audio: Tensor | NDArray[np.float32] | Path | str, estimates: Mapping[str, Tensor] | None = None
    ) -> dict[str, Quality]:
        """Stem → what is known of the quality of its estimate without its true stem; see `schedopt.quality`.

        Costs as many passes as `refine` of all stems; twice as many where the `estimates` of `refine` are not given.

        Raises:
            DataError: the audio cannot be read, has another shape, holds NaN, infinite or complex samples, or an
                estimate is missing.
        """
        entries = self.file.entries(self.separator.stems)
        return quality(self.separator, self._song(audio), estimates, entries)

    def _song(self, audio: Tensor | NDArray[np.float32] | Path | str) -> Tensor:
        """The song as (channels, samples)."""
        separator = self.separator
        if isinstance(audio, (str, Path)):
            return read_song(audio, separator.sample_rate, separator.channels)
        try:
            song = torch.as_tensor(audio, device="cpu")
        except (TypeError, ValueError, RuntimeError) as error:
            raise DataError(f"a song cannot be made of {type(audio).__name__}: {reason(error)}") from None
        if song.is_complex():
            raise DataError("the song holds complex samples; give real ones, such as those of its real part")
        song = song.to(torch.float32)
        if song.ndim != 2 or len(song) != separator.channels or not song.numel():
            raise DataError(f"a song has the shape ({separator.channels}, samples), not {tuple(song.shape)}")
        finite = song.isfinite().all(dim=0)
        if not finite.all():
            where = int(finite.int().argmin()) / separator.sample_rate
            raise DataError(f"the song holds NaN or infinite samples, the first at {where:.6f} s")
        return song


def load_schedule(
    name: Path | str,
    *,
    point: str | None = None,
    model: str | None = None,
    device: str = "auto",
    trust_pickle: bool = False,
) -> SongSchedule:
    """A schedule file, or a preset by its name, ready to refine songs.

    Args:
        point: of a file with points (a bleed dial), which one: clean, balanced (also without it) or full.
        model: in place of the one that the file names; it must have the same weights.
        device: auto, cpu, cuda, cuda:N or mps.
        trust_pickle: load `.th` weights, whose loading runs code that is in them.

    Raises:
        ScheduleError: there is no such file, preset or point, or it cannot be followed.

    >>> import schedopt
    >>> schedule = schedopt.load_schedule("demo", device="cpu")
    >>> song = schedopt.mix(schedopt.load_tracks("demo", "held-out", 1)[0].read(0.0, 1.0))
    >>> schedule.refine(song, stems=["bass"])["bass"].shape
    torch.Size([2, 44100])
    """
    file = open_schedule(name, point)
    return SongSchedule(file, model or file.model.model, device, trust_pickle)

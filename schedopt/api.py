"""`demucs.api` with schedules: a program that separates with Demucs changes its import, and nothing else.

    from schedopt.api import Separator, save_audio          # was: from demucs.api import …

    separator = Separator(model="htdemucs", schedule="my.schedule.json")
    origin, stems = separator.separate_audio_file("song.mp3")

Without a schedule the class is demucs' own. Whole songs are held in memory, as demucs does; `schedopt separate` is for
long ones.
"""

from __future__ import annotations

import functools
import math
import numbers
import operator
from collections.abc import Callable, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import demucs.api
import torch
import tqdm
from demucs.api import LoadAudioError, LoadModelError, NotProvided, list_models
from demucs.audio import convert_audio, save_audio
from torch import Tensor

from schedopt.data import read_song
from schedopt.errors import DataError, ScheduleError, SeparatorError, shortened
from schedopt.files.presets import open_schedule
from schedopt.files.schedule_file import ScheduleFile, check_separator
from schedopt.separators import Separator as OneSeparator
from schedopt.separators import load_model, resolve_device
from schedopt.songs import Position, SegmentNews, SongPasses, count_passes, separate
from schedopt.songs.refining import stems_to_estimate

__all__ = ["LoadAudioError", "LoadModelError", "Separator", "list_models", "save_audio"]

MODEL = "htdemucs"
OVERLAP = 0.25
PARAMETERS = ("device", "shifts", "overlap", "split", "segment", "jobs", "progress", "callback", "callback_arg")
"""Those of demucs' `update_parameter`, in its order."""
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
BASE: Any = demucs.api.Separator


class Separator(BASE):  # type: ignore[misc]
    """`demucs.api.Separator` whose stems may be refined by a schedule.

    Args beside demucs' own:
        schedule: a schedule file, its path, or the name of a preset. A stem that has a schedule in it costs N more
            passes; the others come from the plain pass. None: demucs as it is.
        point: of a schedule with points (a bleed dial), which one: clean, balanced (also without it) or full.
        trust_pickle: allow `.th` files in `repo`, whose loading runs code that is in them.

    Two arguments follow the schedule where they are not given: `model` and `overlap` are those that it was searched
    with. `shifts` is 1 without a schedule, as in demucs; with one it is 0, and above 0 every pass is averaged over so
    many seeded shifts. With a schedule `jobs` has no effect, results do not differ from run to run, and the callback's
    dictionary also says `target` and `step`.

    Raises:
        LoadModelError: the model cannot be loaded.
        ScheduleError: the schedule cannot be read, or was searched with other weights.
        SeparatorError: device, shifts, overlap, segment or jobs cannot be used.
    """

    def __init__(
        self,
        model: str | None = None,
        repo: Path | None = None,
        device: Any = DEVICE,
        shifts: int | None = None,
        overlap: float | None = None,
        split: bool = True,
        segment: float | None = None,
        jobs: int = 0,
        progress: bool = False,
        callback: Callable[[dict[str, Any]], None] | None = None,
        callback_arg: dict[str, Any] | None = None,
        *,
        schedule: ScheduleFile | Path | str | None = None,
        point: str | None = None,
        trust_pickle: bool = False,
    ) -> None:
        self._trust_pickle = trust_pickle
        self._made: tuple[Any, OneSeparator] | None = None
        self._take_schedule(schedule, point)
        searched = None if self._schedule is None else self._schedule.model
        if segment is None and searched is not None and searched.segment != "model":
            segment = searched.segment
        super().__init__(
            model=model or (MODEL if searched is None else searched.model),
            repo=repo,
            device=device,
            shifts=(1 if searched is None else 0) if shifts is None else shifts,
            overlap=(OVERLAP if searched is None else searched.overlap) if overlap is None else overlap,
            split=split,
            segment=segment,
            jobs=jobs,
            progress=progress,
            callback=callback,
            callback_arg=callback_arg,
        )
        if self._schedule is not None:
            self._separator(1)

    def update_parameter(
        self, *args: Any, schedule: Any = NotProvided, point: str | None = None, **kwargs: Any
    ) -> None:
        """Change parameters of the separation: demucs' own, and `schedule` (None: no schedule from here on).

        `point` is that of the `schedule` beside it.

        Raises:
            ScheduleError, SeparatorError: as the constructor; nothing has changed where it is the latter.
        """
        given = {
            name: value
            for name, value in (dict(zip(PARAMETERS, args, strict=False)) | kwargs).items()
            if not isinstance(value, type(NotProvided))
        }
        self._check(given, refined=self._schedule is not None if schedule is NotProvided else schedule is not None)
        device = _device(given["device"]) if "device" in given else None
        super().update_parameter(*args, **kwargs)
        if "device" in given:
            self._device = device
        if schedule is not NotProvided:
            self._take_schedule(schedule, point)
        elif point is not None:
            raise ScheduleError("point: name the schedule beside it, update_parameter(schedule=…, point=…)")

    def separate_tensor(self, wav: Tensor, sr: int | None = None) -> tuple[Tensor, dict[str, Tensor]]:
        """Separate a wave (channels, samples) of `sr` Hz; the model's rate where None.

        Returns:
            The wave at the model's rate, and the estimate of each stem in the same shape.
        """
        if self._schedule is None:
            plain: tuple[Tensor, dict[str, Tensor]] = super().separate_tensor(wav, sr)
            return plain
        if sr is not None and sr != self.samplerate:
            wav = convert_audio(wav, sr, self._samplerate, self._audio_channels)
        separator = self._separator(wav.shape[-1])
        if wav.ndim != 2 or len(wav) != separator.channels or not wav.numel():
            raise SeparatorError(f"a wave has the shape ({separator.channels}, samples), not {tuple(wav.shape)}")
        if wav.is_complex() or not bool(wav.isfinite().all()):
            raise SeparatorError("the wave holds NaN, infinite or complex samples")
        estimates = self._refined(separator, wav.detach().to("cpu", torch.float32))
        return wav, {stem: estimate.to(wav.device) for stem, estimate in estimates.items()}

    def _load_audio(self, track: Path) -> Tensor:
        try:
            return read_song(track, self._samplerate, self._audio_channels)
        except DataError as error:
            raise LoadAudioError(str(error)) from None

    def _load_model(self) -> None:
        name = self._name if self._repo is None else str(Path(self._repo) / self._name)
        try:
            model: Any = load_model(name, trust_pickle=self._trust_pickle)
        except SeparatorError as error:
            raise LoadModelError(str(error)) from None
        self._model = model.eval()
        self._audio_channels = model.audio_channels
        self._samplerate = model.samplerate

    def _take_schedule(self, schedule: ScheduleFile | Path | str | None, point: str | None) -> None:
        known = schedule is None or isinstance(schedule, ScheduleFile)
        self._where = "the schedule" if known else str(schedule)
        if schedule is None:
            if point is not None:
                raise ScheduleError("point: there is no schedule whose point it is; name one, schedule=…")
            self._schedule: ScheduleFile | None = None
        elif isinstance(schedule, ScheduleFile):
            self._schedule = schedule.at(point, self._where)
        else:
            self._schedule = open_schedule(schedule, point)

    def _check(self, given: Mapping[str, Any], *, refined: bool) -> None:
        """Refuse settings with which a separation would fail."""
        for name in ("shifts", "jobs"):
            if name in given and not _is_count(given[name]):
                raise SeparatorError(f"{name} {_quoted(given[name])} is not a whole number from 0 up")
        overlap: Any = given.get("overlap", getattr(self, "_overlap", OVERLAP))
        if not _is_number(overlap) or not 0 <= overlap < 1:
            raise SeparatorError(f"overlap {_quoted(overlap)} is not a number from 0 to below 1")
        segment: Any = given.get("segment", getattr(self, "_segment", None))
        # Only our own separator runs a network over a song that is not cut.
        if segment is None or (segment == math.inf and refined):
            return
        if not _is_number(segment) or not 0 < segment < math.inf:
            raise SeparatorError(f"segment {_quoted(segment)} is not a number of seconds above 0")
        if int((1 - overlap) * int(self._samplerate * segment)) < 1:
            raise SeparatorError(
                f"segment {_quoted(segment)} with overlap {_quoted(overlap)} moves by less than a sample; take a "
                "longer segment"
            )

    def _separator(self, samples: int) -> OneSeparator:
        """Ours around the same model, in today's settings; made anew when they change."""
        segment, overlap = self._segment, self._overlap
        if not self._split:
            segment, overlap = Fraction(samples, self._samplerate), 0.0
        device = "cpu" if self._device is None else str(self._device)
        settings = (device, overlap, segment)
        if self._made is None or self._made[0] != settings:
            made = OneSeparator.from_model(
                self._model, name=self._name, device=device, overlap=overlap, segment=segment, adopt=True
            )
            self._made = settings, made
        assert self._schedule is not None
        check_separator(self._schedule, self._made[1], self._where, "model=")
        return self._made[1]

    def _refined(self, separator: OneSeparator, mixture: Tensor) -> dict[str, Tensor]:
        assert self._schedule is not None
        entries, samples = self._schedule.entries(separator.stems), mixture.shape[-1]
        seconds = count_passes(entries, separator.stems) * samples / self._samplerate
        with tqdm.tqdm(total=round(seconds, 2), unit="seconds", ncols=120, disable=not self._progress) as bar:
            last = Position(None, 0, 0)

            def on_position(position: Position) -> None:
                nonlocal last
                same = position[:2] == last[:2]
                bar.update((position.samples - (last.samples if same else 0)) / self._samplerate)
                last = position

            passes = SongPasses(
                separator,
                mixture,
                stems_to_estimate(separator, entries, separator.stems),
                shifts=self._shifts,
                on_position=on_position,
                on_segment=functools.partial(self._tell, samples),
            )
            return dict(separate(passes, entries, separator.stems))

    def _tell(self, samples: int, news: SegmentNews) -> None:
        """Call the callback with what demucs says of a segment, and the target and step that it belongs to."""
        if self._callback is None:
            return
        told = {
            "model_idx_in_bag": news.model,
            "shift_idx": news.shift,
            "segment_offset": news.offset,
            "state": news.state,
            "audio_length": samples,
            "models": len(getattr(self._model, "models", [self._model])),
            "target": news.target,
            "step": news.step,
        }
        self._callback({**(self._callback_arg or {}), **told})


def _device(device: Any) -> Any:
    """The device to compute on, checked; None stays, which is that of the wave."""
    if device is None:
        return None
    try:
        chosen = resolve_device("auto") if device == "auto" else torch.device(device)
    except (RuntimeError, TypeError, ValueError):
        raise SeparatorError(f"device {_quoted(device)} is not known: auto, cpu, cuda, cuda:N or mps") from None
    if chosen.type in ("cpu", "cuda", "mps"):
        resolve_device(str(chosen))
        return device if device != "auto" else chosen
    # demucs itself computes on every device that torch has
    try:
        torch.empty(0, device=chosen)
    except (RuntimeError, NotImplementedError, AssertionError):
        raise SeparatorError(f"device {_quoted(device)} is not there; auto takes the best one that is") from None
    return device


def _is_count(value: Any) -> bool:
    try:
        return operator.index(value) >= 0
    except TypeError:
        return False


def _is_number(value: Any) -> bool:
    return isinstance(value, numbers.Real)


def _quoted(value: Any) -> str:
    return shortened(repr(value), 80)

"""Schedules on held-out tracks, beside what else the same computing buys: passes are run and scored here.

`schedopt.proof.methods` says what is compared, `schedopt.proof.findings` what follows from the scores. Always in
float32 and with uniform gains, since that is what a person with a song of their own has.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from schedopt.data import cut_excerpts, load_tracks
from schedopt.errors import DataError, ScheduleError
from schedopt.evaluation import Evaluator, Passes
from schedopt.files.schedule_file import ScheduleFile, check_separator
from schedopt.metrics import frame_scores, scorer
from schedopt.proof.families import best_of_families
from schedopt.proof.methods import GREEDY_RATIOS, RIVALS, Method, Rival, compared
from schedopt.schedules import Schedule
from schedopt.separators import Separator, load_separator
from schedopt.store import Store
from schedopt.types import Excerpt

Array = NDArray[np.float64]
ScoredMetric = Literal["sdr", "si_sdr"]
SCORED: tuple[ScoredMetric, ...] = ("sdr", "si_sdr")

DEFAULT_EXCERPT = 10.0
"""Seconds, where a hand-written schedule file does not say what it was searched on."""

log = logging.getLogger("schedopt")


@dataclass(frozen=True)
class Options:
    """What a benchmark may be told; None: as in the search that the schedule files came from.

    `source`, `tracks`, `excerpt` (seconds), `excerpts_per_track`: the held-out music. `model`, `device`: the separator.
    `against`, `ceilings`: see `schedopt.proof.methods`. `storage`: URL of the studies for the best of each family.
    `frames`: score frames of one second too. `seed`: of the bootstrap.
    """

    source: str | None = None
    tracks: int | None = None
    excerpt: float | None = None
    excerpts_per_track: int | None = None
    model: str | None = None
    device: str = "auto"
    trust_pickle: bool = False
    against: Collection[Rival] = RIVALS
    ceilings: bool = False
    storage: str | None = None
    frames: bool = False
    seed: int = 0


@dataclass(frozen=True)
class Music:
    """The held-out tracks and how they are cut: `excerpt` in seconds."""

    source: str
    excerpt: float
    excerpts_per_track: int


@dataclass(frozen=True)
class Heard:
    """Scores in dB of one method for one stem in one excerpt: after each step, (N+1,), and of 1 s frames, (frames,)."""

    track: str
    by_step: Mapping[ScoredMetric, Array]
    frames: Array


@dataclass
class Benchmark:
    """What was measured. `heard` holds every score by (method's name, stem), in the order of the excerpts."""

    music: Music
    model: str
    weights: str
    overlap: float
    methods: Sequence[Method]
    excerpts: Sequence[Excerpt]
    options: Options
    heard: dict[tuple[str, str], list[Heard]] = field(default_factory=dict)
    passes: Passes = field(default_factory=Passes)
    seconds: float = 0.0

    @property
    def stems(self) -> tuple[str, ...]:
        """Stems that a schedule was given for and that sound in an excerpt."""
        return tuple(stem for stem in self.methods[0].settings if any(stem in e.audible for e in self.excerpts))

    @property
    def left_out(self) -> dict[str, list[str]]:
        """Excerpts that do not count for a stem, since it is silent there; by stem."""
        silent = {stem: [e.name for e in self.excerpts if stem not in e.audible] for stem in self.methods[0].settings}
        return {stem: names for stem, names in silent.items() if names}

    @property
    def seconds_per_pass(self) -> float:
        """Wall-clock seconds of one pass over one excerpt, on this machine."""
        return self.seconds / max(1, self.passes.run)


def benchmark(
    files: Mapping[str, ScheduleFile],
    options: Options | None = None,
    on_excerpt: Callable[[int, int], None] | None = None,
) -> Benchmark:
    """Score the schedules of `files` (by path) and their rivals on held-out tracks.

    Costs, an excerpt and stem with a schedule of N steps: N passes for the schedule, N for each kind of rival
    (constant: 3 N), N and 10·N for the ceilings; the plain pass is shared by all. Memory holds one excerpt's states.

    Args:
        on_excerpt: called with (excerpts done, excerpts in all).

    Raises:
        ScheduleError: files that do not fit each other or the model.
        SchedoptError: the model or the tracks cannot be used.
    """
    options = options or Options()
    music = _music(files, options)
    separator = _separator(files, options)
    families = best_of_families(files, options.storage) if "family" in options.against else []
    methods = compared(files, options.against, ceilings=options.ceilings, families=families)
    _note_gains(files)
    tracks = load_tracks(music.source, "held-out", options.tracks)
    excerpts = cut_excerpts(tracks, music.excerpt, music.excerpts_per_track)
    overlap = next(iter(files.values())).model.overlap
    result = Benchmark(music, separator.name, separator.weights, overlap, methods, excerpts, options)
    if not result.stems:
        raise DataError(f"{music.source}: {', '.join(methods[0].settings)} silent in all excerpts: nothing to score")
    for count, excerpt in enumerate(excerpts):
        if on_excerpt is not None:
            on_excerpt(count, len(excerpts))
        _score_excerpt(result, separator, excerpt)
    if on_excerpt is not None:
        on_excerpt(len(excerpts), len(excerpts))
    return result


def greedy_betas(evaluator: Evaluator, steps: int, ratios: Sequence[float] = GREEDY_RATIOS) -> Schedule:
    """Ratios for the evaluator's first task: each step takes the one with the best true score, until none is better.

    Source: Zang, Li, Kong, "Training-Free Multi-Step Audio Source Separation" (arXiv 2505.19534). Stopping loses
    nothing: from the same last estimate every further step would try the same inputs again. Costs at most
    len(ratios) passes a step.
    """
    betas: Schedule = ()
    best = float(evaluator.scores((), [0])[0, 0])
    for _ in range(steps):
        tried = {ratio: float(evaluator.scores((*betas, ratio), [0], every_step=False)[0, 0]) for ratio in ratios}
        ratio = max(ratios, key=tried.__getitem__)
        if tried[ratio] <= best:
            break
        betas, best = (*betas, ratio), tried[ratio]
    return betas


def _score_excerpt(result: Benchmark, separator: Separator, excerpt: Excerpt) -> None:
    """Every method for every stem that sounds; states are shared within the excerpt and let go after it."""
    store = Store()
    for stem in result.stems:
        if stem not in excerpt.audible:
            continue
        judge = _Judge(excerpt, stem, separator.device, with_frames=result.options.frames)
        for method in result.methods:
            if stem in method.settings:
                outputs = _outputs(result, separator, excerpt, store, method, stem)
                result.heard.setdefault((method.name, stem), []).append(judge(outputs))


def _outputs(
    result: Benchmark, separator: Separator, excerpt: Excerpt, store: Store, method: Method, stem: str
) -> list[Tensor]:
    """What the method hands out after step 0 … N; (channels, samples) each. Counts passes and seconds."""
    setting = method.settings[stem]
    # The trajectory is scored by the judge, with references that are prepared once; only the greedy search asks here.
    metric = "sdr" if method.kind == "greedy" else "snr"
    evaluator = Evaluator(
        separator, [excerpt], setting.refinement, metric=metric, store=store, shared_stems=separator.stems
    )
    if method.kind == "greedy":
        found = evaluator.trajectory(greedy_betas(evaluator, len(setting.betas)), 0)
        return found + [found[-1]] * (len(setting.betas) + 1 - len(found))
    began = time.perf_counter()
    outputs = evaluator.trajectory(setting.betas, 0)
    if separator.device.type == "cuda":
        torch.cuda.synchronize(separator.device)
    result.seconds += time.perf_counter() - began
    result.passes.run += evaluator.passes.run
    result.passes.saved += evaluator.passes.saved
    return outputs


class _Judge:
    """Scores of one stem of one excerpt; its reference is prepared once for all methods."""

    def __init__(self, excerpt: Excerpt, stem: str, device: torch.device, *, with_frames: bool) -> None:
        self.excerpt = excerpt
        self.target = excerpt.stems.index(stem)
        self.references = excerpt.references.to(device) if with_frames else None
        reference = excerpt.references[self.target].to(device)
        self.scorers = {metric: scorer(metric, reference) for metric in SCORED}

    def __call__(self, outputs: Sequence[Tensor]) -> Heard:
        steps = torch.stack(list(outputs))  # (N+1, channels, samples)
        by_step = {metric: score(steps).cpu().numpy() for metric, score in self.scorers.items()}
        frames = np.empty(0)
        if self.references is not None:
            one_second = self.excerpt.sample_rate
            frames = frame_scores(self.references, self.target, outputs[-1], one_second).cpu().numpy()
            frames = frames[~np.isnan(frames)]
        return Heard(self.excerpt.track, by_step, frames)


def _music(files: Mapping[str, ScheduleFile], options: Options) -> Music:
    """Where the held-out tracks come from and how they are cut: as asked for, else as in the searches."""
    searched = [file.data for file in files.values() if file.data is not None]
    sources = [options.source] if options.source else list(dict.fromkeys(data.source for data in searched))
    if len(sources) != 1:
        why = "differ in the music they were searched on" if sources else "do not say what they were searched on"
        raise ScheduleError(f"the schedule files {why}; name the source with --data")
    return Music(
        source=sources[0],
        excerpt=options.excerpt or max((data.excerpt for data in searched), default=DEFAULT_EXCERPT),
        excerpts_per_track=options.excerpts_per_track or max((data.excerpts_per_track for data in searched), default=1),
    )


def _separator(files: Mapping[str, ScheduleFile], options: Options) -> Separator:
    """The model of the files, in float32."""
    models = list(dict.fromkeys(file.model.model for file in files.values()))
    overlaps = list(dict.fromkeys(file.model.overlap for file in files.values()))
    if len(overlaps) > 1 or (len(models) > 1 and options.model is None):
        what = "overlap" if len(overlaps) > 1 else "model"
        raise ScheduleError(f"the schedule files were searched with more than one {what}; benchmark them one by one")
    separator = load_separator(
        options.model or models[0],
        device=options.device,
        precision="float32",
        overlap=overlaps[0],
        trust_pickle=options.trust_pickle,
    )
    for path, file in files.items():
        check_separator(file, separator, path)
        if file.model.weights is None:
            log.warning("%s: does not say which weights it was searched with, so they are not compared", path)
    return separator


def _note_gains(files: Mapping[str, ScheduleFile]) -> None:
    for path, file in files.items():
        if any(gain != 1 for entry in file.entries().values() for gain in entry.gains.values()):
            log.warning("%s: was searched with other than uniform gains; benchmarked with uniform ones", path)

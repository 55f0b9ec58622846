"""Schedules on held-out tracks, beside what else the same computing buys: passes are run and scored here.

`schedopt.proof.methods` says what is compared, `schedopt.proof.findings` what follows from the scores. Always in
float32 and with uniform gains, since that is what a person with a song of their own has.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from schedopt.data import SILENCE_RULE, cut_excerpts, load_tracks, stems_of
from schedopt.data.stems import StemSums
from schedopt.errors import DataError, ScheduleError
from schedopt.evaluation import Evaluator, Passes
from schedopt.files.schedule_file import ScheduleFile, check_separator
from schedopt.metrics import METRICS, Score, scorer
from schedopt.proof.families import selected_of_families
from schedopt.proof.methods import GREEDY_RATIOS, RIVALS, Method, Rival, compared
from schedopt.schedules import Schedule
from schedopt.search.prepared import stems_to_cut
from schedopt.separators import Separator, load_separator
from schedopt.store import Store
from schedopt.types import CORE, Excerpt, ExcerptLength

Array = NDArray[np.float64]

log = logging.getLogger("schedopt")


@dataclass(frozen=True)
class Options:
    """What a benchmark may be told; None: as in the search that the schedule files came from.

    `source`, `tracks`, `excerpts_per_track`: the held-out music; `excerpt`: seconds, by default whole tracks, which is
    what `separate` refines. `model`, `device`: the separator.
    `against`, `ceilings`: see `schedopt.proof.methods`. `storage`: URL of the studies for the best of each family.
    `metrics`: names of metrics that are shown beside `CORE`. `seed`: of the bootstrap.
    """

    source: str | None = None
    tracks: int | None = None
    excerpt: ExcerptLength = "track"
    excerpts_per_track: int | None = None
    model: str | None = None
    device: str = "auto"
    trust_pickle: bool = False
    against: Collection[Rival] = RIVALS
    ceilings: bool = False
    storage: str | None = None
    metrics: Sequence[str] = ()
    seed: int = 0


@dataclass(frozen=True)
class Music:
    """The held-out tracks and how they are cut: `excerpt` in seconds, or whole; `stems` as `[data.stems]`."""

    source: str
    excerpt: ExcerptLength
    excerpts_per_track: int
    stems: StemSums = field(default_factory=dict)


@dataclass(frozen=True)
class ExcerptScores:
    """Scores of one method for one stem in one excerpt by metric, after each step: (N+1,)."""

    track: str
    by_step: Mapping[str, Array]


@dataclass
class Benchmark:
    """What was measured. `scores` holds every score by (method's name, stem), in the order of the excerpts.

    `metric` is that of the searches; `objectives` those of searches of two metrics; `metrics` are all that were scored,
    `metric` first.
    """

    music: Music
    model: str
    weights: str
    overlap: float
    metric: str
    methods: Sequence[Method]
    excerpts: list[Excerpt]
    options: Options
    objectives: tuple[str, ...] = ()
    scores: dict[tuple[str, str], list[ExcerptScores]] = field(default_factory=dict)
    passes: Passes = field(default_factory=Passes)
    seconds: float = 0.0

    @property
    def stems(self) -> tuple[str, ...]:
        """Stems that a schedule was given for and that sound in an excerpt."""
        return tuple(stem for stem in self.methods[0].settings if any(stem in e.audible for e in self.excerpts))

    @property
    def metrics(self) -> tuple[str, ...]:
        """All that are scored, without repetition."""
        return tuple(dict.fromkeys((self.metric, *CORE, *self.objectives, *self.options.metrics)))

    @property
    def left_out(self) -> dict[str, list[str]]:
        """Excerpts that do not count for a stem, since it is silent there; by stem."""
        return silences(self.excerpts, self.methods[0].settings)

    @property
    def seconds_per_pass(self) -> float:
        """Wall-clock seconds of one pass over one excerpt, on this machine."""
        return self.seconds / max(1, self.passes.run)


def benchmark(
    files: Mapping[str, ScheduleFile],
    options: Options | None = None,
    on_track: Callable[[int, int], None] | None = None,
) -> Benchmark:
    """Score the schedules of `files` (by path) and their rivals on held-out tracks.

    Costs, an excerpt and stem with a schedule of N steps: N passes for the schedule, N for each kind of rival
    (constant: 3 N), N and 10·N for the ceilings; the plain pass is shared by all. Memory holds some passes of one
    excerpt.

    Args:
        on_track: called with (tracks done, tracks in all).

    Raises:
        ConfigError: an unknown metric.
        ScheduleError: files that do not fit each other or the model.
        SchedoptError: the model or the tracks cannot be used.
    """
    options = options or Options()
    for name in options.metrics:
        METRICS.find(name)
    music, metric = _music(files, options), _metric(files)
    separator = _separator(files, options)
    families = selected_of_families(files, options.storage) if "family" in options.against else []
    methods = compared(files, options.against, ceilings=options.ceilings, families=families)
    _note_gains(files)
    tracks = load_tracks(music.source, "held-out", options.tracks, mapping=music.stems, stems=separator.stems)
    offered = stems_of(tracks)
    if not set(methods[0].settings) & set(offered):
        wanted = ", ".join(methods[0].settings)
        raise DataError(f"{music.source}: the music has no stem {wanted}, only {', '.join(offered)}")
    needed, optional = stems_to_cut(separator, tracks)
    overlap, objectives = next(iter(files.values())).model.overlap, _objectives(files)
    result = Benchmark(music, separator.name, separator.weights, overlap, metric, methods, [], options, objectives)
    for count, track in enumerate(tracks):
        if on_track is not None:
            on_track(count, len(tracks))
        # One track at a time: whole ones of a test set would fill the disk.
        with contextlib.suppress(DataError):
            for excerpt in cut_excerpts(
                [track], music.excerpt, music.excerpts_per_track, stems=needed, optional=optional
            ):
                _score_excerpt(result, separator, excerpt)
                # Its shape without its samples.
                empty = torch.zeros(1).expand(excerpt.references.shape)
                result.excerpts.append(replace(excerpt, references=empty))
    if on_track is not None:
        on_track(len(tracks), len(tracks))
    if not result.stems:
        raise DataError(
            f"{music.source}: {', '.join(methods[0].settings)} silent in all tracks: nothing to score; {SILENCE_RULE}"
        )
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
    """Every method for every stem that sounds; passes are shared within the excerpt and forgotten after it."""
    store = Store()
    for stem in result.methods[0].settings:
        if stem not in excerpt.audible:
            continue
        score = Scorer(excerpt, stem, result.metrics, separator.device)
        for method in result.methods:
            if stem in method.settings:
                outputs = _outputs(result, separator, excerpt, store, method, stem)
                result.scores.setdefault((method.name, stem), []).append(score(outputs))


def _outputs(
    result: Benchmark, separator: Separator, excerpt: Excerpt, store: Store, method: Method, stem: str
) -> Iterator[Tensor]:
    """The method's estimates after step 0 … N; (channels, samples) each. Counts passes and seconds."""
    setting = method.settings[stem]
    # The trajectory is scored elsewhere, with references that are prepared once; only the greedy search asks here.
    metric = "sdr" if method.kind == "greedy" else "snr"
    evaluator = Evaluator(
        separator, [excerpt], setting.refinement, metric=metric, store=store, shared_stems=separator.stems
    )
    if method.kind == "greedy":
        found = evaluator.trajectory(greedy_betas(evaluator, len(setting.betas)), 0)
        yield from found + [found[-1]] * (len(setting.betas) + 1 - len(found))
        return
    outputs = evaluator.outputs(setting.betas, 0)
    while True:
        began = time.perf_counter()
        output = next(outputs, None)
        if separator.device.type == "cuda":
            torch.cuda.synchronize(separator.device)
        result.seconds += time.perf_counter() - began
        if output is None:
            break
        yield output
    result.passes.run += evaluator.passes.run
    result.passes.saved += evaluator.passes.saved


def silences(excerpts: Sequence[Excerpt], stems: Iterable[str]) -> dict[str, list[str]]:
    """Names of the excerpts in which each of `stems` is silent, for the stems that are somewhere."""
    silent = {stem: [excerpt.name for excerpt in excerpts if stem not in excerpt.audible] for stem in stems}
    return {stem: names for stem, names in silent.items() if names}


class Scorer:
    """Scores of one stem of one excerpt; its reference is prepared once for all methods."""

    def __init__(self, excerpt: Excerpt, stem: str, metrics: Sequence[str], device: torch.device) -> None:
        self.track = excerpt.track
        self.scores: dict[str, Score] = {}
        target = excerpt.stems.index(stem)
        reference = excerpt.references[target].to(device)
        for name in metrics:
            try:
                self.scores[name] = scorer(
                    name,
                    reference,
                    references=excerpt.references.to(device) if METRICS.find(name).needs_all_stems else None,
                    target=target,
                    sample_rate=excerpt.sample_rate,
                )
            except DataError as error:
                log.warning("%s, %s: no %s: %s", excerpt.name, stem, name, error)

    def __call__(self, outputs: Iterable[Tensor]) -> ExcerptScores:
        """Each output is scored before the next is made, so that memory holds one."""
        by_step: dict[str, list[float]] = {name: [] for name in self.scores}
        for output in outputs:
            for name, score in self.scores.items():
                by_step[name].append(float(score(output)))
        return ExcerptScores(self.track, {name: np.array(values) for name, values in by_step.items()})


def _metric(files: Mapping[str, ScheduleFile]) -> str:
    """The one metric that the schedules were searched in."""
    metrics = sorted({entry.metric for file in files.values() for entry in file.entries().values()})
    if len(metrics) > 1:
        raise ScheduleError(f"the schedules were searched in {' and '.join(metrics)}; benchmark them one by one")
    return metrics[0]


def _objectives(files: Mapping[str, ScheduleFile]) -> tuple[str, ...]:
    """The metrics of the searches of two, each once."""
    entries = [entry for file in files.values() for entry in file.entries().values()]
    names = tuple(dict.fromkeys(name for entry in entries for name in entry.objectives))
    for name in names:
        METRICS.find(name)
    return names


def _music(files: Mapping[str, ScheduleFile], options: Options) -> Music:
    """Where the held-out tracks come from and how they are cut: as asked for, else as in the searches."""
    searched = [file.data for file in files.values() if file.data is not None]
    sources = [options.source] if options.source else list(dict.fromkeys(data.source for data in searched))
    if len(sources) != 1:
        why = "differ in the music they were searched on" if sources else "do not say what they were searched on"
        raise ScheduleError(f"the schedule files {why}; name the source with --data")
    return Music(
        source=sources[0],
        excerpt=options.excerpt,
        excerpts_per_track=options.excerpts_per_track or max((data.excerpts_per_track for data in searched), default=1),
        stems=next((data.stems for data in searched if data.source == sources[0]), {}),
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
        stems=next(iter(files.values())).model.stems,
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

"""From a study or a benchmark document to a page."""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.storages import BaseStorage

from schedopt.config import StudyConfig
from schedopt.data import Split, cut_excerpts, load_tracks
from schedopt.errors import DataError, DeletedError, SchedoptError, SeparatorError, StudyError
from schedopt.files.benchmark_file import BenchmarkFile, StemScores
from schedopt.files.schedule_file import SHARED
from schedopt.proof.tables import footnotes, headline, lengths, objectives_table, stem_table
from schedopt.rules import rule
from schedopt.search.export import entry_of, load_study
from schedopt.search.provenance import lines, provenance
from schedopt.search.study import study_name
from schedopt.search.summary import EDITED, Summary, selected_trial, summarize
from schedopt.separators import Separator, load_separator
from schedopt.storage.urls import shown
from schedopt.types import Excerpt, ExcerptLength
from schedopt.view.figures import benchmark_figures, study_figures
from schedopt.view.report.clips import audible_in, clip, ranks
from schedopt.view.report.page import Clip, Page, Section, Table
from schedopt.view.trials import dial_table, explanation, named_trials, scored

FRONT = "Front: less bleed against fewer artifacts"
TOP = 10
"""Trials in a report's table."""


@dataclass(frozen=True)
class Audio:
    """How clips are made: `seconds` each (0: none)."""

    seconds: float = 4.0
    trust_pickle: bool = False


def study_page(config: StudyConfig, storage: BaseStorage, audio: Audio) -> Page:
    """The report of a study file's studies. Costs N+1 passes for each of three excerpts of a stem, 0 without audio.

    Raises:
        StudyError: a study is not in the storage, or somebody edited its attributes there.
    """
    names = {target: study_name(config, target) for target in config.refinement.targets}
    studies = {target: load_study(storage, name, config.study.storage) for target, name in names.items()}
    sections, origins = [], []
    for target, study in studies.items():
        try:
            section, origin = _study_section(config, study, target, audio)
        except DeletedError:
            raise
        except EDITED as error:
            name = study.study_name
            raise StudyError(f"study {name}: its attributes are not as schedopt wrote them: {error!r}") from error
        sections.append(section)
        origins.append(origin)
    return Page(f"Study {config.study.name}", f"written {_now()} by schedopt", tuple(sections), tuple(origins))


def _study_section(config: StudyConfig, study: optuna.Study, target: str, audio: Audio) -> tuple[Section, Table]:
    """A study's section, and where it comes from."""
    summary = summarize(study, shown(config.study.storage))
    figures = study_figures(study)
    made, missing = _listen(_study_clips(config, study, target, audio), audio)
    if not figures:
        missing = ("no trial of ours is complete yet, so there is nothing to draw", *missing)
    text, tables = _summary_text(summary, study), _study_tables(study, summary)
    origin = Table((), (("storage", summary.storage), *lines(provenance(study)).items()), study.study_name)
    return Section(target, study.study_name, text, tables, figures, made, missing=missing), origin


def benchmark_page(file: BenchmarkFile, audio: Audio) -> Page:
    """The report of a benchmark document. Costs N+1 passes for each of three excerpts of a stem, 0 without audio."""
    made, missing = _listen(_benchmark_clips(file, audio), audio)
    tables = []
    for scope in file.scopes:
        for make in (stem_table, *[objectives_table] * bool(file.objectives)):
            header, rows = make(file, scope)
            tables.append(Table(tuple(header), tuple(tuple(row) for row in rows)))
    section = Section(
        "benchmark",
        "Held-out tracks",
        (headline(file), *file.sentences),
        tuple(tables),
        benchmark_figures(file),
        made,
        tuple(footnotes(file)),
        missing,
    )
    facts = [
        ("created", file.created),
        ("model", file.model.model),
        ("weights fingerprint", file.model.weights),
        ("precision", file.model.precision),
        ("overlap", f"{file.model.overlap:g}"),
        ("source", file.data.source),
        ("excerpts", lengths(file)),
        ("excerpts a track", str(file.data.excerpts_per_track)),
        ("seed of the bootstrap", str(file.seed)),
        ("passes run (saved)", f"{file.passes.get('run', 0)} ({file.passes.get('saved', 0)})"),
    ]
    facts += [(f"version of {name}", number) for name, number in file.versions.items()]
    heads = ("method", "stem", "β", "how", "origin")
    methods = [
        (method.name, stem, _betas(part), _how(part), part.origin or method.file or "–")
        for method in file.methods
        for stem, part in method.stems.items()
    ]
    return Page(
        "Benchmark",
        f"run {file.created}, written {_now()} by schedopt",
        (section,),
        (Table((), tuple(facts)), Table(heads, tuple(methods), "What was compared")),
    )


def _listen(clips: Iterator[Clip], audio: Audio) -> tuple[tuple[Clip, ...], tuple[str, ...]]:
    """The clips that can be made, and why there are no more of them."""
    made: list[Clip] = []
    if audio.seconds == 0:
        return (), ()
    try:
        made += clips
    except SchedoptError as error:
        return tuple(made), (f"not all audio could be made: {error}",)
    return tuple(made), ()


def _study_clips(config: StudyConfig, study: optuna.Study, target: str, audio: Audio) -> Iterator[Clip]:
    attrs = study.user_attrs
    selected = selected_trial(study, study.get_trials(deepcopy=False))
    # An upper bound needs the true stems: it is never exported, not even as audio.
    if selected is None or "tracks" not in attrs or rule(attrs["config"]["refinement"]["rule"]).needs_references:
        return
    gains = dict(zip(attrs["tracks"], selected.user_attrs.get("gain_by_track", ()), strict=False))
    # Settings as they were searched, paths as the file names them now.
    entry, data = entry_of(study, config.study.storage), attrs["config"]["data"]
    separator = _separator(
        config.separator.model,
        attrs["config"]["separator"]["overlap"],
        attrs.get("weights"),
        audio,
        config.separator.device,
    )
    for rank, track in ranks(gains).items():
        excerpts = _excerpts(config.data.source, "search", track, data["excerpt"], data["excerpts_per_track"])
        for stem in separator.stems if target == SHARED else (target,):
            excerpt = audible_in(excerpts, stem)
            if excerpt is not None:
                yield clip(
                    separator,
                    excerpt,
                    entry.refinement(stem),
                    entry.betas,
                    title=f"{rank} ({gains[track]:+.2f} dB)",
                    seconds=audio.seconds,
                    gains=entry.gains,
                )


def _benchmark_clips(file: BenchmarkFile, audio: Audio) -> Iterator[Clip]:
    separator, data = _separator(file.model.model, file.model.overlap, file.model.weights, audio), file.data
    for stem in file.stems:
        start = file.methods[0].stems[stem]
        schedules = [m.stems[stem] for m in file.methods if m.kind == "schedule" and stem in m.stems]
        part = max(schedules, key=lambda part: float(part.by_step()[:, -1].mean()), default=None)
        if part is None or part.betas is None:
            continue
        gains = {
            track: scores[file.metric][-1] - start.tracks[track][file.metric][-1]
            for track, scores in part.tracks.items()
        }
        for rank, track in ranks(gains).items():
            there = {one.fingerprint for one in data.excerpts if one.track == track}
            excerpts = _excerpts(data.source, "held-out", track, data.excerpt, data.excerpts_per_track)
            excerpt = audible_in([one for one in excerpts if one.fingerprint in there], stem)
            if excerpt is None:
                raise DataError(f"{data.source}: the excerpts of {track} are no longer those of the benchmark")
            title = f"{rank} ({gains[track]:+.2f} dB)"
            yield clip(
                separator, excerpt, part.refinement(stem), part.betas, title=title, seconds=audio.seconds, gains={}
            )


def _separator(model: str, overlap: float, weights: str | None, audio: Audio, device: str = "auto") -> Separator:
    """The model in float32, if its weights are still those of the study or benchmark."""
    separator = load_separator(
        model, device=device, precision="float32", overlap=overlap, trust_pickle=audio.trust_pickle
    )
    if weights is not None and separator.weights != weights:
        raise SeparatorError(f"{model}: its weights are no longer those that were scored")
    return separator


def _excerpts(source: str, split: Split, track: str, seconds: ExcerptLength, per_track: int) -> Sequence[Excerpt]:
    """The excerpts of one track; only that track is read.

    Raises:
        DataError: the source cannot be used or has no such track.
    """
    tracks = [one for one in load_tracks(source, split) if one.name == track]
    if not tracks:
        raise DataError(f"{source}: there is no track {track} among the {split} tracks")
    return cut_excerpts(tracks[:1], seconds, per_track)


def _summary_text(summary: Summary, study: optuna.Study) -> tuple[str, ...]:
    counts = f"{summary.complete} complete, {summary.not_complete}, {summary.running} running"
    named = named_trials(study, study.get_trials(deepcopy=False))
    if not named:
        return (f"Trials: {counts}.",)
    sentences = [
        f"{name[0].upper()}{name[1:]}: β {_numbers(trial.user_attrs['betas'])}; on the search excerpts"
        f" {scored(study, trial)}."
        for name, trial in named.items()
    ]
    left_out = study.user_attrs["left_out"]
    return (
        *sentences,
        f"Trials: {counts}. {explanation(study, summary)}",
        "These scores are of the excerpts that were searched on, so they are biased upwards: `schedopt benchmark`"
        " measures the schedule on held-out tracks.",
        *(f"silent, so left out: {stem} in {', '.join(names)}" for stem, names in left_out.items()),
    )


def _study_tables(study: optuna.Study, summary: Summary) -> tuple[Table, ...]:
    facts = (
        ("score of one pass", _db(summary.baseline)),
        *([] if summary.gain_over_zeros is None else [("score of β = 0, same options", _db(summary.zeros))]),
        (f"score of {summary.line_name}", _db(summary.line)),
        ("passes run (saved)", f"{summary.passes_run} ({summary.passes_saved})"),
        ("compute time", f"{summary.seconds:.0f} s"),
    )
    complete = [t for t in study.get_trials(deepcopy=False) if t.values and "gain" in t.user_attrs]
    rows = []
    for trial in sorted(complete, key=lambda t: (-t.values[0], t.number))[:TOP]:
        attrs = trial.user_attrs
        gain, betas = f"{attrs['gain']:+.3f} dB", _numbers(attrs["betas"])
        rows.append(
            (str(trial.number), _db(trial.values[0]), gain, str(len(attrs["betas"]) + 1), betas, _params(trial.params))
        )
    head = ("trial", "score", "gain over one pass", "passes", "β", "parameters")
    front = tuple((str(t.passes), _db(t.value), f"{t.gain:+.3f} dB", _numbers(t.betas)) for t in summary.front)
    tables = [Table((), facts), Table(head, tuple(rows), "Highest trials")]
    if summary.dial:
        header, points = dial_table(summary.dial)
        tables.append(Table(header, tuple(points), FRONT))
    if front:
        tables.append(Table(("passes", "score", "gain over one pass", "β"), front, "What one more pass buys"))
    return tuple(tables)


def _params(params: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value:.3g}" for name, value in params.items())


def _numbers(values: Sequence[float]) -> str:
    return " ".join(f"{value:g}" for value in values)


def _betas(part: StemScores) -> str:
    return "searched in each excerpt" if part.betas is None else _numbers(part.betas) or "–"


def _how(part: StemScores) -> str:
    words = [part.rule, "shift" * part.shift, "mean" * (part.output == "mean"), "peak guard" * part.peak_guard]
    words += [f"residual {part.residual:g}" * (part.residual > 0), f"σ {part.sigma:g}" * (part.sigma > 0)]
    return ", ".join(word for word in words if word)


def _db(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f} dB"


def _now() -> str:
    return datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC")

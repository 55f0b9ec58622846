"""From a study to its schedule file (`schedopt.files.schedule_file` defines the format), and to β tables."""

from __future__ import annotations

import contextlib
import datetime
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial
from pydantic import BaseModel, ValidationError

from schedopt.config import StudyConfig
from schedopt.errors import DeletedError, ScheduleError, StudyError
from schedopt.files.explain import explain
from schedopt.files.schedule_file import (
    FORMAT,
    KIND,
    SUFFIX,
    Entry,
    ScheduleFile,
    SearchedData,
    SearchedModel,
    SearchScore,
    load_schedule_file,
)
from schedopt.files.writing import is_same, json_text
from schedopt.outputs import OUTPUTS
from schedopt.refinement import RefinementOptions
from schedopt.rules import rule
from schedopt.search.dial import POINTS, dial_points, search_of
from schedopt.search.study import study_name
from schedopt.search.summary import selected_trial, weights_of
from schedopt.search_options import criteria, dial
from schedopt.storage.opening import open_storage
from schedopt.storage.urls import shown, sqlite_file
from schedopt.types import CORE


def is_exportable(config: StudyConfig) -> bool:
    """Whether the study's rule serves for a person's own song: one that needs the true stems is an upper bound."""
    return not rule(config.refinement.rule).needs_references


def schedule_file(config: StudyConfig, storage: BaseStorage) -> ScheduleFile:
    """The schedule file of a study file's studies.

    Raises:
        StudyError: a study is not in the storage, or has no complete trial yet.
        ScheduleError: the rule needs the true stems.
    """
    url, targets = config.study.storage, config.refinement.targets
    studies = {target: load_study(storage, study_name(config, target), url) for target in targets}
    return _file_of(studies, url, config.study.name)


def schedule_file_of(storage: BaseStorage, url: str, name: str) -> ScheduleFile:
    """The schedule file of the study `name` in the storage behind `url`, whatever file it was made by.

    Raises:
        StudyError: as `schedule_file`.
        ScheduleError: as `schedule_file`.
    """
    study = load_study(storage, name, url)
    stored = study.user_attrs.get("config")
    refinement = stored.get("refinement") if isinstance(stored, dict) else None
    target = refinement.get("target") if isinstance(refinement, dict) else None
    return _file_of({str(target): study}, url, name)


def _file_of(studies: Mapping[str, optuna.Study], url: str, name: str) -> ScheduleFile:
    """The schedule file of studies, by target; they belong to one study file, which `name` names in errors."""
    for study in studies.values():
        if "schedopt" not in study.user_attrs:
            raise StudyError(f"study {study.study_name}: it was not made by schedopt, so it holds no schedule")
        attrs = study.user_attrs
    try:
        stored = attrs["config"]
        return ScheduleFile(
            format=FORMAT,
            kind=KIND,
            created=datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
            model=SearchedModel(
                **_known(stored["separator"], SearchedModel),
                fingerprint=attrs["separator"],
                weights=attrs.get("weights"),
            ),
            data=SearchedData(**_known(stored["data"], SearchedData)),
            schedules={target: entry_of(study, url) for target, study in studies.items()},
            points={
                point: {target: entry_of(study, url, point) for target, study in studies.items()}
                for point in (POINTS if dial(stored["search"]) else ())
            },
            versions=attrs["versions"],
        )
    except ValidationError as error:
        raise ScheduleError(explain(error, f"study {name}", ScheduleFile)) from None
    except DeletedError:
        raise
    except (KeyError, TypeError, AttributeError) as error:  # somebody edited the database
        raise StudyError(f"study {name}: its attributes are not as schedopt wrote them: {error!r}") from None


def _known(section: Mapping[str, Any], model: type[BaseModel]) -> dict[str, Any]:
    """The keys of a study's section that a schedule file has too; no mapping is none at all. The database has lists
    where a file's model has tuples."""
    known = {key: value for key, value in section.items() if key in model.model_fields and value != {}}
    if "stems" in known:
        known["stems"] = {stem: tuple(parts) for stem, parts in known["stems"].items()}
    return known


def load_study(storage: BaseStorage, name: str, url: str) -> optuna.Study:
    """A study by name.

    Raises:
        StudyError: there is none; the message names those that are there.
    """
    try:
        return optuna.load_study(study_name=name, storage=storage)
    except KeyError:
        there = ", ".join(optuna.get_all_study_names(storage)) or "none"
        raise StudyError(f"{shown(url)}: there is no study {name!r} (there: {there}); run it first") from None


def entry_of(study: optuna.Study, url: str, point: str | None = None) -> Entry:
    """The selected schedule of a study of ours in the storage behind `url`, or that of a `point` of its dial.

    Raises:
        StudyError: it has no complete trial yet.
        ValidationError: it is no schedule that can be exported.
    """
    trials = study.get_trials(deepcopy=False)
    trial = selected_trial(study, trials) if point is None else dial_points(study, trials).get(point)
    if trial is None:
        raise StudyError(f"study {study.study_name}: it has no complete trial yet, so nothing to export")
    stored, metrics = study.user_attrs["config"], criteria(search_of(study))
    scores = _scores(study, trial)
    two = dial(search_of(study)) is not None
    weights = weights_of(trial)
    options = _known(stored["refinement"], RefinementOptions)
    output = trial.user_attrs.get("output")
    if output is not None:
        options["output"] = output
    if OUTPUTS.find(options.get("output", "last")).bands and not weights:
        options["output"] = "mean"  # the same, but a pass need not estimate all stems
    return Entry(
        **options,
        weights=weights,
        seed=stored["study"]["seed"],
        family=stored["schedule"]["family"],
        params=trial.params,
        steps=len(trial.user_attrs["betas"]),
        betas=tuple(trial.user_attrs["betas"]),
        gains=stored["data"]["gains"],
        study=study.study_name,
        storage=shown(url),
        trial=trial.number,
        metric=next((name for one in metrics for name in CORE if name == one), stored["search"]["metric"]),
        search=None if two and metrics[0] not in CORE else scores[0],
        objectives=dict(zip(metrics, scores, strict=True)) if two else {},
    )


def _scores(study: optuna.Study, trial: FrozenTrial) -> list[SearchScore]:
    """What the trial was worth on the search excerpts: in the study's metric, and in the second one of two."""
    excerpts, pairs = len(study.user_attrs["excerpts"]), [(study.user_attrs["baseline"], trial.user_attrs)]
    if "other" in trial.user_attrs:
        pairs.append((study.user_attrs["baseline"]["other"], trial.user_attrs["other"]))
    return [
        SearchScore(baseline=baseline["value"], value=value, gain=attrs["gain"], excerpts=excerpts)
        for (baseline, attrs), value in zip(pairs, trial.values, strict=False)
    ]


def check_is_own(path: Path, config: StudyConfig) -> None:
    """Refuse a new study whose schedule would replace that of another one, in a database that is still there.

    Raises:
        StudyError: it would.
    """
    own = sqlite_file(config.study.storage)
    if own is None:
        return
    try:
        entries = load_schedule_file(path).schedules.values()
    except ScheduleError:
        return
    for entry in entries:
        other = sqlite_file(entry.storage) if entry.storage and entry.storage.startswith("sqlite:///") else None
        if other is None or not other.is_file() or is_same(own, other):
            continue
        if own.is_file() and entry.study in _names(config.study.storage):
            continue  # a copy of that study goes on
        raise StudyError(
            f"{path}: holds the schedule of study {entry.study} in {entry.storage}; give this study another name"
            " (study.name), or move that file away"
        )


def _names(url: str) -> list[str]:
    """The studies in a storage; none where it cannot be read, which is said elsewhere."""
    with contextlib.suppress(StudyError):
        return list(optuna.get_all_study_names(open_storage(url, read_only=True)))
    return []


def with_known_scores(file: ScheduleFile, path: Path) -> ScheduleFile:
    """`file` with the held-out scores that a benchmark wrote into `path`, where its schedules are the same."""
    try:
        before = load_schedule_file(path)
    except ScheduleError:
        return file
    if before.model.weights != file.model.weights:
        return file
    points = {name: _known_ones(entries, before.points.get(name, {})) for name, entries in file.points.items()}
    return file.model_copy(update={"schedules": _known_ones(file.schedules, before.schedules), "points": points})


def _known_ones(entries: Mapping[str, Entry], before: Mapping[str, Entry]) -> dict[str, Entry]:
    """`entries` by target, each replaced by that of `before` where this differs by its held-out score alone."""
    return {
        target: before[target]
        if target in before and before[target].model_copy(update={"held_out": None}) == entry
        else entry
        for target, entry in entries.items()
    }


def as_csv(file: ScheduleFile) -> str:
    """The β table: one line a target and step, and point of a dial."""
    rows = ["point,target,step,beta" if file.points else "target,step,beta"]
    tables = {f"{name},": entries for name, entries in file.points.items()} or {"": file.schedules}
    for point, entries in tables.items():
        for target, entry in entries.items():
            rows += [f"{point}{target},{n},{beta}" for n, beta in enumerate(entry.betas, 1)]
    return "\n".join(rows) + "\n"


def as_json(file: ScheduleFile) -> str:
    return json_text(file.document())


def default_path(config: StudyConfig) -> Path:
    """Where `run` leaves the schedule file: beside a SQLite storage, else in the current folder."""
    database = sqlite_file(config.study.storage)
    return (Path() if database is None else database.parent) / f"{config.study.name}{SUFFIX}"

"""From a study to its schedule file (`schedopt.files.schedule_file` defines the format), and to β tables."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import BaseStorage
from pydantic import BaseModel, ValidationError

from schedopt.config import StudyConfig
from schedopt.errors import ScheduleError, StudyError
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
from schedopt.files.writing import json_text
from schedopt.outputs import OUTPUTS
from schedopt.rules import rule
from schedopt.search.study import study_name, summarize
from schedopt.storage.urls import shown, sqlite_file

REFINEMENT_KEYS = ("rule", "shift", "output", "residual", "peak_guard", "sigma")


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
            versions=attrs["versions"],
        )
    except ValidationError as error:
        raise ScheduleError(explain(error, f"study {name}", ScheduleFile)) from None
    except (KeyError, TypeError, AttributeError) as error:  # somebody edited the database
        raise StudyError(f"study {name}: its attributes are not as schedopt wrote them: {error!r}") from None


def _known(section: Mapping[str, Any], model: type[BaseModel]) -> dict[str, Any]:
    """The keys of a study's section that a schedule file has too; no mapping is none at all."""
    return {key: value for key, value in section.items() if key in model.model_fields and value != {}}


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


def entry_of(study: optuna.Study, url: str) -> Entry:
    """The selected schedule of a study of ours in the storage behind `url`.

    Raises:
        StudyError: it has no complete trial yet.
        ValidationError: it is no schedule that can be exported.
    """
    selected = summarize(study, "").selected
    if selected is None:
        raise StudyError(f"study {study.study_name}: it has no complete trial yet, so nothing to export")
    stored = study.user_attrs["config"]
    options = {key: stored["refinement"][key] for key in REFINEMENT_KEYS if key in stored["refinement"]}
    if OUTPUTS.find(options.get("output", "last")).bands and not selected.weights:
        options["output"] = "mean"  # the same, but a pass need not estimate all stems
    return Entry(
        **options,
        weights=selected.weights,
        seed=stored["study"]["seed"],
        family=stored["schedule"]["family"],
        params=selected.params,
        steps=len(selected.betas),
        betas=selected.betas,
        gains=stored["data"]["gains"],
        study=study.study_name,
        storage=shown(url),
        trial=selected.number,
        metric=stored["search"]["metric"],
        search=SearchScore(
            baseline=study.user_attrs["baseline"]["value"],
            value=selected.value,
            gain=selected.gain,
            excerpts=len(study.user_attrs["excerpts"]),
        ),
    )


def with_known_scores(file: ScheduleFile, path: Path) -> ScheduleFile:
    """`file` with the held-out scores that a benchmark wrote into `path`, where its schedules are the same."""
    try:
        before = load_schedule_file(path)
    except ScheduleError:
        return file
    if before.model.weights != file.model.weights:
        return file
    known = {
        target: before.schedules[target]
        for target, entry in file.schedules.items()
        if target in before.schedules and before.schedules[target].model_copy(update={"held_out": None}) == entry
    }
    return file.model_copy(update={"schedules": {**file.schedules, **known}})


def as_csv(file: ScheduleFile) -> str:
    """The β table: one line a target and step."""
    rows = ["target,step,beta"]
    for target, entry in file.schedules.items():
        rows += [f"{target},{n},{beta}" for n, beta in enumerate(entry.betas, 1)]
    return "\n".join(rows) + "\n"


def as_json(file: ScheduleFile) -> str:
    return json_text(file.document())


def default_path(config: StudyConfig) -> Path:
    """Where `run` leaves the schedule file: beside a SQLite storage, else in the current folder."""
    database = sqlite_file(config.study.storage)
    return (Path() if database is None else database.parent) / f"{config.study.name}{SUFFIX}"

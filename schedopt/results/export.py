"""Schedule files: the best schedule of a study in a form that outlives the study.

JSON, format version 1. `schedules` maps each target to its rule, options, family, parameters and β values
(cut to the steps that count); `model` says which weights they were searched with.
"""

from __future__ import annotations

import datetime
import json
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import BaseStorage

from schedopt.config import StudyConfig
from schedopt.errors import StudyError
from schedopt.search.storage import shown
from schedopt.search.study import FORMAT, study_name, summarize

SUFFIX = ".schedule.json"


def schedule_document(config: StudyConfig, storage: BaseStorage) -> dict[str, Any]:
    """The schedule file of a study file's studies, as a JSON document.

    Raises:
        StudyError: a study is not in the storage, or has no complete trial yet.
    """
    schedules: dict[str, Any] = {}
    model: dict[str, Any] = {}
    versions: dict[str, str] = {}
    for target in config.refinement.targets:
        study = load_study(storage, study_name(config, target), config.study.storage)
        schedules[target] = _schedule(study, config)
        attrs = study.user_attrs
        model = {**attrs["config"]["separator"], "fingerprint": attrs["separator"]}
        versions = attrs["versions"]
    return {
        "format": FORMAT,
        "kind": "schedopt schedule",
        "created": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "model": model,
        "schedules": schedules,
        "versions": versions,
    }


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


def _schedule(study: optuna.Study, config: StudyConfig) -> dict[str, Any]:
    best = summarize(study, "").best
    if best is None:
        raise StudyError(f"study {study.study_name}: it has no complete trial yet, so nothing to export")
    stored = study.user_attrs["config"]
    options = {key: stored["refinement"][key] for key in ("rule", "shift", "output", "peak_guard", "sigma")}
    return {
        **options,
        "seed": stored["study"]["seed"],
        "family": stored["schedule"]["family"],
        "params": best.params,
        "steps": len(best.betas),
        "betas": list(best.betas),
        "gains": stored["data"]["gains"],
        "study": study.study_name,
        "storage": shown(config.study.storage),
        "trial": best.number,
        "metric": stored["search"]["metric"],
        "search": {
            "baseline": study.user_attrs["baseline"]["value"],
            "value": best.value,
            "gain": best.gain,
            "excerpts": len(study.user_attrs["excerpts"]),
        },
    }


def as_csv(document: dict[str, Any]) -> str:
    """The β table: one line a target and step."""
    rows = ["target,step,beta"]
    for target, schedule in document["schedules"].items():
        rows += [f"{target},{n},{beta}" for n, beta in enumerate(schedule["betas"], 1)]
    return "\n".join(rows) + "\n"


def as_toml(document: dict[str, Any]) -> str:
    """The β table: one table a target."""
    parts = [
        f'[{target}]\nrule = "{schedule["rule"]}"\nbetas = {_toml_list(schedule["betas"])}\n'
        for target, schedule in document["schedules"].items()
    ]
    return "\n".join(parts)


def _toml_list(values: Sequence[float]) -> str:
    return "[" + ", ".join(repr(float(value)) for value in values) + "]"


def as_json(document: dict[str, Any]) -> str:
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def default_path(config: StudyConfig) -> Path:
    """Where `run` leaves the schedule file: beside a SQLite storage, else in the current folder."""
    url = config.study.storage
    folder = Path(url.removeprefix("sqlite:///")).parent if url.startswith("sqlite:///") else Path()
    return folder / f"{config.study.name}{SUFFIX}"


def write_text(path: Path, text: str) -> None:
    """Write `text` whole or not at all.

    Raises:
        StudyError: the file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except OSError as error:
        raise StudyError(f"{path}: cannot be written: {error.strerror}") from None

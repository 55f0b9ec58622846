"""The page `/listen/STUDY`: the audio of a study's trials, each trial's four sounds in one player."""

from __future__ import annotations

import re

import optuna
from bottle import HTTPResponse
from optuna.artifacts import get_all_artifact_meta
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial

from schedopt.errors import DeletedError
from schedopt.view.report.html import render
from schedopt.view.report.page import Clip, Page, Section, Sound
from schedopt.view.trials import named_trials

MOST = 10
"""Trials on the page."""


def listen_page(storage: BaseStorage, study_id: int) -> str | HTTPResponse:
    """HTML: the selected and the highest trial, then others that have audio, by score. Costs no pass."""
    try:
        return _listen_page(storage, study_id)
    except DeletedError:
        return HTTPResponse("there is no such study\n", 404, **{"Content-Type": "text/plain; charset=utf-8"})


def _listen_page(storage: BaseStorage, study_id: int) -> str:
    name = storage.get_study_name_from_id(study_id)
    study = optuna.load_study(study_name=name, storage=storage)
    trials = study.get_trials(deepcopy=False)
    named = named_trials(study, trials)
    first = {trial.number for trial in named.values()}
    others = sorted((t for t in trials if t.values and t.number not in first), key=lambda t: -t.values[0])
    shown = {**named, **{f"trial {trial.number}": trial for trial in others}}
    clips = [clip for label, trial in shown.items() if (clip := _clip(storage, study_id, label, trial))]
    missing = () if clips else ("no trial of this study has audio; [store] audio in the study file keeps some",)
    section = Section("listen", "", clips=tuple(clips[:MOST]), missing=missing)
    return render(
        Page(f"Study {name}", "the same seconds of the same excerpt for every trial", (section,), media="'self'")
    )


def _clip(storage: BaseStorage, study_id: int, label: str, trial: FrozenTrial) -> Clip | None:
    found = sorted(get_all_artifact_meta(trial, storage=storage), key=lambda meta: meta.filename)
    # TARGET-2-one-pass.flac, see `schedopt.search.audio`.
    names = [re.search(r"-\d-(.*)\.flac$", meta.filename) for meta in found]
    sounds = tuple(
        Sound(name[1].replace("-", " "), f"/artifacts/{study_id}/{trial._trial_id}/{meta.artifact_id}")
        for meta, name in zip(found, names, strict=True)
        if name is not None
    )
    if not sounds:
        return None
    gain = f", {trial.user_attrs['gain']:+.3f} dB over one pass" if "gain" in trial.user_attrs else ""
    return Clip(f"{label[0].upper()}{label[1:]}{gain}", sounds)

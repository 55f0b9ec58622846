"""The notes (Markdown) on a study and on its named trials. One that a person has edited is never written over."""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, cast

import optuna
from optuna.artifacts import get_all_artifact_meta
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial
from optuna_dashboard import get_note, save_note

from schedopt.search.provenance import lines, provenance
from schedopt.search.summary import line_name, summarize
from schedopt.view.trials import explanation, scored

OURS = "schedopt:notes"
"""System attribute of a study: digests of the notes written here, by trial id (or `study`)."""

STUDY = "study"


def write_notes(study: optuna.Study, named: Mapping[str, FrozenTrial], storage: str) -> None:
    """Write the notes on the study and on its `named_trials`; trials that were named before lose theirs.

    `storage` is its URL as shown to people, without a password.
    """
    texts = {STUDY: study_note(study, named, storage)}
    texts |= {str(trial._trial_id): trial_note(study, name, trial) for name, trial in named.items()}
    before: dict[str, str] = study._storage.get_study_system_attrs(study._study_id).get(OURS, {})
    after = dict(before)
    for noted in {**texts, **before}:
        target: Any = study if noted == STUDY else _NotedTrial(study, int(noted))
        there, text = get_note(target), texts.get(noted, "")
        # An edited note is its editor's: neither changed nor removed.
        if there != text and (not there or _digest(there) == before.get(noted)):
            save_note(target, text)
            after[noted] = _digest(text)
        if not text:
            after.pop(noted, None)
    if after != before:
        study._storage.set_study_system_attr(study._study_id, OURS, cast(Any, after))


def study_note(study: optuna.Study, named: Mapping[str, FrozenTrial], storage: str) -> str:
    """Baseline, what was found, how to resume, and the study's settings."""
    attrs, summary = study.user_attrs, summarize(study, "")
    same = f"STUDY.toml --storage {shlex.quote(storage)}"
    same += "".join(f" --set {shlex.quote(override)}" for override in attrs.get("overrides", ()))
    found = [f"## {_code(study.study_name)}", ""]
    if "baseline" in attrs:
        found += [
            f"- one pass (uniform baseline): {attrs['baseline']['value']:.3f} dB",
            *([] if summary.gain_over_zeros is None else [f"- β = 0, same options: {summary.zeros:.3f} dB"]),
            f"- {summary.line_name}: {summary.line:.3f} dB",
            f"- scored on {len(attrs['excerpts'])} excerpts; the held-out tracks are not among them",
        ]
    found += [f"- {name}: {scored(study, trial)}" for name, trial in named.items()]
    return "\n".join(
        [
            *found,
            "",
            explanation(study, summary),
            *_listen(study, named.values()),
            "",
            "With the study's file as `STUDY.toml`:",
            "",
            "| to | command |",
            "|---|---|",
            f"| resume | {_code(f'schedopt run {same}')} |",
            f"| export the selected trial's schedule | {_code(f'schedopt export {same} -o FILE')} |",
            "| measure it on held-out tracks | `schedopt benchmark FILE` |",
            "",
            "| setting | value |",
            "|---|---|",
            *(
                f"| {key} | {_code(value)} |"
                for key, value in lines(provenance(study)).items()
                if "." in key and value not in ("–", "{}", "")
            ),
            "",
        ]
    )


def trial_note(study: optuna.Study, name: str, trial: FrozenTrial) -> str:
    """A named trial's schedule and its gain."""
    attrs, references = trial.user_attrs, study.user_attrs
    found = [
        f"## The {name} of {_code(study.study_name)}",
        "",
        f"- β: {_code(' '.join(f'{beta:g}' for beta in attrs['betas']))}",
        f"- score: {scored(study, trial)}",
    ]
    if "line" in references:
        found.append(f"- over {line_name(study)}: {trial.values[0] - references['line']['value']:+.3f} dB")
    found += [
        f"- passes per excerpt: {len(attrs['betas']) + 1}",
        "",
        "Its score is of the excerpts that were searched on, so it is biased upwards: `schedopt benchmark` measures the"
        " schedule on held-out tracks.",
    ]
    return "\n".join([*found, *_listen(study, [trial]), ""])


def _listen(study: optuna.Study, trials: Iterable[FrozenTrial]) -> list[str]:
    """A link to the page of `listen.py`, where one of `trials` has audio."""
    if not any(get_all_artifact_meta(trial, storage=study._storage) for trial in trials):
        return []
    return ["", f"[Listen: mixture, one pass, refined and reference in one player](/listen/{study._study_id})"]


@dataclass(frozen=True)
class _NotedTrial:
    """What optuna-dashboard asks of a trial with a note. `optuna.Trial` would ask the sampler for parameters."""

    study: optuna.Study
    _trial_id: int

    @property
    def storage(self) -> BaseStorage:
        return self.study._storage


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _code(text: str) -> str:
    """`text` from outside as a code span, also within a table: shown as it stands."""
    plain = " ".join(text.split()).replace("`", "'").replace("|", "\\|")
    return f"`{plain}`"

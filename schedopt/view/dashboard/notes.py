"""The notes (Markdown) on a study and on its best trial. One that a person has edited is never written over."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any, cast

import optuna
from optuna.artifacts import get_all_artifact_meta
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial
from optuna_dashboard import get_note, save_note

from schedopt.search.study import flat

OURS = "schedopt:notes"
"""System attribute of a study: digests of the notes written here, by trial id (or `study`)."""

STUDY = "study"


def write_notes(study: optuna.Study, best: FrozenTrial | None, storage: str) -> None:
    """Write the notes on the study and on its best trial; a former best trial loses its note.

    `storage` is its URL as shown to people, without a password.
    """
    texts = {STUDY: study_note(study, best, storage)}
    if best is not None:
        texts[str(best._trial_id)] = trial_note(study, best)
    before: dict[str, str] = study._storage.get_study_system_attrs(study._study_id).get(OURS, {})
    after = dict(before)
    for place in {**texts, **before}:
        target: Any = study if place == STUDY else _NotedTrial(study, int(place))
        there, text = get_note(target), texts.get(place, "")
        # An edited note is its editor's: neither changed nor removed.
        if there != text and (not there or _digest(there) == before.get(place)):
            save_note(target, text)
            after[place] = _digest(text)
        if not text:
            after.pop(place, None)
    if after != before:
        study._storage.set_study_system_attr(study._study_id, OURS, cast(Any, after))


def study_note(study: optuna.Study, best: FrozenTrial | None, storage: str) -> str:
    """Baseline, what was found, how to go on, and the study's settings."""
    attrs = study.user_attrs
    settings = flat(attrs["config"])
    lines = [f"## {_code(study.study_name)}", ""]
    if "baseline" in attrs:
        lines += [
            f"- one pass (uniform baseline): {attrs['baseline']['value']:.3f} dB",
            f"- the authors' line n/N: {attrs['line']['value']:.3f} dB",
            f"- scored on {len(attrs['excerpts'])} excerpts; the held-out tracks are not among them",
        ]
    if best is not None:
        lines.append(f"- best so far: trial {best.number}, {best.user_attrs['gain']:+.3f} dB over one pass")
    lines += [
        "",
        "With the study's file as `STUDY.toml`:",
        "",
        "| to | command |",
        "|---|---|",
        f"| go on | {_code(f'schedopt run STUDY.toml --storage {storage}')} |",
        f"| export the best schedule | {_code(f'schedopt export STUDY.toml --storage {storage} -o FILE')} |",
        "| test it on held-out tracks | `schedopt benchmark FILE` |",
        "",
        "| setting | value |",
        "|---|---|",
        *(f"| `{key}` | {_code(_plain(value))} |" for key, value in settings.items() if value not in (None, {}, "")),
    ]
    return "\n".join(lines) + "\n"


def trial_note(study: optuna.Study, best: FrozenTrial) -> str:
    """The best trial's schedule and what it gains."""
    attrs, references = best.user_attrs, study.user_attrs
    lines = [
        f"## The best schedule of {_code(study.study_name)} so far",
        "",
        f"- β: {_code(' '.join(f'{beta:g}' for beta in attrs['betas']))}",
        f"- score: {best.values[0]:.3f} dB, {attrs['gain']:+.3f} dB over one pass",
    ]
    if "line" in references:
        lines.append(f"- over the authors' line n/N: {best.values[0] - references['line']['value']:+.3f} dB")
    lines += [
        f"- passes an excerpt: {attrs['steps'] + 1}",
        "",
        "It was chosen on these excerpts, which flatters it; `schedopt benchmark` says what it gains on others.",
    ]
    if get_all_artifact_meta(best, storage=study._storage):
        lines += ["", "Below: the same seconds as mixture, after one pass, refined, and the true stem."]
    return "\n".join(lines) + "\n"


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


def _plain(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _code(text: str) -> str:
    """`text` from outside as a code span, also within a table: shown as it stands."""
    plain = " ".join(text.split()).replace("`", "'").replace("|", "\\|")
    return f"`{plain}`"

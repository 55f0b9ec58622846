"""Which settings, versions, data and weights a stored study's trials came from, and how two studies differ."""

from __future__ import annotations

from typing import Any

import optuna

from schedopt.search.study import flat, is_ours

KEYS = ("separator", "weights", "optimised", "data", "config", "versions", "excerpts", "left_out")
"""Study attributes that say it, see `schedopt.search.study`."""


def provenance(study: optuna.Study) -> dict[str, Any]:
    """What the study was made with, and `other_versions`: trials by number that ran under other versions. Nothing is
    known of a study that schedopt did not make."""
    if not is_ours(study):
        return dict.fromkeys(KEYS) | {"other_versions": {}}
    attrs = study.user_attrs
    others = {
        str(trial.number): trial.user_attrs["versions"]
        for trial in study.get_trials(deepcopy=False)
        if "versions" in trial.user_attrs
    }
    return {key: attrs.get(key) for key in KEYS} | {"other_versions": others}


def lines(found: dict[str, Any]) -> dict[str, str]:
    """`provenance` as name → value: fingerprints, settings under the study file's keys, then versions."""
    shown = {
        "weights fingerprint": _plain(found["weights"]),
        "model fingerprint": _plain(found["separator"]),
        "cheaper passes by": ", ".join(found["optimised"] or ()) or "–",
        "excerpts fingerprint": _plain(found["data"]),
        "excerpts": str(len(found["excerpts"] or ())),
    }
    shown |= {key: _plain(value) for key, value in flat(found["config"] or {}).items()}
    shown |= {f"version of {name}": number for name, number in (found["versions"] or {}).items()}
    if found["other_versions"]:
        shown["trials under other versions"] = ", ".join(found["other_versions"])
    return shown


def differing(first: dict[str, Any], second: dict[str, Any]) -> dict[str, tuple[str, str]]:
    """The `lines` in which two provenances differ; a dash where one has none."""
    before, after = lines(first), lines(second)
    return {
        name: (before.get(name, "–"), after.get(name, "–"))
        for name in {**before, **after}
        if before.get(name) != after.get(name)
    }


def _plain(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else "–" if value is None else str(value)

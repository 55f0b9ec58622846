"""Studies in their storage: names, attributes, creation, the check before resuming, and what they hold.

A study is an ordinary Optuna study. Study attributes: `schedopt` (format version), `config`, `overrides`, `versions`,
`separator`, `weights` and `data` (fingerprints), `optimised` (settings for cheaper passes), `excerpts`, `tracks`,
`left_out`, `baseline`, `line` and `zeros` (mean score by step, dB), `references` (what scoring these three cost),
`ending` (why it ended before it had its trials).
Trial attributes: `betas` (of the steps that count), `steps` (the step whose score counts), `gain` over the baseline in
dB, `by_step`, `spread` and `gain_by_track` (see `Outcome.attributes`), `weights` of a mixer by target, `output` where
it was chosen, `passes_run`, `passes_saved`, `seconds`, `role` (`baseline` or `line`), `other` (value, gain, by_step,
spread, gain_by_track in the second metric of two; also in `zeros`, `line`, `baseline`), `failure` (why a trial failed),
`owner` (machine and process), `retry_of` (the trial that it tries again), `versions` (those that are not the study's).
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import platform
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any, TypeVar

import optuna
from optuna.storages import BaseStorage

import schedopt
from schedopt.config import StudyConfig, make_config
from schedopt.errors import ConfigError, DeletedError, StudyError
from schedopt.search.dial import search_of
from schedopt.search_options import PASSES, criteria, directions
from schedopt.separators import Separator
from schedopt.types import Excerpt

Read = TypeVar("Read")

log = logging.getLogger("schedopt")

FORMAT = 1
PACKAGES = ("demucs", "mir_eval", "musdb", "numpy", "optuna", "scipy", "torch")

FREE_KEYS = {
    "study": ("name", "storage", "trials", "workers"),
    "separator": ("device", "optimise"),
    "search": ("stop",),
    "store": ("memory", "disk", "folder", "audio", "artifacts"),
}
"""Keys that may differ when a study is resumed: they change where and how long it runs, not what a trial is."""


def study_name(config: StudyConfig, target: str) -> str:
    """Name in the storage: the file's, with the target added where one file makes several studies."""
    name = config.study.name
    return name if len(config.refinement.targets) == 1 else f"{name}-{target}"


def identity(config: StudyConfig, target: str, separator: Separator, excerpts: Sequence[Excerpt]) -> dict[str, Any]:
    """What makes a study this study, as attributes: its settings, and fingerprints of model and data.

    `overrides` are kept for the commands in notes, but for those of `FREE_KEYS` (a storage's URL may hold a password).
    """
    settings = config.model_dump(mode="json")
    free = {f"{section}.{key}" for section, keys in FREE_KEYS.items() for key in keys} - {"study.name"}
    for section, keys in FREE_KEYS.items():
        for key in keys:
            settings[section].pop(key)
    if not config.search.objectives:
        # As in studies of earlier versions, which resume.
        settings["search"].pop("objectives")
    settings["refinement"]["target"] = target
    data = hashlib.sha256("".join(e.fingerprint for e in excerpts).encode()).hexdigest()[:16]
    return {
        "config": settings,
        "overrides": [one for one in config.overrides if _key(one) not in free],
        "separator": separator.fingerprint,
        "weights": separator.weights,
        "optimised": list(separator.optimised),
        "data": data,
    }


def _key(override: str) -> str:
    """The key of `section.key=value`, without the spaces that TOML allows around its parts."""
    return ".".join(part.strip() for part in override.partition("=")[0].split("."))


def versions() -> dict[str, str]:
    """Versions of Python, schedopt and the packages that a value may depend on."""
    found = {"python": platform.python_version(), "schedopt": schedopt.__version__}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "absent"
    return found


def create_or_load(
    storage: BaseStorage,
    name: str,
    wanted: Mapping[str, Any],
    sampler: optuna.samplers.BaseSampler,
    pruner: optuna.pruners.BasePruner,
) -> optuna.Study:
    """The study `name`, made now or checked against `wanted` (see `identity`).

    Raises:
        StudyError: a study of this name is there and differs; the message holds the differing lines.
    """
    study = optuna.create_study(
        storage=storage,
        study_name=name,
        directions=directions(wanted["config"]["search"]),
        sampler=sampler,
        pruner=pruner,
        load_if_exists=True,
    )
    if "schedopt" not in study.user_attrs and study.get_trials(deepcopy=False):
        raise StudyError(f"study {name}: it was not made by schedopt; choose another study.name")
    describe(study, wanted)
    return study


def describe(study: optuna.Study, wanted: Mapping[str, Any]) -> None:
    """Keep in `study` what it is (see `identity`), or check that it is this.

    Raises:
        StudyError: it is another study of ours; the message holds the differing lines.
    """
    if "schedopt" in study.user_attrs:
        check_same(study, wanted)
        return
    # The mark goes last: a study that was cut off while it was made is simply made again.
    for key, value in {**wanted, "versions": versions(), "schedopt": FORMAT}.items():
        study.set_user_attr(key, value)
    name_metrics(study)


def is_ours(study: optuna.Study) -> bool:
    """Whether schedopt made the study: other programs may keep theirs in the same database."""
    return "schedopt" in study.user_attrs and isinstance(study.user_attrs.get("config"), Mapping)


def read_studies(
    storage: BaseStorage, read: Callable[[optuna.Study], Read], names: Iterable[str] | None = None
) -> list[Read]:
    """What `read` makes of the studies `names`, by default all in `storage`; those deleted meanwhile are left out."""
    found = []
    for name in optuna.get_all_study_names(storage) if names is None else names:
        with contextlib.suppress(DeletedError):
            found.append(read(optuna.load_study(study_name=name, storage=storage)))
    return found


def config_of(study: optuna.Study, url: str) -> StudyConfig:
    """The study file that `study` of ours was made by, as it is kept in the storage behind `url`.

    Sampler and pruner are the defaults: those of a study that a program made are not in any file.

    Raises:
        StudyError: schedopt did not make the study, or its attributes were changed.
    """
    if not is_ours(study):
        raise StudyError(f"study {study.study_name}: it was not made by schedopt")
    stored = study.user_attrs["config"]
    try:
        search = {
            key: value for key, value in stored["search"].items() if key.split("_")[0] not in ("sampler", "pruner")
        }
        named = {**stored["study"], "name": study.study_name, "storage": url}
        return make_config({**stored, "search": search, "study": named})
    except DeletedError:
        raise
    except (ConfigError, KeyError, TypeError, AttributeError) as error:
        said = " ".join(str(error).split())
        raise StudyError(f"study {study.study_name}: its attributes are not as schedopt wrote them: {said}") from None


def name_metrics(study: optuna.Study) -> None:
    """Name what `study` maximises (and minimises) for Optuna's plots and dashboard.

    Raises:
        StudyError: it has another number of objectives: it was made by another program, or edited.
    """
    names = [
        "passes per excerpt" if name == PASSES else f"{name.upper().replace('_', '-')}, dB"
        for name in criteria(search_of(study))
    ]
    if len(names) != len(study.directions):
        raise StudyError(
            f"study {study.study_name}: it has {len(study.directions)} objectives, not {len(names)}; choose another"
            " study.name"
        )
    with warnings.catch_warnings():
        # Experimental in Optuna since 3.2.
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        study.set_metric_names(names)


def check_same(study: optuna.Study, wanted: Mapping[str, Any]) -> None:
    """Raise a `StudyError` that holds the differing lines where the stored `study` is not the `wanted` one."""
    differing = _differences(study.user_attrs, wanted)
    if differing:
        raise StudyError(
            f"study {study.study_name} is there already with other settings ({'; '.join(differing)});"
            " restore them or choose another study.name"
        )


def changed_versions(study: optuna.Study) -> dict[str, str]:
    """Versions here that are not those the study was made with; none for a study that schedopt did not make."""
    stored = study.user_attrs.get("versions")
    return {} if stored is None else {name: now for name, now in versions().items() if stored.get(name) != now}


PLACES = {"data.source": "data", "separator.model": "separator"}
"""Settings that only say where something lies, and the fingerprint that says whether it is the same thing."""


def _differences(stored: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    kept = stored.get("config")
    before, now = flat(kept if isinstance(kept, Mapping) else {}), flat(wanted["config"])
    # The same songs or weights in another folder, or on another machine, are the same.
    same_things = {key for key, mark in PLACES.items() if stored.get(mark) == wanted[mark]}
    lines = [
        f"{key}: was {before.get(key)!r}, is {now.get(key)!r}"
        for key in sorted({*before, *now} - same_things)
        if before.get(key) != now.get(key)
    ]
    for key, what in (("separator", "the model's weights or settings"), ("data", "the excerpts' samples")):
        if stored.get(key) != wanted[key]:
            lines.append(f"{what}: fingerprint was {stored.get(key)}, is {wanted[key]}")
    return lines


def flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings as `section.key` → value."""
    found: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping) and value:
            found |= flat(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = value
    return found

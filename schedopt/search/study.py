"""Studies in their storage: names, attributes, creation, the check before resuming, and what they hold.

A study is an ordinary Optuna study. Study attributes: `schedopt` (format version), `config`, `overrides`, `versions`,
`separator`, `weights` and `data` (fingerprints), `optimised` (settings for cheaper passes), `excerpts`, `tracks`,
`left_out`, `baseline`, `line` and `zeros` (mean score by step, dB), `references` (what scoring these three cost),
`ending` (why it ended before it had its trials).
Trial attributes: `betas` (cut to the steps that count), `steps`, `gain` over the baseline in dB, `by_step`, `spread`
and `gain_by_track` (see `Outcome.attributes`), `weights` of a mixer by target, `output` where it was chosen,
`passes_run`, `passes_saved`, `seconds`, `role` (`baseline` or `line`), `other` (value, gain, by_step, spread,
gain_by_track in the second metric of two; also in `zeros`, `line`, `baseline`), `failure` (why a trial failed), `owner`
(machine and process), `retry_of` (the trial that it tries again), `versions` (those that are not the study's).
"""

from __future__ import annotations

import hashlib
import logging
import platform
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import optuna
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState

import schedopt
from schedopt.config import StudyConfig, make_config
from schedopt.errors import ConfigError, StudyError, printable
from schedopt.outputs import Weights
from schedopt.search.dial import Point, dial_front, dial_points, search_of, shown
from schedopt.search.selection import chosen, highest, reason
from schedopt.search_options import PASSES, criteria, dial, directions
from schedopt.separators import Separator
from schedopt.types import Excerpt

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
    except (ConfigError, KeyError, TypeError, AttributeError) as error:
        said = " ".join(str(error).split())
        raise StudyError(f"study {study.study_name}: its attributes are not as schedopt wrote them: {said}") from None


def name_metrics(study: optuna.Study) -> None:
    """Name what `study` maximises (and minimises) for Optuna's plots and dashboard."""
    names = [
        "passes per excerpt" if name == PASSES else f"{name.upper().replace('_', '-')}, dB"
        for name in criteria(search_of(study))
    ]
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


@dataclass(frozen=True)
class NamedTrial:
    """The selected trial, which is exported, or the highest one (`schedopt.search.selection`): score and gain in dB.

    `weights`: those of a mixer by target, where they are not the mean output's. `output`: the chosen one, of several.
    """

    number: int
    value: float
    gain: float
    betas: tuple[float, ...]
    params: dict[str, float]
    weights: dict[str, Weights] = field(default_factory=dict)
    output: str | None = None

    @classmethod
    def of(cls, trial: FrozenTrial | None) -> NamedTrial | None:
        if trial is None:
            return None
        attrs = trial.user_attrs
        return cls(
            trial.number,
            trial.values[0],
            attrs["gain"],
            tuple(attrs["betas"]),
            dict(trial.params),
            weights_of(trial),
            attrs.get("output"),
        )

    def document(self) -> dict[str, Any]:
        """Its numbers; weights and output only where there are some."""
        found = asdict(self) | {"betas": list(self.betas)}
        return {name: value for name, value in found.items() if name not in ("weights", "output") or value}


def weights_of(trial: FrozenTrial) -> dict[str, Weights]:
    """Those of a mixer by target; none where the mean output is as good, or the output takes none."""
    return {stem: tuple(map(tuple, rows)) for stem, rows in trial.user_attrs.get("weights", {}).items()}


@dataclass(frozen=True)
class Trade:
    """A point of the Pareto front: the highest score (dB) that so many passes have bought."""

    passes: int
    value: float
    gain: float
    betas: tuple[float, ...]


@dataclass(frozen=True)
class Summary:
    """A study in numbers, read from its storage alone: no model, no data.

    `baseline` is the score of one pass, `line` that of the authors' straight line; dB. `passes_run` were run for
    these references and by the trials, `passes_saved` were shared with earlier ones; `seconds` likewise. `reason`: why
    the highest trial is not selected, where it is not. `ending`: why a study has ended before it had the trials asked
    for. Of a `foreign` study, which another program made, the trials are counted, and nothing else is known.
    """

    study: str
    storage: str
    complete: int
    pruned: int
    failed: int
    running: int
    selected: NamedTrial | None
    highest: NamedTrial | None
    baseline: float | None
    line: float | None
    passes_run: int
    passes_saved: int
    seconds: float
    front: tuple[Trade, ...] = ()
    dial: tuple[Point, ...] = ()
    foreign: bool = False
    reason: str | None = None
    ending: str | None = None

    @property
    def finished(self) -> int:
        return self.complete + self.pruned

    def document(self) -> dict[str, Any]:
        """The document of `--json` (its keys are a contract)."""
        return {
            "study": self.study,
            "storage": self.storage,
            "trials": {
                "complete": self.complete,
                "pruned": self.pruned,
                "failed": self.failed,
                "running": self.running,
            },
            "best": self.selected and self.selected.document(),
            "highest": self.highest and self.highest.document(),
            **({"reason": self.reason} if self.reason else {}),
            "baseline": {"value": self.baseline},
            "line": {"value": self.line},
            "passes": {"run": self.passes_run, "saved": self.passes_saved},
            "seconds": self.seconds,
            **({"front": [asdict(trade) for trade in self.front]} if self.front else {}),
            **({"dial": [asdict(point) for point in self.dial]} if self.dial else {}),
            **({"foreign": True} if self.foreign else {}),
            **({"ending": self.ending} if self.ending else {}),
        }


EDITED = (KeyError, TypeError, AttributeError, ValueError, IndexError)
"""What comes of attributes that somebody edited in the database."""


def summarize(study: optuna.Study, storage: str) -> Summary:
    """Read a study's numbers; `storage` is the URL to show (without a password).

    A study whose attributes were edited so that they cannot be read is shown like one of another program, with a note.
    """
    ours = is_ours(study)
    try:
        return _summary(study, storage, ours)
    except EDITED as error:
        if not ours:
            raise
        log.warning("study %s: its attributes are not as schedopt wrote them: %r", printable(study.study_name), error)
        return _summary(study, storage, False)


def _summary(study: optuna.Study, storage: str, ours: bool) -> Summary:
    trials = study.get_trials(deepcopy=False)
    attrs = study.user_attrs if ours else {}

    metrics = dial(search_of(study)) if ours else None
    # What the references cost is part of the study's cost, though no trial paid it.
    spent = [attrs.get("references", {}), *(trial.user_attrs for trial in trials)] if ours else []

    def count(state: TrialState) -> int:
        return sum(trial.state == state for trial in trials)

    return Summary(
        study=study.study_name,
        storage=storage,
        complete=count(TrialState.COMPLETE),
        pruned=count(TrialState.PRUNED),
        failed=count(TrialState.FAIL),
        running=count(TrialState.RUNNING),
        selected=NamedTrial.of(selected_trial(study, trials)) if ours else None,
        highest=NamedTrial.of(highest(trials)) if ours else None,
        baseline=attrs.get("baseline", {}).get("value"),
        line=attrs.get("line", {}).get("value"),
        passes_run=_total(spent, "passes_run"),
        passes_saved=_total(spent, "passes_saved"),
        seconds=round(_total(spent, "seconds"), 3),
        front=_front(trials) if ours and PASSES in criteria(search_of(study)) else (),
        dial=shown(dial_front(study, trials), metrics) if metrics else (),
        foreign=not ours,
        reason=None if metrics or not ours else reason(trials, zeros_by_track(study)),
        ending=attrs.get("ending") or None,
    )


def zeros_by_track(study: optuna.Study) -> list[float] | None:
    """Gain of each track with β = 0, dB, where the study selects by the lower bound of the gain over it."""
    search = search_of(study)
    by_bound = search.get("choose") == "lower-bound" and PASSES not in criteria(search)
    return study.user_attrs.get("zeros", {}).get("gain_by_track") if by_bound else None


def selected_trial(study: optuna.Study, trials: Sequence[FrozenTrial]) -> FrozenTrial | None:
    """The selected one of all complete `trials` of `study`: of a dial, its point `balanced`."""
    if dial(search_of(study)):
        return dial_points(study, trials).get("balanced")
    return chosen(trials, zeros_by_track(study))


def _front(trials: Sequence[FrozenTrial]) -> tuple[Trade, ...]:
    """What one more pass buys: for every number of passes the highest trial, where it beats all with fewer."""
    points = sorted(
        (t for t in trials if t.state == TrialState.COMPLETE), key=lambda t: (t.values[1], -t.values[0], t.number)
    )
    front: list[Trade] = []
    for trial in points:
        if not front or trial.values[0] > front[-1].value:
            attrs = trial.user_attrs
            front.append(Trade(int(trial.values[1]), trial.values[0], attrs["gain"], tuple(attrs["betas"])))
    return tuple(front)


def _total(spent: Sequence[Mapping[str, Any]], key: str) -> Any:
    return sum(attributes.get(key, 0) for attributes in spent)

"""Study files: TOML in, a checked and frozen `StudyConfig` out. The models below own every default.

`--set section.key=value` on the command line beats the file, the file beats the defaults. An unknown key or
a value out of range is a `ConfigError` that names the file, the key and the mend.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    Strict,
    ValidationError,
    field_validator,
    model_validator,
)

from schedopt.data.settings import ExcerptLength, Stem, StemSums, Targets
from schedopt.errors import ConfigError, ScheduleError, shown
from schedopt.files.explain import explain, nearest
from schedopt.files.names import checked_name
from schedopt.files.reading import read_text
from schedopt.outputs import OUTPUTS, Weights
from schedopt.refinement import AUTO, CHOSEN_FROM, Refinement, RefinementOptions
from schedopt.schedules import DEFAULT_RESOLUTION, FAMILIES, Family, family, narrowed
from schedopt.search_options import SearchOptions
from schedopt.storage.urls import DEFAULT_STORAGE, anchored

if sys.version_info >= (3, 11):
    import tomllib
else:  # pragma: no cover
    import tomli as tomllib

FINEST = 1e-6
"""A resolution below this is no different from none."""

LARGEST_FILE = 65_536
"""Bytes of a study file; one with every key and a comment on each has 5,000. A million keys would take 20 s to read."""


def _pair(value: Any) -> Any:
    if not isinstance(value, (list, tuple)) or len(value) != 2:
        raise ValueError("a range is a list of two numbers, [low, high]")
    return value


Name = Annotated[str, AfterValidator(checked_name)]
# Strict where it counts, at the numbers; a TOML list is no Python tuple.
Range = Annotated[tuple[float, float], Strict(False), BeforeValidator(_pair)]


class Section(BaseModel):
    """Strict: `true` is no number, `"5"` neither, and no number is infinite."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False, validate_default=True)


class StudySection(Section):
    name: Name = Field(description="name of the study in its storage; several targets add their names to it")
    storage: str = Field(DEFAULT_STORAGE, description="any URL that Optuna's RDBStorage takes")
    trials: int = Field(60, ge=1, le=10**6, description="finished trials (complete or pruned) to reach")
    seed: int = Field(0, ge=0, lt=2**32, description="seeds the sampler, the order of excerpts, shifts and noise")
    workers: int = Field(1, ge=1, le=1024, description="processes that search at the same time")


class DataSection(Section):
    source: str = Field("demo", description="demo | folder:PATH | musdb:PATH")
    # One segment of htdemucs (7.8 s, of which the next begins after 5.85 s), a shift of up to 0.5 s included.
    excerpt: ExcerptLength = Field(5.3, description='length of an excerpt in seconds, or "track" for whole tracks')
    excerpts_per_track: int = Field(1, ge=1, le=1000, description="excerpts cut from each track")
    tracks: int | None = Field(
        None,
        ge=1,
        description='at most so many tracks; "all" for all of them',
        json_schema_extra={"anyOf": [{"type": "integer", "minimum": 1}, {"const": "all"}], "default": "all"},
    )
    stems: StemSums = Field(
        default_factory=dict,
        description='[data.stems] stem = ["one", "another"]: stems of the data that add up to it, replaced by it',
    )
    gains: dict[Stem, float] = Field(
        default_factory=dict, description="weight of a stem in the mixture, by name; 1 where left out"
    )

    @field_validator("tracks", mode="before")
    @classmethod
    def _all_tracks(cls, value: Any) -> Any:
        return None if value == "all" else value

    @field_validator("gains")
    @classmethod
    def _gains_in_range(cls, value: dict[str, float]) -> dict[str, float]:
        for stem, gain in value.items():
            if not 0 <= gain <= 100:
                raise ValueError(f"gain of {stem} = {gain} is not within [0, 100]")
        return value


class SeparatorSection(Section):
    model: str = Field(
        "demo",
        min_length=1,
        description="demo | demucs name | hf://namespace/name | FILE.safetensors | folder of .th",
    )
    device: str = Field("auto", pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$", description="auto | cpu | cuda | mps")
    precision: Literal["auto", "float32", "tf32", "bfloat16"] = Field(
        "auto",
        description="auto takes bfloat16 where the hardware has it; tf32 (cuda) is PyTorch's default there, float32"
        " without it; results are exported in float32",
    )
    overlap: float = Field(0.25, ge=0, lt=1, description="share of a segment that overlaps the next one")
    optimise: bool = Field(
        False, description="on a CPU: measure once which settings make passes cheaper on this machine, and use them"
    )
    stems: StemSums = Field(
        default_factory=dict,
        description="[separator.stems] likewise, for a model that splits more finely than the data",
    )


class RefinementSection(Section, RefinementOptions):
    takes_auto: ClassVar[bool] = True

    output: str = Field(
        "last",
        description=f"{' | '.join(OUTPUTS)}: which estimates make the result; or {AUTO}: in every trial the best of"
        f" {', '.join(CHOSEN_FROM)}",
    )
    target: Targets = Field(
        "vocals", description='a stem, a list of stems (one study each), or "all" (one shared schedule)'
    )
    steps: int = Field(5, ge=1, le=100, description="N, the largest number of steps after the plain pass")
    choose_steps: bool = Field(True, description="take the best n ≤ steps of every trial")

    @model_validator(mode="after")
    def _reversed_tables_are_whole(self) -> RefinementSection:
        if self.reverse and self.choose_steps:
            raise ValueError("reverse = true goes with choose_steps = false: a part of a β_t table is another table")
        return self

    @property
    def outputs(self) -> tuple[str, ...]:
        """Those that a trial chooses from."""
        return CHOSEN_FROM if self.output == AUTO else (self.output,)

    def for_target(self, target: str, seed: int, weights: Weights | None = None) -> Refinement:
        """With `auto`, that of the last output to choose from."""
        if self.output == AUTO:
            return self.model_copy(update={"output": CHOSEN_FROM[-1]}).for_target(target, seed, weights)
        return super().for_target(target, seed, weights)

    @property
    def targets(self) -> tuple[str, ...]:
        """One study each: stems, or the single word `all`."""
        return (self.target,) if isinstance(self.target, str) else self.target


class ScheduleSection(Section):
    family: str = Field("linear", description=" | ".join(FAMILIES))
    resolution: float = Field(DEFAULT_RESOLUTION, ge=0, le=0.5, description="every β is rounded to a multiple of it")
    monotone: bool = Field(False, description="family free: β never falls")
    space: dict[str, Range] = Field(
        default_factory=dict,
        description="[schedule.space] parameter = [low, high] where the default does not suit",
    )

    @field_validator("resolution")
    @classmethod
    def _not_too_fine(cls, value: float) -> float:
        if 0 < value < FINEST:
            raise ValueError(f"it is at least {FINEST:g}, or 0 for none")
        return value

    @field_validator("family")
    @classmethod
    def _known_family(cls, value: str) -> str:
        return _one_of(value, FAMILIES, "family")


class StoreSection(Section):
    memory: float = Field(2.0, ge=0, le=4096, description="GiB of states that each process keeps in memory")
    disk: float = Field(4.0, ge=0, le=65536, description="GiB of states on disk, shared by processes; 0 for none")
    folder: str = Field("", description="folder of the states on disk; by default schedopt in the user's cache folder")
    audio: float = Field(
        4.0, ge=0, le=60, description="seconds of audio kept on each trial that became the best; 0 for none"
    )
    artifacts: str = Field("", description="folder of that audio; by default beside a SQLite database, else none")

    @field_validator("folder", "artifacts")
    @classmethod
    def _no_nul(cls, value: str) -> str:
        if "\0" in value:
            raise ValueError("it holds a NUL character, which no folder's name does")
        return value


class StudyConfig(Section):
    """One study file. Sections and keys are those of the TOML file."""

    study: StudySection
    data: DataSection = Field(default_factory=DataSection)
    separator: SeparatorSection = Field(default_factory=SeparatorSection)
    refinement: RefinementSection = Field(default_factory=RefinementSection)
    schedule: ScheduleSection = Field(default_factory=ScheduleSection)
    search: SearchOptions = Field(default_factory=SearchOptions)
    store: StoreSection = Field(default_factory=StoreSection)
    _overrides: tuple[str, ...] = PrivateAttr(())

    @property
    def overrides(self) -> tuple[str, ...]:
        """The `section.key=value` that it was loaded with."""
        return self._overrides

    @model_validator(mode="after")
    def _family_fits(self) -> StudyConfig:
        try:
            self.family()
        except ScheduleError as error:
            raise ValueError(str(error)) from None
        for stem, gain in self.data.gains.items():
            if gain == 0 and (stem in self.refinement.targets or "all" in self.refinement.targets):
                raise ValueError(f"data.gains.{stem} = 0 takes the target {stem} out of the mixture")
        return self

    @model_validator(mode="after")
    def _weights_are_fitted_for_one_metric(self) -> StudyConfig:
        if self.search.dial and any(OUTPUTS.find(name).bands for name in self.refinement.outputs):
            raise ValueError(
                f'refinement.output = "{self.refinement.output}" fits weights for one metric, so it does not go with'
                " two in search.objectives; take last, mean or wiener"
            )
        return self

    def family(self) -> Family:
        """The family of this study with its ranges."""
        made = family(self.schedule.family, self.refinement.steps, monotone=self.schedule.monotone)
        return narrowed(made, self.schedule.space)


def load_config(path: Path | str, overrides: Sequence[str] = ()) -> StudyConfig:
    """Read a study file. Relative paths in it become absolute: they start at the file's folder.

    Args:
        overrides: `section.key=value` each; the value is TOML, or a bare string.

    Raises:
        ConfigError: the file cannot be read, is not TOML, or holds a key or value that cannot be followed.

    >>> import schedopt
    >>> Path("doc.toml").write_text('study.name = "doc"', encoding="utf-8")
    18
    >>> schedopt.load_config("doc.toml", ["study.trials=9"]).study.trials
    9
    """
    path = Path(path)
    document = _read_toml(path)
    for override in overrides:
        _apply(document, override)
    config = make_config(document, shown(path), path.resolve().parent)
    config._overrides = tuple(overrides)
    return config


def make_config(document: Mapping[str, Any], where: str = "config", folder: Path | None = None) -> StudyConfig:
    """A checked config from nested dictionaries; `where` is named in errors, `folder` anchors relative paths.

    Numbers may be Python's, or scalars of numpy and torch; lists may be their arrays.

    Raises:
        ConfigError: as `load_config`.

    >>> import schedopt
    >>> schedopt.make_config({"study": {"name": "doc", "trails": 9}})
    Traceback (most recent call last):
    schedopt.errors.ConfigError: config: unknown key study.trails (did you mean trials?); known: name, storage, ...
    """
    try:
        config = StudyConfig.model_validate(_plain(document))
    except ValidationError as error:
        raise ConfigError(explain(error, where, StudyConfig)) from None
    except RecursionError:
        raise ConfigError(f"{where}: tables or lists are nested too deeply") from None
    try:
        return config if folder is None else _anchored(config, folder)
    except (OSError, ValueError) as error:
        raise ConfigError(f"{where}: it names a path that cannot be: {error}") from None


def _plain(value: Any) -> Any:
    """Scalars and arrays of numpy and torch as Python's own numbers and lists: strict checks know no others."""
    if isinstance(value, Mapping):
        return {key: _plain(part) for key, part in value.items()}
    if type(value) in (list, tuple):
        return type(value)(map(_plain, value))
    return value.tolist() if hasattr(value, "dtype") and hasattr(value, "tolist") else value


def _read_toml(path: Path) -> dict[str, Any]:
    text = read_text(path, LARGEST_FILE, "study file", ConfigError)
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # TOML's own are ValueErrors too
        raise ConfigError(f"{shown(path)}: not valid TOML: {error}") from None


def _apply(document: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    parts = [part.strip() for part in key.split(".")]
    if not equals or len(parts) < 2 or not all(parts):
        raise ConfigError(f"--set {override}: write section.key=value, for example --set study.trials=100")
    try:
        parsed = tomllib.loads(f"value = {text}")
    except (ValueError, RecursionError):
        parsed = {"value": text.strip()}
    value = parsed.pop("value")
    if parsed:
        raise ConfigError(f"--set {key}: more follows after the value, on a new line; write one --set for each key")
    table = document
    for part in parts[:-1]:
        table = table.setdefault(part, {})
        if not isinstance(table, dict):
            raise ConfigError(f"--set {override}: {part} is not a section")
    table[parts[-1]] = value


def _anchored(config: StudyConfig, folder: Path) -> StudyConfig:
    """Make relative paths absolute, so that a study means the same wherever the command runs."""
    kind, colon, path = config.data.source.partition(":")
    data = config.data
    if colon and kind in ("folder", "musdb"):
        data = data.model_copy(update={"source": f"{kind}:{_path(folder, path, 'data.source').resolve()}"})
    separator, model = config.separator, config.separator.model
    named = _path(folder, model, "separator.model")
    # A link keeps its name: in the hub's cache only the link ends in .safetensors.
    local = named.parent.resolve() / named.name
    is_path = model.endswith(".safetensors") or model.startswith((".", "/", "~")) or local.is_dir()
    if is_path and "://" not in model and model != "demo":
        separator = separator.model_copy(update={"model": str(local)})
    study = config.study.model_copy(update={"storage": anchored(config.study.storage, folder)})
    folders = {"folder": config.store.folder, "artifacts": config.store.artifacts}
    places = {key: str(_path(folder, name, f"store.{key}")) for key, name in folders.items() if name}
    store = config.store.model_copy(update=places)
    return config.model_copy(update={"study": study, "data": data, "separator": separator, "store": store})


def _path(folder: Path, name: str, key: str) -> Path:
    """`name` from `folder` on. Raises `ValueError` for the home of a user who is not there."""
    try:
        return folder / Path(name).expanduser()
    except RuntimeError:
        raise ValueError(f"{key} = {name!r}: there is no such user") from None


def _one_of(value: str, known: Mapping[str, Any], what: str) -> str:
    if value not in known:
        raise ValueError(f"there is no {what} {value!r}{nearest(value, known)}; there are {', '.join(known)}")
    return value

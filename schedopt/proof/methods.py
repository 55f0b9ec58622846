"""What a benchmark compares: the schedules of files, what else the same computing buys, and ceilings.

All of them are trajectories of the one engine, with another rule, other options or other β:

    baseline   one pass on the mixture: what Demucs gives a user today
    schedule   the schedules of one file
    shift      Demucs' shift trick, as many passes: remix with β = 0, every step shifted, mean of all estimates
    line       the authors' β_n = n/N, with their peak guard
    constant   the same β at every step with the schedule's own rule and options; its values are fixed here, in advance
    family     the selected schedule of each family that the study database holds (`schedopt.proof.families`)
    oracle     ceiling: the rule oracle along the line n/N; needs the true stems
    greedy     ceiling: per excerpt, the ratio with the best true SDR at every step (arXiv 2505.19534)
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

from schedopt.errors import ScheduleError
from schedopt.files.benchmark_file import Kind
from schedopt.files.schedule_file import SUFFIX, Entry, ScheduleFile
from schedopt.refinement import Refinement
from schedopt.schedules import Schedule, constant, line, zeros

Rival = Literal["shift", "line", "constant", "family"]

RIVALS: tuple[Rival, ...] = get_args(Rival)
CEILINGS: tuple[Kind, ...] = ("oracle", "greedy")
BASELINE = "one pass"

CONSTANTS = (0.2, 0.4, 0.6)
"""The β of the constant rivals; fixed before any held-out track was scored."""

GREEDY_RATIOS = tuple(n / 10 for n in range(10))
"""Ratios tried at each step by arXiv 2505.19534: 0, 0.1 … 0.9."""


@dataclass(frozen=True)
class Setting:
    """One method for one stem. The greedy ceiling finds its own betas; `betas` then says how many at most.

    `origin` says which study and trial a schedule of kind `family` is from.
    """

    refinement: Refinement
    betas: Schedule
    origin: str | None = None


@dataclass(frozen=True)
class Method:
    """One line of the benchmark's table: settings by stem.

    `file` is the schedule file's path, for kind `schedule`; `point` that of the file's points which this is.
    """

    name: str
    kind: Kind
    settings: Mapping[str, Setting]
    file: str | None = None
    point: str | None = None

    @property
    def needs_references(self) -> bool:
        """Whether this is a ceiling: it uses the true stems, so nobody can have it for a song of their own."""
        return self.kind in CEILINGS

    def passes(self, stem: str) -> int:
        """Passes an excerpt that this method costs by itself."""
        return passes_of(self.kind, len(self.settings[stem].betas))


def passes_of(kind: Kind, steps: int) -> int:
    """Passes that a method of this kind costs by itself: N+1; the greedy search 1 + 10·N."""
    return 1 + steps * (len(GREEDY_RATIOS) if kind == "greedy" else 1)


def compared(
    files: Mapping[str, ScheduleFile],
    against: Collection[Rival] = RIVALS,
    *,
    ceilings: bool = False,
    families: Sequence[Method] = (),
) -> list[Method]:
    """The baseline, the schedules of `files` (by path), their rivals with as many steps, and the ceilings if asked for.

    Each point of a file that has some is a schedule of its own.

    `families`: the methods of the kind `family`.

    Raises:
        ScheduleError: two files that cannot be told apart by name.
    """
    schedules = [method for path, name in _names(list(files)).items() for method in _of_file(name, path, files[path])]
    stems = {stem: None for method in schedules for stem in method.settings}
    baseline = Method(BASELINE, "baseline", {stem: Setting(Refinement(stem), ()) for stem in stems})
    wanted: list[Kind] = [*(kind for kind in RIVALS if kind in against), *(CEILINGS if ceilings else ())]
    options = {_options(setting.refinement) for method in schedules for setting in method.settings.values()}
    others: dict[str, Method] = {}
    for kind in wanted:
        for method in schedules:
            for stem, setting in method.settings.items():
                for name, rival in _rivals(kind, stem, setting, with_options=len(options) > 1):
                    there = others.get(name, Method(name, kind, {}))
                    others[name] = replace(there, settings={stem: rival} | dict(there.settings))
    ceiling = [method for method in others.values() if method.needs_references]
    return [baseline, *schedules, *families, *(m for m in others.values() if not m.needs_references), *ceiling]


def shift_trick_name(steps: int) -> str:
    """Name of the rival at equal cost of a schedule of `steps` steps."""
    return f"shift trick, {steps + 1} passes"


def _of_file(name: str, path: str, file: ScheduleFile) -> Iterator[Method]:
    """A method, or one for each of the file's points."""
    for point in file.points or (None,):
        entries = file.at(point, path).entries()
        settings = {stem: _setting(stem, entry) for stem, entry in entries.items()}
        yield Method(name if point is None else f"{name}, {point}", "schedule", settings, path, point)


def _setting(stem: str, entry: Entry) -> Setting:
    return Setting(entry.refinement(stem), entry.betas)


def _rivals(kind: Kind, stem: str, schedule: Setting, *, with_options: bool) -> Iterator[tuple[str, Setting]]:
    """Rivals of one kind of one schedule, by name; equal names are equal methods up to the seed of the shifts.

    `with_options`: the schedules differ in their options, so that the names of those that take them over must tell.
    """
    steps, how = len(schedule.betas), schedule.refinement
    plain = Refinement(stem, seed=how.seed)
    if kind == "shift":
        yield shift_trick_name(steps), Setting(plain.model_copy(update={"shift": True, "output": "mean"}), zeros(steps))
    elif kind == "line":
        yield f"line n/{steps}", Setting(plain.model_copy(update={"peak_guard": True}), line(steps))
    elif kind == "constant":
        # With a residual or weights, β = 0 is more than the shift trick: it shows what the options do by themselves.
        for beta in (0.0, *CONSTANTS) if how.residual or how.weights else CONSTANTS:
            name = f"constant {beta:g}, {steps + 1} passes"
            yield f"{name} ({_options(how)})" if with_options else name, Setting(how, constant(beta, steps))
    elif kind == "oracle":
        yield f"oracle line n/{steps}", Setting(plain.model_copy(update={"rule": "oracle"}), line(steps))
    elif kind == "greedy":
        yield f"greedy search, {steps} step{'s' * (steps > 1)}", Setting(plain, zeros(steps))


def _options(how: Refinement) -> str:
    parts = (how.rule, "shift" * how.shift, how.output * (how.output != "last"), "guard" * how.peak_guard)
    noise = f"σ {how.sigma:g}" if how.sigma else ""
    residual = f"residual {how.residual:g}" if how.residual else ""
    return "+".join(part for part in (*parts, residual, noise) if part)


def _names(paths: Sequence[str]) -> dict[str, str]:
    """A short name of each path: the file's, or as much of the path as tells it apart."""
    short = {path: path.replace("\\", "/").rsplit("/", 1)[-1].removesuffix(SUFFIX) for path in paths}
    names = {path: name if list(short.values()).count(name) == 1 else path for path, name in short.items()}
    if len(set(names.values())) < len(paths):
        raise ScheduleError("two schedule files cannot be told apart by their names; rename one")
    return names

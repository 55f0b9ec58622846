"""Schedule files that come with the package, found by name: FILE may be `demo` where a schedule file is asked for."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from schedopt.errors import ScheduleError, shown
from schedopt.files.schedule_file import SUFFIX, ScheduleFile, load_schedule_file

FOLDER = resources.files("schedopt.files") / "presets"


def preset_names() -> list[str]:
    """Names of the presets."""
    return sorted(entry.name.removesuffix(SUFFIX) for entry in FOLDER.iterdir() if entry.name.endswith(SUFFIX))


def is_preset(name: Path | str) -> bool:
    """Whether this names a preset; a file that is called so is `./NAME`."""
    return str(name) in preset_names()


def open_schedule(name: Path | str, point: str | None = None) -> ScheduleFile:
    """The preset or the schedule file of this name, at one of its points if it is to be.

    Raises:
        ScheduleError: there is neither, or it cannot be followed, or has no such point; one line with the file and the
            field.
    """
    return _opened(name).at(point, shown(name))


def _opened(name: Path | str) -> ScheduleFile:
    if is_preset(name):
        with resources.as_file(FOLDER / f"{name}{SUFFIX}") as path:
            return load_schedule_file(path)
    path = Path(name)
    if path.name == str(name) and not path.suffix and not path.exists():
        raise ScheduleError(f"{name!s}: there is no such schedule file; presets: {', '.join(preset_names())}")
    return load_schedule_file(path)

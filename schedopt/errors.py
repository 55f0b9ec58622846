"""Everything that schedopt refuses is a `SchedoptError`; its text is one line for the user.

    SchedoptError
    ├── ConfigError     a study file or an override: unknown key, value out of range
    ├── ScheduleError   a family, its parameters or a β outside [0, 1]
    ├── DataError       tracks, audio files, excerpts
    ├── SeparatorError  weights that are missing, broken or not allowed; a device that is not there
    └── StudyError      storage that cannot be used; a stored study that differs from its file
        └── DeletedError    a study or trial that was deleted while it was used

A message names the file or value and the mend. Our own mistakes are plain `assert`s, never these.
"""

from __future__ import annotations

import importlib
from pathlib import Path

LONGEST = 1500
"""Characters of a message; what quotes a longer text from a file or the command line is cut in the middle."""


def printable(text: str) -> str:
    """`text` with line breaks, control characters and undecodable bytes escaped, so that it can be shown anywhere."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def shortened(text: str, longest: int = LONGEST) -> str:
    """`text`, its middle left out where it has more than `longest` characters."""
    half = longest // 2
    return text if len(text) <= longest else f"{text[:half]} … {text[-half:]}"


def shown(name: str | Path) -> str:
    """The name of a file as it may stand in a message: one line, whatever characters the name holds."""
    return printable(str(name))


def reason(error: BaseException) -> str:
    """What an exception says, on one line."""
    if said := getattr(error, "error_string", ""):  # libsndfile's, whose text names the file once more
        return shown(said).rstrip(".")
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return shown(" ".join(str(error).split())) or type(error).__name__


def require(package: str, what: str, extra: str) -> None:
    """Raise a `ConfigError` that names the extra to install where `package`, which `what` needs, is not there."""
    try:
        importlib.import_module(package)
    except ModuleNotFoundError as error:
        if error.name != package:
            raise
        raise ConfigError(
            f"{what} the package {package}: pip install '.[{extra}]' in the folder of schedopt's source"
        ) from None


class SchedoptError(Exception):
    """Base of all errors that are answered with one line instead of a traceback; the text is always one line of at most
    `LONGEST` characters."""

    def __init__(self, message: str) -> None:
        super().__init__(shortened(printable(" ".join(message.split("\n")))))


class ConfigError(SchedoptError):
    """A study file (or a `--set` override) that cannot be followed."""


class ScheduleError(SchedoptError):
    """A schedule or family parameter that is not valid."""


class DataError(SchedoptError):
    """Music that cannot be read or cannot be used."""


class SeparatorError(SchedoptError):
    """A model or device that cannot be used."""


class StudyError(SchedoptError):
    """A storage or stored study that cannot be used."""


class DeletedError(StudyError, KeyError):
    """A study or trial that somebody deleted from its storage. A `KeyError` too, as Optuna raises it."""

    __str__ = Exception.__str__  # a KeyError's is in quotes

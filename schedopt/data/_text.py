"""Names of files as they may stand in a message: one line, whatever characters the name holds."""

from pathlib import Path

import soundfile

from schedopt.errors import printable


def shown(name: str | Path) -> str:
    """`name` with line breaks, control characters and undecodable bytes escaped."""
    return printable(str(name))


def reason(error: BaseException) -> str:
    """What an exception says, on one line."""
    if isinstance(error, soundfile.LibsndfileError):  # its text names the file once more
        return shown(error.error_string).rstrip(".")
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return shown(" ".join(str(error).split())) or type(error).__name__

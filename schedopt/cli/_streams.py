"""Standard output and error of a command: no character, full disk or closed pipe there stops its work."""

from __future__ import annotations

import codecs
import contextlib
import os
import sys
from collections.abc import Iterator
from typing import Any, TextIO

PLAIN = {"β": "beta", "→": "->", "–": "-", "—": "-", "−": "-", "…": "...", "≤": "<=", "≥": ">=", "·": "*", "×": "x"}
"""What stands for our own characters in an encoding that lacks them; others are escaped."""


def _in_plain_characters(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeEncodeError)
    missing = error.object[error.start : error.end]
    plain = "".join(PLAIN.get(c, c.encode("ascii", "backslashreplace").decode("ascii")) for c in missing)
    return plain, error.end


codecs.register_error("schedopt.plain", _in_plain_characters)


def encodable(text: str, encoding: str | None) -> str:
    """`text` in characters that `encoding` has."""
    try:
        return text.encode(encoding or "utf-8", "schedopt.plain").decode(encoding or "utf-8")
    except LookupError:  # no encoding that Python knows
        return text


class Output:
    """A text stream that writes on as if nothing had happened when the one below fails, and keeps the first failure."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.failure: OSError | None = None

    def __getattr__(self, name: str) -> Any:
        if name == "buffer":  # click would write past this object
            raise AttributeError(name)
        return getattr(self._stream, name)

    def write(self, text: str | bytes) -> int:
        if isinstance(text, bytes):  # click's shell completion
            if not text:  # how click finds out whether it may encode by itself
                raise TypeError("this is a stream of text")
            text = text.decode()
        self._attempt(lambda: self._stream.write(encodable(text, self._stream.encoding)))
        return len(text)

    def flush(self) -> None:
        self._attempt(self._stream.flush)

    def _attempt(self, action: Any) -> None:
        if self.failure is not None:
            return
        try:
            action()
        except OSError as error:
            self.failure = error
            # What is still buffered would fail once more when Python closes the stream.
            with contextlib.suppress(OSError, ValueError):
                null = os.open(os.devnull, os.O_WRONLY)
                os.dup2(null, self._stream.fileno())
                os.close(null)


@contextlib.contextmanager
def tolerant_streams() -> Iterator[Output]:
    """In here `sys.stdout` and `sys.stderr` are `Output`s; yields the first."""
    before = sys.stdout, sys.stderr
    out, err = (Output(stream or open(os.devnull, "w", encoding="utf-8")) for stream in before)  # noqa: SIM115
    sys.stdout, sys.stderr = out, err
    try:
        yield out
    finally:
        sys.stdout, sys.stderr = before

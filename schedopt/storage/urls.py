"""Storage URLs: read in one place, and shown without what is secret in them."""

from __future__ import annotations

import contextlib
import logging
import re
from pathlib import Path

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from schedopt.errors import StudyError

log = logging.getLogger("schedopt")

DEFAULT_STORAGE = "sqlite:///schedopt.db"
BEFORE = Path("studies/schedopt.db")
"""Where the default database lay, within the current folder, when paths did not start at the study file's."""

PIECE = 3
"""Characters of a password that must not be printed in a row."""


def parse_url(url: str | URL) -> URL:
    """A storage URL in its parts, as SQLAlchemy reads it.

    Raises:
        StudyError: it is none, or it is unclear where its password ends. The message does not quote it.
    """
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        # What stands in the wrong place may be a part of the password.
        raise StudyError("study.storage is not a database URL; write for example sqlite:///schedopt.db") from None
    if parsed.get_backend_name() != "sqlite" and "@" in f"{parsed.host}{parsed.database}":
        raise StudyError("study.storage holds more than one @; write %40 for an @ in the user's name or password")
    return parsed


def sqlite_file(url: str | URL) -> Path | None:
    """The file of a SQLite URL; None for a database server, or for a database in memory."""
    parsed = parse_url(url)
    if parsed.get_backend_name() != "sqlite" or parsed.database in (None, "", ":memory:"):
        return None
    return Path(str(parsed.database))


def anchored(url: str, folder: Path) -> str:
    """`url` with the path of a SQLite file made absolute: a relative one starts at `folder`. A URL that is none stays
    as it is, to be refused where it is opened.

    The log notes a database that lies in the current folder instead, where such paths once started.
    """
    try:
        path = sqlite_file(url)
    except StudyError:
        return url
    if path is None:
        return url
    old, new = BEFORE if url == DEFAULT_STORAGE else path, folder.resolve() / path
    with contextlib.suppress(OSError, ValueError):  # a name that cannot be, likewise
        if old.exists() and not new.exists():
            log.warning(
                "%s: a database lies there, but a storage path starts at the study file's folder; move it to %s, or"
                " give --storage sqlite:///%s",
                old,
                new,
                old.absolute(),
            )
    return text_of(parse_url(url).set(database=str(new)))


def text_of(url: URL) -> str:
    """The URL as a string that is read back as the same, password included."""
    return url.render_as_string(hide_password=False)


def shown(url: str | URL) -> str:
    """`url` for people and logs: without its password, which may also stand in the query."""
    try:
        parsed = parse_url(url)
    except StudyError:
        return "the storage URL"
    hidden = {key: "hidden" for key in parsed.query if "pass" in key.lower()}
    return parsed.update_query_dict(hidden).render_as_string(hide_password=True)


def holds_secret(text: str, url: str | URL) -> bool:
    """Whether `text` (a driver's message) holds a piece of the password of `url`."""
    try:
        parsed = parse_url(url)
    except StudyError:
        return True
    secrets = [str(parsed.password or ""), *(str(v) for k, v in parsed.query.items() if "pass" in k.lower())]
    pieces = [piece for secret in secrets for piece in (secret, *re.split(r"\W+", secret)) if len(piece) >= PIECE]
    return any(piece in text for piece in pieces)

"""Opening a study's storage so that several processes, and a dashboard, can use it at the same time."""

from __future__ import annotations

import contextlib
import time
import warnings
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import optuna
import sqlalchemy
from filelock import FileLock
from optuna.storages import RDBStorage
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError

from schedopt.errors import StudyError
from schedopt.search.faults import PatientStorage, one_line
from schedopt.search.owners import retry_once

BUSY_SECONDS = 60
"""How long SQLite waits for another process's write before it gives up."""

HEARTBEAT_SECONDS = 10
GRACE_SECONDS = 60
"""A running trial whose process gave no sign for this long is taken for dead and tried again, once."""


def open_storage(url: str, *, create: bool = True) -> RDBStorage:
    """The storage behind `url`, with its tables.

    SQLite files get a write-ahead log and a busy timeout: readers (the dashboard) and writers then never
    block each other, and two writers wait for their turn.

    Args:
        create: make the SQLite file (and its folder) where there is none; otherwise that is an error.

    Raises:
        StudyError: the URL is not one, its driver is missing, or the database cannot be opened; one line, without
            the password.
    """
    parsed = _parse(url)
    if not parsed.drivername.startswith("sqlite"):
        return _opened(parsed, lambda: _connect(parsed, {"pool_pre_ping": True}))
    path = _sqlite_path(parsed)
    if path is None:
        raise StudyError(f"{shown(parsed)}: a study must outlive the command; name a file, not memory")
    if not path.exists() and not create:
        raise StudyError(f"{path}: there is no such database; run a study first")
    _check_sqlite_file(path)
    # Of several processes that create the tables at once, Optuna lets all but one die.
    with FileLock(f"{path}.lock", timeout=BUSY_SECONDS):
        return _opened(parsed, lambda: _connect_sqlite(parsed))


def shown(url: str | URL) -> str:
    """`url` for people and logs: without its password."""
    try:
        return make_url(url).render_as_string(hide_password=True)
    except ArgumentError:
        return "the storage URL"


def _parse(url: str) -> URL:
    try:
        return make_url(url)
    except ArgumentError:
        raise StudyError(
            "study.storage is not a database URL; write for example sqlite:///studies/schedopt.db"
        ) from None


def _sqlite_path(url: URL) -> Path | None:
    return Path(url.database) if url.database and url.database != ":memory:" else None


def _check_sqlite_file(path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab") as file:
            file.tell()
        head = path.open("rb").read(16)
    except OSError as error:
        raise StudyError(f"{path}: the database cannot be written: {error.strerror}") from None
    if head and head != b"SQLite format 3\x00":
        raise StudyError(f"{path}: this is not a SQLite database; choose another file with --storage")


def _opened(url: URL, connect: Callable[[], RDBStorage]) -> RDBStorage:
    """`connect` with a few tries, since people may start the same new study at the same moment."""
    for wait in (0.2, 0.5, 1.0, None):
        try:
            return connect()
        except (NoSuchModuleError, ModuleNotFoundError, ImportError) as error:
            raise StudyError(f"{shown(url)}: the database driver is missing: {one_line(error)}") from None
        except (SQLAlchemyError, optuna.exceptions.StorageInternalError, RuntimeError) as error:
            if wait is None:
                raise StudyError(f"{shown(url)}: the storage cannot be opened: {one_line(error)}") from None
            time.sleep(wait)
    raise AssertionError("unreachable")


def _connect(url: URL, engine_kwargs: dict[str, object]) -> RDBStorage:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return PatientStorage(
            url.render_as_string(hide_password=False),
            engine_kwargs=engine_kwargs,
            heartbeat_interval=HEARTBEAT_SECONDS,
            grace_period=GRACE_SECONDS,
            heartbeat_stale_trial_callback=retry_once,
        )


def _connect_sqlite(url: URL) -> RDBStorage:
    storage = _connect(url, {"connect_args": {"timeout": BUSY_SECONDS}})
    with storage.engine.connect() as connection:
        # Kept in the file: every later connection has it too.
        connection.execute(sqlalchemy.text("PRAGMA journal_mode=WAL"))
    return storage


@contextlib.contextmanager
def start_lock(storage: RDBStorage, study: str) -> Iterator[Callable[[], None]]:
    """Only one process at a time, on any machine, is in here: between counting a study's trials and starting one.

    Yields the function that leaves early. SQLite: a lock file beside the database; PostgreSQL and MySQL: the
    server's own advisory locks; others: no lock, so a few trials too many may start.
    """
    with contextlib.ExitStack() as stack:
        kind = storage.engine.dialect.name
        if kind == "sqlite":
            stack.enter_context(FileLock(f"{storage.engine.url.database}.lock", timeout=BUSY_SECONDS))
        elif kind in ("postgresql", "mysql", "mariadb"):
            connection = stack.enter_context(storage.engine.connect())
            key = zlib.crc32(f"schedopt {study}".encode())
            take, leave = (
                ("SELECT pg_advisory_lock(:key)", "SELECT pg_advisory_unlock(:key)")
                if kind == "postgresql"
                else (f"SELECT GET_LOCK(:key, {BUSY_SECONDS})", "SELECT RELEASE_LOCK(:key)")
            )
            connection.execute(sqlalchemy.text(take), {"key": key})
            stack.callback(lambda: connection.execute(sqlalchemy.text(leave), {"key": key}))
        yield stack.close

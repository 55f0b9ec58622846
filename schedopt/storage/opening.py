"""Opening a study's storage so that several processes, and a dashboard, can use it at the same time."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import sqlite3
import warnings
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import optuna
import sqlalchemy
from optuna.storages import RDBStorage
from sqlalchemy.engine import URL
from sqlalchemy.exc import NoSuchModuleError, SQLAlchemyError

from schedopt.errors import StudyError
from schedopt.storage.faults import PatientStorage, one_line, retried
from schedopt.storage.locks import file_lock
from schedopt.storage.mounts import network_file_system
from schedopt.storage.owners import retry_once
from schedopt.storage.urls import parse_url, shown, sqlite_file, text_of

BUSY_SECONDS = 60
"""How long SQLite waits for another process's write before it gives up."""

HEARTBEAT_SECONDS = 10
GRACE_SECONDS = 60
"""A running trial whose process gave no sign for this long is taken for dead and tried again, once."""

POSTGRESQL_OPTIONS = {
    "connect_timeout": 10,
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
}
"""Seconds after which a server that is switched off counts as away; the system's own keepalive waits for hours."""

log = logging.getLogger("schedopt")


def open_storage(url: str, *, create: bool = True, read_only: bool = False) -> RDBStorage:
    """The storage behind `url`, with its tables.

    SQLite files get a write-ahead log and a busy timeout: readers (the dashboard) and writers then never
    block each other, and two writers wait for their turn. A server that is away is waited for, a minute and a half.

    Args:
        create: make the SQLite file (and its folder) where there is none; otherwise that is an error.
        read_only: change nothing: no table, no journal, no file beside the database.

    Raises:
        StudyError: the URL is not one, its driver is missing, or the database cannot be opened; one line, without
            the password.
    """
    parsed = parse_url(url)
    if parsed.get_backend_name() != "sqlite":
        options = {"pool_pre_ping": True, "connect_args": _connect_args(parsed)}
        return _opened(parsed, options, skip_table_creation=read_only)
    if parsed.query:
        raise StudyError(f"{shown(parsed)}: a SQLite URL takes no options; end it before the '?'")
    path = sqlite_file(parsed)
    if path is None:
        raise StudyError(f"{shown(parsed)}: a study must outlive the command; name a file, not memory")
    _check_sqlite_file(path, create=create and not read_only, write=not read_only)
    if read_only:
        reader: dict[str, Any] = {"creator": lambda: _reader(path), "poolclass": sqlalchemy.NullPool}
        return _opened(parsed, reader, skip_table_creation=True)
    options = {"connect_args": {"timeout": BUSY_SECONDS}}
    with contextlib.nullcontext() if _has_tables(path) else file_lock(path):
        # Of several processes that create the tables at once, Optuna lets all but one fail.
        storage = _opened(parsed, options)
    if create:
        _set_journal(storage, path)
    return storage


def _check_sqlite_file(path: Path, *, create: bool, write: bool) -> None:
    try:
        there = path.exists()
    except (OSError, ValueError) as error:
        raise StudyError(f"study.storage names a file that cannot be: {getattr(error, 'strerror', error)}") from None
    if not there and not create:
        raise StudyError(f"{path}: there is no such database; run a study first")
    try:
        # An existing file is opened by SQLite alone: closing it here would drop the locks of this process's other
        # connections (https://www.sqlite.org/howtocorrupt.html, 2.2), and the next reader delete their write-ahead log.
        if not there:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        elif not path.is_file() and not path.is_dir():
            raise StudyError(f"{path}: this is not a regular file; choose another one with --storage")
        elif path.is_dir() or not os.access(path, os.W_OK if write else os.R_OK):
            code = errno.EISDIR if path.is_dir() else errno.EACCES
            raise OSError(code, os.strerror(code))
    except OSError as error:
        verb = "written" if write else "read"
        raise StudyError(f"{path}: the database cannot be {verb}: {error.strerror}") from None
    with contextlib.suppress(sqlite3.OperationalError):  # locked, or what the connection itself will say
        try:
            with contextlib.closing(_reader(path)) as connection:
                connection.execute("PRAGMA schema_version")
        except sqlite3.OperationalError:
            raise
        except sqlite3.DatabaseError:
            raise StudyError(f"{path}: this is not a SQLite database; choose another file with --storage") from None


def _reader(path: Path) -> sqlite3.Connection:
    """A connection that writes nothing, not even files beside the database."""

    def connect(options: str) -> sqlite3.Connection:
        name = f"file:{quote(str(path.absolute()))}?{options}"
        return sqlite3.connect(name, uri=True, timeout=BUSY_SECONDS, check_same_thread=False)

    # Without a log nobody has it open to write; reading it in the ordinary way could leave an empty log beside it.
    is_open = any(Path(f"{path}{suffix}").exists() for suffix in ("-wal", "-journal"))
    return connect("mode=ro" if is_open else "mode=ro&immutable=1")


def _has_tables(path: Path) -> bool:
    """Whether Optuna's tables are complete: the last thing that it writes is their version."""
    try:
        with contextlib.closing(_reader(path)) as connection:
            return bool(connection.execute("SELECT count(*) FROM alembic_version").fetchone()[0])
    except sqlite3.Error:
        return False


def _set_journal(storage: RDBStorage, path: Path) -> None:
    network = network_file_system(path.parent)
    if network is not None:
        log.warning(
            "%s lies on a network file system (%s), where SQLite may lose writes; a PostgreSQL storage is safe",
            path,
            network,
        )

    def set_journal() -> None:
        with storage.engine.connect() as connection:
            # Kept in the file: every later connection has it too.
            connection.execute(sqlalchemy.text(f"PRAGMA journal_mode={'WAL' if network is None else 'DELETE'}"))

    try:
        retried(set_journal)()
    except SQLAlchemyError as error:
        raise StudyError(f"{path}: the storage cannot be opened: {one_line(error)}") from None
    # Connections from before still believe in the old journal.
    storage.engine.dispose()


def _opened(url: URL, engine_kwargs: Mapping[str, Any], *, skip_table_creation: bool = False) -> RDBStorage:
    """The storage; a server that does not answer is waited for."""
    try:
        return retried(_connect, url)(url, engine_kwargs, skip_table_creation)
    except (NoSuchModuleError, ModuleNotFoundError, ImportError) as error:
        driver = "; pip install '.[postgresql]' in the folder of schedopt's source"
        mend = driver if url.get_backend_name() == "postgresql" else ""
        raise StudyError(f"{shown(url)}: the database driver is missing: {one_line(error, url)}{mend}") from None
    except (SQLAlchemyError, optuna.exceptions.StorageInternalError, RuntimeError, TypeError, ValueError) as error:
        # TypeError and ValueError: an option in the URL that the driver cannot use.
        text = one_line(error, url)
        if skip_table_creation and ("no such table" in text or ("does not exist" in text and "relation" in text)):
            raise StudyError(f"{shown(url)}: this database holds no studies") from None
        if skip_table_creation and "readonly database" in text:
            raise StudyError(
                f"{shown(url)}: this database is not complete, since what made it was ended; schedopt run completes it"
            ) from None
        raise StudyError(f"{shown(url)}: the storage cannot be opened: {text}") from None


def _connect(url: URL, engine_kwargs: Mapping[str, Any], skip_table_creation: bool) -> RDBStorage:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        storage = PatientStorage(
            # Optuna takes braces for a template of its own.
            text_of(url).replace("{", "{{").replace("}", "}}"),
            engine_kwargs=dict(engine_kwargs),
            heartbeat_interval=HEARTBEAT_SECONDS,
            grace_period=GRACE_SECONDS,
            heartbeat_stale_trial_callback=retry_once,
            skip_table_creation=skip_table_creation,
        )
    # Optuna leaves the pool's connections open until Python happens to collect them.
    weakref.finalize(storage, storage.engine.dispose)
    return storage


def _connect_args(url: URL) -> dict[str, int]:
    """Options of libpq, where the driver is built on it; those in the URL win."""
    if url.drivername not in ("postgresql", "postgresql+psycopg", "postgresql+psycopg2"):
        return {}
    return {key: value for key, value in POSTGRESQL_OPTIONS.items() if key not in url.query}

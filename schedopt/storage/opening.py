"""Opening a study's storage so that several processes, and a dashboard, can use it at the same time."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import sqlite3
import time
import warnings
import weakref
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import optuna
import sqlalchemy
from filelock import FileLock, Timeout
from optuna.storages import RDBStorage
from sqlalchemy.engine import URL, Connection, make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError

from schedopt.errors import StudyError
from schedopt.storage.faults import PatientStorage, one_line, retried
from schedopt.storage.mounts import network_file_system
from schedopt.storage.owners import retry_once

BUSY_SECONDS = 60
"""How long SQLite waits for another process's write before it gives up."""

HEARTBEAT_SECONDS = 10
GRACE_SECONDS = 60
"""A running trial whose process gave no sign for this long is taken for dead and tried again, once."""

LOCK_SECONDS = 120
"""A PostgreSQL server takes the start lock back from a machine that is silent for so long."""

POSTGRESQL_OPTIONS = {
    "connect_timeout": 10,
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
}
"""Seconds after which a server that is switched off counts as away; the system's own keepalive waits for hours."""

log = logging.getLogger("schedopt")


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
    if parsed.get_backend_name() != "sqlite":
        options = {"pool_pre_ping": True, "connect_args": _connect_args(parsed)}
        return _opened(parsed, lambda: _connect(parsed, options))
    if parsed.query:
        raise StudyError(f"{shown(parsed)}: a SQLite URL takes no options; end it before the '?'")
    path = _sqlite_path(parsed)
    if path is None:
        raise StudyError(f"{shown(parsed)}: a study must outlive the command; name a file, not memory")
    try:
        there = path.exists()
    except (OSError, ValueError) as error:
        raise StudyError(f"study.storage names a file that cannot be: {getattr(error, 'strerror', error)}") from None
    if not there and not create:
        raise StudyError(f"{path}: there is no such database; run a study first")
    _check_sqlite_file(path)
    network = network_file_system(path.parent)
    if network is not None and create:
        log.warning(
            "%s lies on a network file system (%s), where SQLite may lose writes; a PostgreSQL storage is safe",
            path,
            network,
        )
    # Of several processes that create the tables at once, Optuna lets all but one die.
    with _file_lock(path):
        return _opened(parsed, lambda: _connect_sqlite(parsed, "WAL" if network is None else "DELETE"))


def shown(url: str | URL) -> str:
    """`url` for people and logs: without its password, which may also stand in the query."""
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        return "the storage URL"
    hidden = {key: "hidden" for key in parsed.query if "pass" in key.lower()}
    return parsed.update_query_dict(hidden).render_as_string(hide_password=True)


def _parse(url: str) -> URL:
    try:
        return make_url(url)
    except (ArgumentError, ValueError):
        # Without the URL: what stands in the wrong place may be a part of its password.
        raise StudyError(
            "study.storage is not a database URL; write for example sqlite:///studies/schedopt.db"
        ) from None


def _sqlite_path(url: URL) -> Path | None:
    return Path(url.database) if url.database and url.database != ":memory:" else None


def _check_sqlite_file(path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # An existing file is opened by SQLite alone: closing it here would drop the locks of this process's other
        # connections (https://www.sqlite.org/howtocorrupt.html, 2.2), and the next reader delete their write-ahead log.
        if not path.exists():
            path.touch()
        elif path.is_dir() or not os.access(path, os.W_OK):
            code = errno.EISDIR if path.is_dir() else errno.EACCES
            raise OSError(code, os.strerror(code))
    except OSError as error:
        raise StudyError(f"{path}: the database cannot be written: {error.strerror}") from None
    try:
        with contextlib.closing(sqlite3.connect(path, timeout=BUSY_SECONDS)) as connection:
            connection.execute("PRAGMA schema_version")
    except sqlite3.OperationalError:
        return  # locked, or what the connection itself will say
    except sqlite3.DatabaseError:
        raise StudyError(f"{path}: this is not a SQLite database; choose another file with --storage") from None


def _opened(url: URL, connect: Callable[[], RDBStorage]) -> RDBStorage:
    """`connect` with a few tries, since people may start the same new study at the same moment."""
    for wait in (0.2, 0.5, 1.0, None):
        try:
            return connect()
        except (NoSuchModuleError, ModuleNotFoundError, ImportError) as error:
            raise StudyError(f"{shown(url)}: the database driver is missing: {one_line(error)}") from None
        except (TypeError, ValueError) as error:  # an option in the URL that the driver cannot use
            raise StudyError(f"{shown(url)}: the storage cannot be opened: {one_line(error)}") from None
        except (SQLAlchemyError, optuna.exceptions.StorageInternalError, RuntimeError) as error:
            if wait is None:
                raise StudyError(f"{shown(url)}: the storage cannot be opened: {one_line(error)}") from None
            time.sleep(wait)
    raise AssertionError("unreachable")


def _connect_args(url: URL) -> dict[str, int]:
    """Options of libpq, where the driver is built on it; those in the URL win."""
    if url.drivername not in ("postgresql", "postgresql+psycopg", "postgresql+psycopg2"):
        return {}
    return {key: value for key, value in POSTGRESQL_OPTIONS.items() if key not in url.query}


def _connect(url: URL, engine_kwargs: Mapping[str, object]) -> RDBStorage:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        storage = PatientStorage(
            url.render_as_string(hide_password=False),
            engine_kwargs=dict(engine_kwargs),
            heartbeat_interval=HEARTBEAT_SECONDS,
            grace_period=GRACE_SECONDS,
            heartbeat_stale_trial_callback=retry_once,
        )
    # Optuna leaves the pool's connections open until Python happens to collect them.
    weakref.finalize(storage, storage.engine.dispose)
    return storage


def _connect_sqlite(url: URL, journal: str) -> RDBStorage:
    storage = _connect(url, {"connect_args": {"timeout": BUSY_SECONDS}})
    with storage.engine.connect() as connection:
        # Kept in the file: every later connection has it too.
        connection.execute(sqlalchemy.text(f"PRAGMA journal_mode={journal}"))
    # Connections from before still believe in the old journal.
    storage.engine.dispose()
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
            stack.enter_context(_file_lock(Path(str(storage.engine.url.database))))
        elif kind in ("postgresql", "mysql", "mariadb"):
            key = zlib.crc32(f"schedopt {study}".encode())
            take = _postgresql_lock if kind == "postgresql" else _mysql_lock
            connection = retried(lambda: _locked(storage, take, key))()
            stack.callback(_unlock, connection, key)
        yield stack.close


@contextlib.contextmanager
def _file_lock(database: Path) -> Iterator[None]:
    """Hold the lock file of a SQLite database.

    Raises:
        StudyError: it cannot be written, or another process does not give it back.
    """
    lock = FileLock(f"{database}.lock", timeout=BUSY_SECONDS)
    try:
        lock.acquire()
    except Timeout:
        raise StudyError(f"{database}.lock: another process has held it for {BUSY_SECONDS} s; is it stopped?") from None
    except OSError as error:
        raise StudyError(f"{database}.lock: the lock file cannot be written: {error.strerror or error}") from None
    try:
        yield
    finally:
        lock.release()


def _locked(storage: RDBStorage, take: Callable[[Connection, int], None], key: int) -> Connection:
    connection = storage.engine.connect()
    try:
        take(connection, key)
    except BaseException:
        # The server may have given the lock although the answer got lost.
        connection.invalidate()
        connection.close()
        raise
    return connection


def _postgresql_lock(connection: Connection, key: int) -> None:
    """A lock that ends with its transaction, thus with the connection, however that ends."""
    connection.execute(sqlalchemy.text(f"SET LOCAL idle_in_transaction_session_timeout = '{LOCK_SECONDS}s'"))
    connection.execute(sqlalchemy.text("SELECT pg_advisory_xact_lock(:key)"), {"key": key})


def _mysql_lock(connection: Connection, key: int) -> None:
    # MySQL's locks have names; it answers 0 where another connection holds on to one.
    if not connection.execute(sqlalchemy.text(f"SELECT GET_LOCK(:key, {BUSY_SECONDS})"), {"key": str(key)}).scalar():
        raise StudyError(f"another process has held the study's lock for {BUSY_SECONDS} s; is it stopped?")


def _unlock(connection: Connection, key: int) -> None:
    """End the connection's transaction and locks. A connection that broke has lost them already."""
    with contextlib.suppress(SQLAlchemyError):
        if connection.dialect.name != "postgresql":
            # MySQL's locks belong to the connection, which would go back to the pool with them.
            connection.execute(sqlalchemy.text("SELECT RELEASE_LOCK(:key)"), {"key": str(key)})
        connection.close()
        return
    connection.invalidate()
    connection.close()

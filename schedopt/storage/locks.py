"""The start lock: only one process at a time, on any machine, decides whether to start a trial."""

from __future__ import annotations

import contextlib
import logging
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import sqlalchemy
from filelock import FileLock, Timeout
from optuna.storages import BaseStorage, RDBStorage
from sqlalchemy.engine import Connection
from sqlalchemy.exc import SQLAlchemyError

from schedopt.errors import StudyError
from schedopt.storage.faults import HURRIED_SECONDS, is_hurried, retried
from schedopt.storage.interrupts import sleep

NOTE_SECONDS = 60
"""How long a process waits for the lock before it reports that it does. It waits on: the system takes the lock from
a process that ends, so its holder is alive."""

POLL_SECONDS = 0.25
"""How often a process that waits looks whether it is to end."""

POSTGRESQL_SECONDS = 120
"""A PostgreSQL server takes the lock from a machine that is silent for so long."""

log = logging.getLogger("schedopt")


def backend(storage: BaseStorage) -> RDBStorage:
    """The storage behind Optuna's cache."""
    inner: Any = storage
    found: RDBStorage = getattr(inner, "_backend", inner)
    return found


@contextlib.contextmanager
def start_lock(storage: BaseStorage, study: str) -> Iterator[Callable[[], None]]:
    """Only one process at a time, on any machine, is in here: between counting a study's trials and starting one.

    Yields the function that leaves early. SQLite: a lock file beside the database; PostgreSQL and MySQL: the
    server's own advisory locks; others: no lock, so a few trials too many may start.

    Raises:
        StudyError: a lock file cannot be written, or a hurried thread does not get the lock.
    """
    inner = backend(storage)
    with contextlib.ExitStack() as stack:
        kind = inner.engine.dialect.name if isinstance(inner, RDBStorage) else ""
        if kind == "sqlite":
            stack.enter_context(file_lock(Path(str(inner.engine.url.database))))
        elif kind in ("postgresql", "mysql", "mariadb"):
            key = zlib.crc32(f"schedopt {study}".encode())
            take = _postgresql_lock if kind == "postgresql" else _mysql_lock
            connection = retried(lambda: _locked(inner, take, key), inner.url)()
            stack.callback(_unlock, connection, key)
        yield stack.close


@contextlib.contextmanager
def file_lock(database: Path) -> Iterator[None]:
    """Hold the lock file of a SQLite database.

    Raises:
        StudyError: it cannot be written, or a hurried thread does not get it.
    """
    lock = FileLock(f"{database}.lock", timeout=POLL_SECONDS)

    def take() -> bool:
        with contextlib.suppress(Timeout):
            lock.acquire()
        return lock.is_locked

    try:
        _wait(take, f"{database}.lock")
    except OSError as error:
        raise StudyError(f"{database}.lock: the lock file cannot be written: {error.strerror or error}") from None
    try:
        yield
    finally:
        lock.release()


def _wait(take: Callable[[], bool], what: str) -> None:
    """Until `take`, which tries for a moment, has the lock.

    Raises:
        StudyError: a hurried thread does not get it.
        KeyboardInterrupt: the wait is ended.
    """
    patience = HURRIED_SECONDS if is_hurried() else NOTE_SECONDS
    began = time.monotonic()
    while not take():
        sleep(0)
        if time.monotonic() - began >= patience:
            _note_or_raise(what)
            began = time.monotonic()


def _note_or_raise(what: str) -> None:
    if is_hurried():
        raise StudyError(f"{what}: another process holds it")
    log.warning("%s: another process has held it for %d s; waiting for it (is it suspended?)", what, NOTE_SECONDS)


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
    connection.execute(sqlalchemy.text(f"SET LOCAL idle_in_transaction_session_timeout = '{POSTGRESQL_SECONDS}s'"))
    connection.execute(sqlalchemy.text("SELECT pg_advisory_xact_lock(:key)"), {"key": key})


def _mysql_lock(connection: Connection, key: int) -> None:
    # MySQL's locks have names; it answers 0 where another connection holds on to one for a second.
    take = sqlalchemy.text("SELECT GET_LOCK(:key, 1)")
    _wait(lambda: bool(connection.execute(take, {"key": str(key)}).scalar()), "the study's lock")


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

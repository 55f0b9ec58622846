"""Serves optuna-dashboard's own app for a storage, with the audio of its trials.

browser ─► this server ─► optuna-dashboard's app ─► storage ◄─ figures and notes ◄─ a thread with a
                                                      ▲        connection of its own (`refresh`)
                              schedopt run ───────────┘
"""

from __future__ import annotations

import logging
import re
import socket
import socketserver
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from bottle import HTTPResponse
from optuna.artifacts.exceptions import ArtifactNotFound
from optuna.storages import RDBStorage
from optuna_dashboard import wsgi

from schedopt.errors import StudyError
from schedopt.search.artifacts import ArtifactStore, artifact_folder, artifact_store
from schedopt.search.study import is_ours, read_studies
from schedopt.storage.faults import STORAGE_FAULTS, one_line, quiet_optuna
from schedopt.storage.opening import open_storage
from schedopt.storage.urls import shown
from schedopt.view.dashboard.listen import listen_page
from schedopt.view.dashboard.refresh import Refresher

LOOPBACK = ("127.0.0.1", "localhost", "::1")

STUDY_DETAIL = re.compile(r"/api/studies/\d+/?")
PATIENCE_SECONDS = 2.0

App = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]

log = logging.getLogger("schedopt")


@contextmanager
def dashboard(
    url: str, *, studies: Sequence[str] = (), artifacts: str = "", host: str = "127.0.0.1", port: int = 8080
) -> Iterator[Server]:
    """A server for the storage `url` that listens already; its `serve_forever` answers until its `shutdown`.

    Args:
        studies: those whose figures and notes are kept up to date; none for all that schedopt made.
        artifacts: folder of the trials' audio, by default beside a SQLite database.
        port: 0 for any free one.

    Raises:
        StudyError: the storage, a study, the host or the port cannot be used.
    """
    storage = open_storage(url, read_only=True)
    found = _existing(storage, studies, url)
    writable = _writable(storage, url)
    with _listening(host, port) as server, _quiet(server.faults), quiet_optuna():
        if host not in LOOPBACK:
            log.warning("%s: anyone who reaches this address can see and delete studies: there is no login", host)
        refresher = Refresher(url, studies)
        served = writable or storage
        app = wsgi(served, artifact_store=_store(url, artifacts))
        app.route("/listen/<study_id:int>", callback=lambda study_id: listen_page(served, study_id))
        server.set_app(guarded(whole(app, refresher.writing), host))
        server.page = f"studies/{found[0]}" if len(found) == 1 else ""
        if writable is not None:
            refresher.start()
        try:
            yield server
        finally:
            refresher.end()


def _writable(storage: RDBStorage, url: str) -> RDBStorage | None:
    """The storage, opened to write figures and notes; None where it holds other programs' studies only, or cannot be
    written."""
    ours = read_studies(storage, is_ours)
    if ours and not any(ours):
        log.warning("%s: schedopt made none of its studies, so it is shown as it is", shown(url))
        return None
    try:
        return open_storage(url, create=False)
    except StudyError as error:
        log.warning("figures and notes are not refreshed: %s", error)
        return None


def _existing(storage: RDBStorage, studies: Sequence[str], url: str) -> list[int]:
    """Ids of `studies`, or of all studies.

    Raises:
        StudyError: one of them has not been started.
    """
    try:
        there = {study.study_name: study._study_id for study in storage.get_all_studies()}
    except STORAGE_FAULTS as error:
        raise StudyError(f"{shown(url)}: the storage failed: {one_line(error, url)}") from None
    for name in studies:
        if name not in there:
            known = ", ".join(there) or "none"
            raise StudyError(
                f"{shown(url)}: study {name!r} has not been started (there: {known}); schedopt run starts it"
            )
    return [there[name] for name in studies] or list(there.values())


class _Store(ArtifactStore):
    """A file that is not here (it lies on another machine) is an answer of its own, not a traceback."""

    def open_reader(self, artifact_id: str) -> Any:
        try:
            return super().open_reader(artifact_id)
        except (ArtifactNotFound, OSError):
            raise HTTPResponse("this file is not in the dashboard's artifact folder", 404) from None


def _store(url: str, named: str) -> ArtifactStore | None:
    folder = artifact_folder(url, named)
    try:
        return None if folder is None else _Store(artifact_store(folder, create=False).folder)
    except FileNotFoundError:
        log.warning("%s: there is no audio to show", folder)
    except OSError as error:
        log.warning("the audio is not shown: %s", error)
    return None


def whole(app: App, writing: threading.Lock) -> App:
    """`app` that shows no study while its figures are being written: the page could not draw half of one.

    It waits a moment at most, since a figure may itself be waiting for the storage.
    """

    def waiting(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if not STUDY_DETAIL.fullmatch(environ.get("PATH_INFO", "")):
            return app(environ, start_response)
        held = writing.acquire(timeout=PATIENCE_SECONDS)
        try:
            return app(environ, start_response)
        finally:
            if held:
                writing.release()

    return waiting


def guarded(app: App, host: str) -> App:
    """`app` for browsers that were sent to this machine by its name.

    A page of another site whose name was made to point to 127.0.0.1 (DNS rebinding) could else use the dashboard,
    which has no login, in the name of whoever opens that page.
    """
    if host not in LOOPBACK:
        return app

    def checked(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        asked = environ.get("HTTP_HOST", "")
        name = asked.rpartition(":")[0] if ":" in asked and not asked.endswith("]") else asked
        if name.strip("[]").lower() in LOOPBACK:
            return app(environ, start_response)
        start_response("403 Forbidden", [("Content-Type", "text/plain; charset=utf-8")])
        return [b"open the dashboard as localhost, or start it with --host\n"]

    return checked


class _Faults(logging.Handler):
    """What goes wrong in a request becomes one line, said once, where the app would print its traceback: to its log,
    and to the stream it is given."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self._said: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        self._say(record.getMessage().splitlines()[:1])

    def write(self, text: str) -> None:
        self._say(text.strip().splitlines()[-1:])

    def _say(self, lines: list[str]) -> None:
        for line in lines:
            if line not in self._said:
                self._said.add(line)
                log.warning("a page could not be shown: %s", line)


@contextmanager
def _quiet(faults: _Faults) -> Iterator[None]:
    """In here the app's own logger speaks through `faults`."""
    logger = logging.getLogger("optuna_dashboard")
    logger.addHandler(faults)
    logger.propagate = False
    try:
        yield
    finally:
        logger.propagate = True
        logger.removeHandler(faults)


class _Handler(WSGIRequestHandler):
    """Serves one connection without a line on stderr for each request."""

    def log_message(self, *_: object) -> None:
        pass

    def get_stderr(self) -> Any:
        assert isinstance(self.server, Server)
        return self.server.faults


class Server(socketserver.ThreadingMixIn, WSGIServer):
    """A thread a request, so that a slow one (a large study) does not hold up the rest; all end with the program."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, host: str, port: int) -> None:
        self.faults = _Faults()
        self.page = ""
        if ":" in host:
            self.address_family = socket.AF_INET6
        super().__init__((host, port), _Handler)

    @property
    def address(self) -> str:
        """Of the page to open first."""
        name = f"[{self.server_name}]" if ":" in self.server_name else self.server_name
        return f"http://{name}:{self.server_port}/dashboard/{self.page}"

    def server_bind(self) -> None:
        # Not HTTPServer's, which asks the name server who it is, and may wait for it.
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])
        self.setup_environ()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that has gone away in mid-answer is nothing to report."""
        log.debug("a request of %s failed", client_address, exc_info=True)


def _listening(host: str, port: int) -> Server:
    try:
        return Server(host, port)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise StudyError(f"--host {host} --port {port}: cannot listen there: {reason}; choose another --port") from None

"""A dashboard that serves in a thread of the test, and what it answers."""

from __future__ import annotations

import contextlib
import http.client
import json
import threading
from collections.abc import Iterator
from typing import Any

from selenium.webdriver import Chrome

from schedopt.view.dashboard.server import Server, dashboard
from tests.servers import wait_for

FIGURES = {"schedopt-schedules", "schedopt-steps", "schedopt-passes", "schedopt-progress", "schedopt-tracks"}


class Answers:
    """What a server says to a browser."""

    def __init__(self, server: Server) -> None:
        self.server = server

    def get(self, path: str, host: str = "localhost") -> tuple[int, str, bytes]:
        """Status, media type and body."""
        connection = http.client.HTTPConnection("127.0.0.1", self.server.server_port, timeout=60)
        with contextlib.closing(connection):
            connection.request("GET", path, headers={"Host": host})
            answer = connection.getresponse()
            return answer.status, answer.headers.get_content_type(), answer.read()

    def study(self, number: int = 1) -> Any:
        status, _, body = self.get(f"/api/studies/{number}")
        assert status == 200
        return json.loads(body)

    def figures(self) -> set[str]:
        """Ids of the study's figures, each of them checked to be whole."""
        found = self.study()["plotly_graph_objects"]
        assert all(json.loads(figure["graph_object"])["data"] for figure in found)
        return {figure["id"] for figure in found}


@contextlib.contextmanager
def serving(url: str, **options: Any) -> Iterator[Answers]:
    with dashboard(url, port=0, **options) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield Answers(server)
        finally:
            server.shutdown()
            thread.join()


def wait_for_figures(browser: Chrome) -> None:
    """Until the page of a study has drawn Optuna's history and all our figures, each with something in it."""
    drawn = "p => p.querySelector('path.js-line, path.point, .point path')"
    script = f"return [...document.querySelectorAll('.js-plotly-plot')].filter({drawn}).map(p => p.id)"
    wanted = {"plot-history", *(f"user-defined-plot:{name}" for name in FIGURES)}
    wait_for(lambda: wanted <= set(browser.execute_script(script)), 120, every=0.3)

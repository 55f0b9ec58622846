"""Keeps the figures and notes of studies up to date, in a thread and on a connection of its own.

The search never waits for a figure: nothing is written while no trial ends, each write is one short transaction, and
what fails is tried again at the next turn.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence

import optuna
from optuna.storages import BaseStorage
from optuna.trial import TrialState
from optuna_dashboard import save_plotly_graph_object

from schedopt.errors import SchedoptError
from schedopt.search.study import best_trial
from schedopt.storage.faults import STORAGE_FAULTS, one_line, set_hurried
from schedopt.storage.opening import open_storage
from schedopt.storage.urls import shown
from schedopt.view.dashboard.notes import write_notes

SECONDS = 5.0
"""Pause between two turns."""

SHOWN = ("schedules", "steps", "progress", "tracks")
"""The charts that the study's page shows, of those that `study_charts` makes."""

PAGE = {
    "template": "none",
    "height": 450,
    "margin": {"t": 60, "b": 90},
    "title": {"x": 0.02},
    "legend": {"y": -0.24},
}
"""Layout for the page's boxes of 450 pixels, whose buttons lie at the top right. A template would be most of a figure's
bytes, and the page asks for them every few seconds."""

log = logging.getLogger("schedopt")


class Refresher(threading.Thread):
    """Refreshes `studies` of the storage `url` (none: all that schedopt made) until `end` is called."""

    def __init__(self, url: str, studies: Sequence[str] = (), seconds: float = SECONDS) -> None:
        super().__init__(daemon=True, name="figures")
        self.writing = threading.Lock()
        """Held while figures are written: piece after piece, of which a page wants all or none."""
        self._url = url
        self._studies = studies
        self._seconds = seconds
        self._ending = threading.Event()
        self._drawn: dict[str, object] = {}
        self._said: set[str] = set()

    def run(self) -> None:
        optuna.logging.set_verbosity(optuna.logging.CRITICAL)
        # A turn that meets a locked storage is left out rather than waited for.
        set_hurried(True)
        storage = None
        while not self._ending.is_set():
            try:
                storage = storage or open_storage(self._url, create=False)
                self.turn(storage)
            except (*STORAGE_FAULTS, SchedoptError) as error:
                self._say(f"{shown(self._url)}: figures are not refreshed: {one_line(error)}")
            except Exception as error:
                # A figure that cannot be drawn must not take the dashboard with it.
                log.debug("figures", exc_info=True)
                self._say(f"figures are not refreshed: {type(error).__name__}: {error}")
            self._ending.wait(self._seconds)

    def end(self) -> None:
        """Let the turn in hand end and wait for it, a moment at most."""
        self._ending.set()
        self.join(self._seconds)

    def turn(self, storage: BaseStorage) -> None:
        """Refresh those studies in which a trial has ended since the last turn."""
        for name in self._studies or optuna.get_all_study_names(storage):
            if self._ending.is_set():
                return
            try:
                study = optuna.load_study(study_name=name, storage=storage)
                self._refresh(study)
            except KeyError:
                # Deleted, perhaps on the page, and perhaps just now.
                self._drawn.pop(name, None)

    def _refresh(self, study: optuna.Study) -> None:
        if "schedopt" not in study.user_attrs:
            return
        trials = study.get_trials(deepcopy=False)
        best = best_trial(study, trials)
        ended = sum(trial.state in (TrialState.COMPLETE, TrialState.PRUNED) for trial in trials)
        state = (study._study_id, ended, best and best.number)
        if self._drawn.get(study.study_name) == state:
            return
        write_notes(study, best, shown(self._url))
        draw(study, self.writing)
        self._drawn[study.study_name] = state

    def _say(self, line: str) -> None:
        if line not in self._said:
            self._said.add(line)
            log.warning("%s", " ".join(line.split()))


def draw(study: optuna.Study, writing: threading.Lock) -> None:
    """Put the charts that `study` allows so far on its page, holding `writing` while they are written."""
    # Drawing libraries take seconds to import: the page does not wait for them.
    from schedopt.view.figures import plotly_figure, study_charts

    figures = {name: plotly_figure(chart) for name, chart in study_charts(study).items() if name in SHOWN}
    for name, figure in figures.items():
        figure.update_layout(PAGE)
        with writing:
            save_plotly_graph_object(study, figure, graph_object_id=f"schedopt-{name}")

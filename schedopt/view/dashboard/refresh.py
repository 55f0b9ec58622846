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
from schedopt.search.study import is_ours, name_metrics
from schedopt.storage.faults import STORAGE_FAULTS, one_line, set_hurried
from schedopt.storage.opening import open_storage
from schedopt.storage.urls import shown
from schedopt.view.dashboard.notes import write_notes
from schedopt.view.trials import named_trials

SECONDS = 5.0
"""Pause between two turns."""

SHOWN = ("schedules", "steps", "dial", "passes", "progress", "tracks")
"""The figures on the study's page, of those that `study_figures` makes; Optuna's own page draws the importance."""

CLEAR, TEXT = "rgba(0, 0, 0, 0)", "#808080"
"""The page is white or nearly black, as its reader likes: this grey has a contrast of 4 with either."""

PAGE = {
    "height": 450,
    "paper_bgcolor": CLEAR,
    "plot_bgcolor": CLEAR,
    "modebar": {"bgcolor": CLEAR, "color": TEXT, "activecolor": "#0072B2"},
    "font": {"color": TEXT, "size": 14},
}
"""Layout for the page's boxes of 450 pixels."""

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
        # A turn that meets a locked storage is left out rather than waited for.
        set_hurried(True)
        storage = None
        while not self._ending.is_set():
            try:
                storage = storage or open_storage(self._url, create=False)
                self.turn(storage)
            except (*STORAGE_FAULTS, SchedoptError) as error:
                self._say(f"{shown(self._url)}: figures are not refreshed: {one_line(error, self._url)}")
            except Exception as error:
                # A figure that cannot be drawn must not take the dashboard with it.
                log.debug("figures", exc_info=True)
                self._say(f"figures are not refreshed: {type(error).__name__}: {error}")
            self._ending.wait(self._seconds)

    def end(self) -> None:
        """Let the turn in hand end and wait for it, a moment at most."""
        self._ending.set()
        if self.is_alive():
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
                # Deleted (Optuna's error, or our `DeletedError`), perhaps on the page, and perhaps just now.
                self._drawn.pop(name, None)

    def _refresh(self, study: optuna.Study) -> None:
        if not is_ours(study):
            return
        trials = study.get_trials(deepcopy=False)
        named = named_trials(study, trials)
        ended = sum(trial.state in (TrialState.COMPLETE, TrialState.PRUNED) for trial in trials)
        state = (study._study_id, ended, *named)
        if self._drawn.get(study.study_name) == state:
            return
        if study.metric_names is None:
            # Studies of earlier versions have none.
            name_metrics(study)
        write_notes(study, named, shown(self._url))
        draw(study, self.writing)
        self._drawn[study.study_name] = state

    def _say(self, line: str) -> None:
        if line not in self._said:
            self._said.add(line)
            log.warning("%s", " ".join(line.split()))


def draw(study: optuna.Study, writing: threading.Lock) -> None:
    """Put the figures that `study` allows so far on its page, holding `writing` while they are written."""
    # Drawing libraries take seconds to import: the page does not wait for them.
    from schedopt.view.figures import study_figures

    figures = study_figures(study)
    for name in SHOWN:
        if name in figures:
            with writing:
                save_plotly_graph_object(study, figures[name].update_layout(PAGE), graph_object_id=f"schedopt-{name}")

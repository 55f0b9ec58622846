"""Optuna's dashboard with what a schedule searcher wants to see at once: figures, notes, audio."""

import schedopt.view.figures  # noqa: F401 - names what is missing, if something is
from schedopt.errors import require

require("optuna_dashboard", "the dashboard needs", "dashboard")

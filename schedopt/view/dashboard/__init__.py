"""Optuna's dashboard with what a schedule searcher wants to see at once: figures, notes, audio."""

from schedopt.errors import require

require("optuna_dashboard", "the dashboard needs", "dashboard")

"""Optuna's dashboard with what a schedule searcher wants to see at once: figures, notes, audio."""

"""Optuna studies with the attributes of ours, made in memory, so that what a chart must show is known."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import optuna

from schedopt.search.objective import Outcome

TRACKS = ("<b>Zoë</b> & $x$", "Ärger im Büro - a very long name of a song", "plain")
START = 6.0


def outcome(betas: Sequence[float], steps: int | None = None) -> Outcome:
    """Scores that follow from the β: track k gains (k + 1)·Σβ/10 dB less Σβ²/20 after each step."""
    sums, squares = np.cumsum([0, *betas]), np.cumsum([0, *np.square(betas)])
    scores = np.stack([START + k + (k + 1) * sums / 10 - squares / 2 for k in range(len(TRACKS))])
    mean = scores.mean(axis=0)
    chosen = int(np.argmax(mean[1:])) + 1 if steps is None else steps
    return Outcome(tuple(mean), chosen, ((scores, TRACKS),))


def made_study(trials: int = 12, steps: int = 3, *, pareto: bool = False, name: str = "made") -> optuna.Study:
    """A study of `trials` random schedules of `steps` steps, the last but one pruned."""
    study = optuna.create_study(
        study_name=name,
        directions=["maximize", "minimize"] if pareto else ["maximize"],
        sampler=optuna.samplers.RandomSampler(0),
    )
    line = outcome([n / steps for n in range(1, steps + 1)])
    for key, value in {
        "schedopt": 1,
        "config": {"search": {"metric": "sdr"}},
        "tracks": list(line.by_track()),
        "excerpts": [f"{track} @ 0 s" for track in TRACKS],
        "line": {"value": line.value, **line.attributes()},
        "references": {"passes_run": 40, "passes_saved": 0, "seconds": 1.0},
        "baseline": {"value": line.by_step[0], "by_step": [line.by_step[0]]},
    }.items():
        study.set_user_attr(key, value)

    def objective(trial: optuna.Trial) -> float | tuple[float, int]:
        betas = [trial.suggest_float(f"beta_{n}", 0, 1) for n in range(1, steps + 1)]
        kept: dict[str, Any] = {"passes_run": 2 * trial.number}
        if trial.number == trials - 2 and not pareto:
            trial.set_user_attr("passes_run", 1)
            raise optuna.TrialPruned
        found = outcome(betas)
        kept |= {"betas": betas[: found.steps], "steps": found.steps, "gain": found.gain, **found.attributes()}
        for key, value in kept.items():
            trial.set_user_attr(key, value)
        return (found.value, found.steps + 1) if pareto else found.value

    study.optimize(objective, n_trials=trials)
    return study

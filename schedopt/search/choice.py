"""Which trial of a study is handed over.

The best of many scores flatters itself: part of what lifts it is luck with the tracks that it was chosen on. So a
trial is judged by its gain over the schedule of zeros (β = 0 with the same rule and options: what as many passes buy
without a schedule), track by track, and the one whose gain is surest is chosen. Zeros themselves have the gain 0 and no
doubt, so a schedule that cannot be told from them gives way to them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import scipy.stats
from numpy.typing import ArrayLike
from optuna.trial import FrozenTrial, TrialState

SURE = 0.84
"""One-sided confidence of the lower bound: one standard error where tracks are many (`python -m benchmarks.honest`)."""


def lower_bound(differences: ArrayLike) -> float:
    """Mean of differences (tracks,) in dB less Student's t quantile times its standard error; −∞ of a single track.

    Differences that are all equal have no doubt: their bound is their mean.
    """
    x = np.asarray(differences, dtype=np.float64)
    if np.ptp(x) == 0 and (len(x) > 1 or x[0] == 0):
        return float(x[0])
    if len(x) < 2:
        return -np.inf
    return float(x.mean() - scipy.stats.t.ppf(SURE, len(x) - 1) * x.std(ddof=1) / np.sqrt(len(x)))


def chosen(trials: Sequence[FrozenTrial], zeros: Sequence[float] | None) -> FrozenTrial | None:
    """The complete trial with the highest lower bound over `zeros`, the score of each track with β = 0; dB.

    Without `zeros`, the one with the highest score. Of equal trials the first wins, so that the answer does not
    depend on how the storage sorts.
    """
    complete = [t for t in trials if t.state == TrialState.COMPLETE and "steps" in t.user_attrs]
    if not complete:
        return None

    def bound(trial: FrozenTrial) -> float:
        return -np.inf if zeros is None else lower_bound(np.subtract(trial.user_attrs["by_track"], zeros))

    return max(complete, key=lambda trial: (bound(trial), trial.values[0], -trial.number))

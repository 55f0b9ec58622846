"""Which trial of a study is selected, that is exported.

The highest of many scores is biased upwards: part of it is luck with the tracks that it was chosen on. So a
trial is compared by its gain over the schedule of zeros (β = 0 with the same rule and options: what as many passes buy
without a schedule), track by track, and the one whose gain is surest is chosen. Zeros themselves have the gain 0 and no
uncertainty, so they are selected over a schedule that cannot be told from them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import scipy  # its parts are loaded at their first use
from numpy.typing import ArrayLike, NDArray
from optuna.trial import FrozenTrial, TrialState

SURE = 0.84
"""One-sided confidence of the lower bound: one standard error where tracks are many (`python -m benchmarks.honest`)."""


def lower_bound(differences: ArrayLike) -> NDArray[np.float64]:
    """Mean of differences (…, tracks) in dB less Student's t quantile times its standard error, (…); −∞ of one track.

    Zeros have no doubt, whatever their number: their bound is 0.
    """
    x = np.asarray(differences, dtype=np.float64)
    n = x.shape[-1]
    if n < 2:
        return np.where(x[..., 0] == 0, 0.0, -np.inf)
    error = x.std(axis=-1, ddof=1) / np.sqrt(n)
    return np.asarray(x.mean(axis=-1) - scipy.special.stdtrit(n - 1, SURE) * error)


def chosen(trials: Sequence[FrozenTrial], zeros: Sequence[float] | None) -> FrozenTrial | None:
    """The complete trial with the highest lower bound over `zeros`, the gain of each track with β = 0, in dB.

    Without `zeros`, the one with the highest score. Of trials that are equal to 1e-9 dB the first wins, so that the
    answer does not depend on how the storage sorts.
    """
    return max(
        _complete(trials),
        key=lambda t: (*_worth(t.values[0], t.user_attrs.get("gain_by_track"), zeros), -t.number),
        default=None,
    )


def would_be_named(
    trials: Sequence[FrozenTrial], zeros: Sequence[float] | None, value: float, gain_by_track: Sequence[float]
) -> bool:
    """Whether a trial that ends with this score and these gains (dB) would be `chosen`, or have the highest score.

    The latter is what Optuna calls the best.
    """
    selected, complete = chosen(trials, zeros), _complete(trials)
    if selected is None or value > max(trial.values[0] for trial in complete):
        return True
    return _worth(value, gain_by_track, zeros) > _worth(
        selected.values[0], selected.user_attrs.get("gain_by_track"), zeros
    )


def highest(trials: Sequence[FrozenTrial]) -> FrozenTrial | None:
    """The complete trial with the highest score, what Optuna calls the best; of equal ones the first."""
    return max(_complete(trials), key=lambda t: (t.values[0], -t.number), default=None)


def reason(trials: Sequence[FrozenTrial], zeros: Sequence[float] | None) -> str | None:
    """Why the selected trial is not the highest one; None where it is, or where there is none.

    Lower bounds are of the gain over β = 0 in dB; see `lower_bound`.
    """
    selected, top = chosen(trials, zeros), highest(trials)
    if selected is None or top is None or selected.number == top.number or zeros is None:
        return None
    sure, doubtful = (_worth(t.values[0], t.user_attrs.get("gain_by_track"), zeros)[0] for t in (selected, top))
    if doubtful <= 0:
        return f"not surely above β = 0 on {len(zeros)} tracks"
    return f"its gain over β = 0 is less sure: at least {doubtful:+.3f} dB, not {sure:+.3f} dB"


def _complete(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    return [t for t in trials if t.state == TrialState.COMPLETE and "steps" in t.user_attrs]


def _worth(value: float, gains: Sequence[float] | None, zeros: Sequence[float] | None) -> tuple[float, float]:
    """Lower bound of the `gains` by track over `zeros` (0 where there are none), then the score; dB."""
    bound = 0.0 if zeros is None or gains is None else float(lower_bound(np.subtract(gains, zeros)))
    return round(bound, 9), round(value, 9)

"""From references to a mixture."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite

import torch

from schedopt.errors import DataError


def mix(references: torch.Tensor, gains: Sequence[float] | None = None) -> torch.Tensor:
    """Mixture Σ gain_s · reference_s, (channels, samples), of references (stems, channels, samples).

    Uniform gains are 1, not the 1/4 of the method's report: a separator normalises its input, so a common
    factor changes the mixture's level and nothing else. Stems are added one after the other in their order,
    so that the same references give the same bits everywhere; `gains=None` and all gains 1 are the same
    bits too.

    Raises:
        DataError: if there is not one finite gain a stem.

    >>> import schedopt, torch
    >>> schedopt.mix(torch.ones(4, 2, 3), [1, 1, 1, 0.5])[0].tolist()
    [3.5, 3.5, 3.5]
    """
    assert references.ndim == 3, f"references are (stems, channels, samples), got {tuple(references.shape)}"
    if gains is None:
        gains = [1.0] * len(references)
    if len(gains) != len(references) or not all(isfinite(gain) for gain in gains):
        raise DataError(f"gains must be {len(references)} finite numbers, one a stem; got {list(gains)}")
    mixture = torch.zeros_like(references[0])
    for gain, reference in zip(gains, references, strict=True):
        mixture += gain * reference
    return mixture

"""Only the stems that are asked for are transformed back to waves: the inverse STFT of the others is left out."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

from torch import Tensor

from schedopt.separators.demucs.bag import HDEMUCS, HTDEMUCS, Model


@contextlib.contextmanager
def transforming_only(model: Model, stems: Sequence[int]) -> Iterator[Model]:
    """`model` whose outputs other than `stems` are worthless in here; those are the same to the bit, for less.

    Hybrid models predict one spectrogram a stem (`_ispec` turns (batch, stems, channels, frequencies, frames) into
    waves); a model of waves alone is left as it is.
    """
    if not isinstance(model, (HDEMUCS, HTDEMUCS)) or set(stems) == set(range(len(model.sources))):
        yield model
        return
    whole: Any = model._ispec

    def some(z: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        waves = whole(z[:, stems], *args, **kwargs)
        full: Tensor = waves.new_zeros(*z.shape[:2], *waves.shape[2:])
        full[:, stems] = waves
        return full

    model._ispec = some
    try:
        yield model
    finally:
        # The class's method shows again.
        del model._ispec

"""Stems that are asked for alone are those of the whole pass, to the bit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from schedopt.separators import Separator
from schedopt.separators.demucs.partial import narrowed
from tests.separators.networks import NETWORKS, demucs, hdemucs, htdemucs, mixture, spectrogram_hdemucs

WHOLE: dict[str, Callable[[], Any]] = {
    "Wiener filter": lambda: hdemucs(hybrid=False, cac=False, wiener_iters=1, end_iters=1),
    "norm behind the last layer": lambda: hdemucs(norm_starts=0),
}
BANDS: dict[str, Callable[[], Any]] = {
    "bands": lambda: hdemucs(multi_freqs=[0.25, 0.5]),
    "mask": lambda: hdemucs(hybrid=False, cac=False, wiener_iters=-1, end_iters=-1),
}


@pytest.mark.parametrize("kind", [*NETWORKS, *WHOLE, *BANDS])
@pytest.mark.parametrize("stems", [(3,), (1, 0), (0, 2, 3)])
def test_some_stems_equal_those_of_the_whole_pass(kind: str, stems: tuple[int, ...]) -> None:
    separator = Separator.from_model({**NETWORKS, **WHOLE, **BANDS}[kind](), device="cpu")
    waves = mixture(20_000)[None]
    whole = separator(waves)
    some = separator(waves, stems=[separator.stems[stem] for stem in stems])
    assert torch.equal(some, whole[:, list(stems)])
    assert torch.equal(separator(waves), whole)


@pytest.mark.parametrize("make", [htdemucs, hdemucs, spectrogram_hdemucs, demucs, *BANDS.values()])
def test_the_last_layers_are_smaller_and_the_others_shared(make: Callable[[], Any]) -> None:
    model = make()
    partial, places = narrowed(model, (2,))
    assert (partial.sources, places) == (["other"], [0])
    assert sum(p.numel() for p in partial.parameters()) < sum(p.numel() for p in model.parameters())
    shared = {id(weight) for weight in model.parameters()}
    own = [weight for weight in partial.parameters() if id(weight) not in shared]
    assert 0 < sum(weight.numel() for weight in own) < 0.1 * sum(weight.numel() for weight in model.parameters())
    assert model.sources == ["drums", "bass", "other", "vocals"]


@pytest.mark.parametrize("kind", WHOLE)
def test_models_that_mix_stems_at_the_end_run_whole(kind: str) -> None:
    model = WHOLE[kind]()
    assert narrowed(model, (2,)) == (model, [2])

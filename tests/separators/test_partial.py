"""Stems that are asked for alone are those of the whole pass, to the bit."""

from __future__ import annotations

import pytest
import torch
from demucs.hdemucs import HDemucs

from schedopt.separators import Separator
from schedopt.types import STEMS
from tests.models import tiny_hdemucs


def hybrid() -> HDemucs:
    torch.manual_seed(1)
    model: HDemucs = HDemucs(list(STEMS), channels=4, segment=2)
    return model


@pytest.mark.parametrize("make", [tiny_hdemucs, hybrid])
@pytest.mark.parametrize("stems", [("vocals",), ("bass", "drums")])
def test_some_stems_equal_those_of_the_whole_pass(make: type, stems: tuple[str, ...]) -> None:
    separator = Separator.from_model(make(), device="cpu")
    mixture = 0.1 * torch.randn(1, 2, 100_000, generator=torch.Generator().manual_seed(0))
    whole = separator(mixture)
    some = separator(mixture, stems=stems)
    for place, stem in enumerate(stems):
        assert torch.equal(some[:, place], whole[:, STEMS.index(stem)])
    assert torch.equal(separator(mixture), whole)

from __future__ import annotations

import pytest
import torch

from schedopt.data import mix
from schedopt.errors import DataError


@pytest.fixture
def references() -> torch.Tensor:
    return torch.randn(4, 2, 1000, generator=torch.Generator().manual_seed(0))


def test_uniform_gains_are_the_plain_sum_bit_for_bit(references: torch.Tensor) -> None:
    expected = ((references[0] + references[1]) + references[2]) + references[3]
    assert torch.equal(mix(references), expected)
    assert torch.equal(mix(references, [1, 1, 1, 1]), expected)


def test_gains_weigh_the_stems_in_their_order(references: torch.Tensor) -> None:
    before = references.clone()
    assert torch.equal(mix(references, [0, 0, 1, 0]), references[2])
    assert torch.equal(mix(references, [0, 2, 0, -0.5]), 2 * references[1] - 0.5 * references[3])
    assert torch.equal(references, before)


@pytest.mark.parametrize("gains", [[1, 1, 1], [1, 1, 1, 1, 1], [1, 1, 1, float("nan")], [float("inf"), 1, 1, 1]])
def test_gains_that_do_not_fit_are_refused(references: torch.Tensor, gains: list[float]) -> None:
    with pytest.raises(DataError, match=r"gains must be 4 finite numbers, one a stem; got \["):
        mix(references, gains)

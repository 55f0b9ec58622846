"""The engine from separator to score on pretended devices: every rule and output, and batches that do not fit."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
from torch import Tensor

from schedopt.errors import SeparatorError
from schedopt.evaluation import Evaluator
from schedopt.outputs import OUTPUTS
from schedopt.refinement import Refinement
from schedopt.rules import RULES
from schedopt.search.mixing import products_of
from schedopt.separators import Separator, devices
from schedopt.separators.overlap_add import Batch, Cut, overlap_add
from schedopt.store import Memoised, Store, _factors
from tests.devices import DEVICES, Kind, fake_device
from tests.models import noise_excerpt, tiny_hdemucs

BETAS = (0.3, 0.7)


@contextlib.contextmanager
def there(kind: Kind, **options: Any) -> Iterator[Separator]:
    """A block with a tiny separator on a device that this machine has not."""
    with fake_device(kind), mock.patch.object(devices, "_present", return_value=1):
        yield Separator.from_model(tiny_hdemucs(), device=kind, **options)
    _factors.cache_clear()  # no tensor of the block is used after it


@pytest.mark.parametrize("kind", DEVICES)
@pytest.mark.parametrize("output", OUTPUTS)
@pytest.mark.parametrize("rule", RULES)
def test_scores_are_those_of_the_cpu(kind: Kind, rule: str, output: str) -> None:
    refinement = Refinement("vocals", rule=rule, output=output, shift=True, residual=0.25, peak_guard=True)
    excerpts = [noise_excerpt(seed, 0.2) for seed in range(2)]

    def scores(separator: Separator) -> np.ndarray:
        # Less memory than the estimates need, so that some are dropped and some are found.
        store = Store(budget=10**6)
        evaluator = Evaluator(separator, excerpts, refinement, store=store, shared_stems=separator.stems, batch=2)
        return np.concatenate([evaluator.scores(BETAS), evaluator.scores(BETAS[:1])], axis=1)

    expected = scores(Separator.from_model(tiny_hdemucs(), device="cpu"))
    with mock.patch("schedopt.store._within", lambda device, budget: budget), there(kind) as separator:
        found = scores(separator)
    np.testing.assert_allclose(found, expected, atol=1e-3)


@pytest.mark.parametrize("kind", DEVICES)
@pytest.mark.parametrize("output", [name for name, output in OUTPUTS.items() if output.bands])
def test_weights_are_fitted_and_applied_there(kind: Kind, output: str) -> None:
    known, stems = OUTPUTS.find(output), 4
    count = len(BETAS) + 1 + stems + len(known.terms)
    weights = tuple(tuple(0.1 * (k + j) for j in range(count)) for k in range(known.bands))
    plain = Refinement("vocals", output=output, shift=True)
    how = plain.model_copy(update={"weights": weights})
    excerpts = [noise_excerpt(seed, 0.2) for seed in range(2)]

    def found(separator: Separator) -> tuple[np.ndarray, np.ndarray]:
        evaluator = Evaluator(separator, excerpts, plain, metric="snr", batch=2)
        return evaluator.scores(BETAS, refinement=how), products_of(evaluator, BETAS, 1, known).gram

    expected = found(Separator.from_model(tiny_hdemucs(), device="cpu"))
    with mock.patch("schedopt.store._within", lambda device, budget: budget), there(kind) as separator:
        scores, gram = found(separator)
    np.testing.assert_allclose(scores, expected[0], atol=1e-3)
    np.testing.assert_allclose(gram, expected[1], rtol=1e-3, atol=1e-3 * float(np.abs(expected[1]).max()))


@pytest.mark.parametrize("kind", DEVICES)
def test_long_mixtures_stay_where_they_are(kind: Kind) -> None:
    """What is as long as the mixtures stays on the CPU, what is as long as a segment goes to the device."""
    mixtures = 0.1 * torch.randn(2, 2, 9_000, generator=torch.Generator().manual_seed(0))
    plain = Separator.from_model(tiny_hdemucs(), device="cpu", segment=0.1)
    expected = plain.separate(mixtures, shifts=(0, 500), stems=("bass", "vocals"))
    with there(kind, segment=0.1) as separator:
        found = separator.separate(mixtures, shifts=(0, 500), stems=("bass", "vocals"))
        assert found.device.type == "cpu"
        there_too = separator(mixtures.to(separator.device))
        assert there_too.device.type == kind
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", DEVICES)
def test_passes_are_remembered_there(kind: Kind) -> None:
    with mock.patch("schedopt.store._within", lambda device, budget: budget), there(kind) as separator:
        memoised = Memoised(separator, Store())
        audio = noise_excerpt(0).references.sum(dim=0).to(separator.device)
        for _ in range(2):
            (estimates,) = memoised.run([audio], 0, ("vocals",), 0)
            assert estimates.device.type == kind
        assert memoised.passes == 1


def small_memory(holds: int, seen: list[int]) -> object:
    """A network that runs out of memory for more than `holds` segments; notes how many came."""

    def network(inputs: Tensor) -> Tensor:
        seen.append(len(inputs))
        if len(inputs) > holds:
            raise torch.OutOfMemoryError("out of memory")
        return torch.stack([inputs, -inputs], dim=1)

    return network


def estimates_with(holds: int, batch: Batch, seen: list[int]) -> Tensor:
    mixture, cpu = torch.linspace(-1, 1, 1_000).repeat(2, 1), torch.device("cpu")
    pieces = overlap_add(
        small_memory(holds, seen),  # type: ignore[arg-type]
        Cut(100, 75),
        lambda _, first, count: mixture[:, first : first + count],
        1,
        1_000,
        batch,
        cpu,
        cpu,
    )
    found = torch.cat([piece for _, piece in pieces], dim=-1)
    torch.testing.assert_close(found[0], torch.stack([mixture, -mixture]))
    return found


@pytest.mark.parametrize("holds", [1, 2, 3, 5])
def test_a_batch_that_does_not_fit_is_halved_for_good(holds: int) -> None:
    batch, seen = Batch(8), list[int]()
    estimates_with(holds, batch, seen)
    assert batch.segments <= holds
    seen.clear()
    estimates_with(holds, batch, seen)
    assert max(seen) <= holds  # remembered: nothing fails the second time


def test_a_segment_that_does_not_fit_alone_is_said() -> None:
    with pytest.raises(SeparatorError, match="cpu has too little memory for one segment"):
        estimates_with(0, Batch(4), [])

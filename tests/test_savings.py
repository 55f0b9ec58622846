"""Every saving turned on and off gives the same values: store, disk, batches, shared plain pass, order of trials."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from numpy.testing import assert_allclose

from schedopt.disk import DiskStore
from schedopt.evaluation import Evaluator, Scores
from schedopt.refinement import Refinement
from schedopt.schedules import Schedule
from schedopt.separators import Separator
from schedopt.store import Store
from tests.models import noise_excerpt, tiny_hdemucs

SEPARATOR = Separator.from_model(tiny_hdemucs(), device="cpu")
EXCERPTS = [noise_excerpt(seed, seconds=0.2) for seed in range(2)]
TRIALS: list[Schedule] = [(0.2, 0.4), (0.2, 0.0), (0.0, 0.0), (0.5, 0.6), (0.2, 0.4)]
REFINEMENTS = [Refinement("bass"), Refinement("vocals", rule="resum", shift=True, output="mean")]


def values(refinement: Refinement, trials: list[Schedule] = TRIALS, **options: Any) -> Scores:
    evaluator = Evaluator(SEPARATOR, EXCERPTS, refinement, **options)
    found = {betas: evaluator.scores(betas).mean(axis=0) for betas in trials}
    return [found[betas] for betas in TRIALS]  # type: ignore[return-value]


@pytest.mark.parametrize("refinement", REFINEMENTS, ids=lambda r: r.rule)
def test_every_saving_keeps_every_value(refinement: Refinement, tmp_path: Path) -> None:
    plain = values(refinement, store=Store(budget=0))

    def same(**options: Any) -> None:
        assert_allclose(values(refinement, **options), plain, rtol=0, atol=1e-6)

    same(store=Store())
    same(store=Store(disk=DiskStore(tmp_path, 10**9)))
    # Another process, or a later run, with nothing in memory.
    same(store=Store(disk=DiskStore(tmp_path, 10**9)))
    same(store=Store(budget=300_000))
    same(shared_stems=SEPARATOR.stems)
    same(trials=TRIALS[::-1])
    shared = Store()
    for other in REFINEMENTS:
        values(other, store=shared, shared_stems=SEPARATOR.stems)
    same(store=shared, shared_stems=SEPARATOR.stems)


@pytest.mark.parametrize("refinement", REFINEMENTS, ids=lambda r: r.rule)
def test_batches_keep_every_value(refinement: Refinement) -> None:
    one = values(refinement)
    batched = Separator.from_model(tiny_hdemucs(), device="cpu", batch_segments=4)
    evaluator = Evaluator(batched, EXCERPTS, refinement, batch=3)
    for betas, value in zip(TRIALS, one, strict=True):
        # Other shapes may take other float32 kernels: 1e-4 dB, not 1e-6.
        assert_allclose(evaluator.scores(betas).mean(axis=0), value, rtol=0, atol=1e-4)


def test_a_second_process_runs_no_plain_pass_again(tmp_path: Path) -> None:
    for count in range(2):
        disk = DiskStore(tmp_path, 10**9)
        evaluator = Evaluator(SEPARATOR, EXCERPTS, REFINEMENTS[0], store=Store(disk=disk))
        evaluator.scores((0.3, 0.6, 0.9))
        assert evaluator.passes.run == (2 if count else 8)

"""What a study file is made into: silent targets are left out, and the run says which and how many."""

from __future__ import annotations

import pytest

from schedopt.config import make_config
from schedopt.search.prepared import PreparedSearch
from schedopt.store import Store
from tests.models import noise_excerpt, tiny_separator


def test_silent_targets_are_said(caplog: pytest.LogCaptureFixture) -> None:
    excerpts = [noise_excerpt(1), noise_excerpt(2, silent=("vocals",))]
    prepared = PreparedSearch(make_config({"study": {"name": "m"}}), tiny_separator(), excerpts, Store())
    objective = prepared.objective("vocals")
    assert len(objective.units) == 1
    assert caplog.messages == ["vocals is silent in 1 of 2 excerpts, which are left out of its mean: track-2 @ 0 s"]

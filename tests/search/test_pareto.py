"""Studies of two objectives: a high score for few passes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from schedopt.cli import call
from schedopt.config import make_config
from schedopt.errors import ConfigError
from tests.studies import write_study


def test_the_front_rises_with_the_passes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_study(tmp_path, tracks=2, search={"pareto": True, "sampler": "random"}, study={"trials": 10})
    assert call(["run", str(path), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    front = document["front"]
    passes = [point["passes"] for point in front]
    values = [point["value"] for point in front]
    assert passes == sorted(set(passes))
    assert values == sorted(values)
    assert all(len(point["betas"]) == point["passes"] - 1 for point in front)
    assert document["best"]["value"] == values[-1]
    assert call(["run", str(path)]) == 0
    assert "what one more pass buys" in capsys.readouterr().out


def test_pruners_and_cmaes_do_not_go_with_two_objectives() -> None:
    base = {"study": {"name": "m"}}
    assert make_config({**base, "search": {"pareto": True}}).search.pruner == "none"
    for search in ({"pareto": True, "pruner": "wilcoxon"}, {"pareto": True, "sampler": "cmaes"}):
        with pytest.raises(ConfigError, match="pareto"):
            make_config({**base, "search": search})

"""Values from Python in a config: scalars and arrays of numpy and torch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from schedopt import make_config
from schedopt.errors import ConfigError


def test_a_config_takes_numpys_scalars() -> None:
    config = make_config({
        "study": {"name": np.str_("x"), "trials": np.int64(3)},
        "data": {"tracks": np.uint8(2), "excerpt": np.float32(0.5), "gains": {"vocals": np.float64(0.5)}},
        "refinement": {"steps": np.array(2), "shift": np.bool_(True)},
        "schedule": {"resolution": torch.tensor(0.25)},
    })  # fmt: skip
    assert (config.study.trials, config.data.tracks, config.data.excerpt) == (3, 2, 0.5)
    assert (config.data.gains, config.refinement.steps, config.schedule.resolution) == ({"vocals": 0.5}, 2, 0.25)
    assert (type(config.study.trials), config.refinement.shift) == (int, True)


@pytest.mark.parametrize("value", [np.float64(3.5), np.zeros(0), np.zeros(3), np.array("three"), np.bool_(True)])
def test_other_values_of_numpy_are_one_line(value: Any) -> None:
    with pytest.raises(ConfigError, match=r"^config: study\.trials.*: Input should be a valid integer$"):
        make_config({"study": {"name": "x", "trials": value}})

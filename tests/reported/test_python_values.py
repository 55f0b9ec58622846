"""Values from Python: samples that are no sound, settings of `schedopt.api`."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import schedopt.api
from schedopt.errors import DataError, SeparatorError
from schedopt.separators import save_safetensors
from schedopt.songs.schedule import SongSchedule, load_schedule
from tests.models import tiny_hdemucs

BAD: list[tuple[dict[str, Any], str]] = [
    ({"segment": -1}, "segment -1 is not a number of seconds above 0"),
    ({"segment": "x"}, "segment 'x' is not a number of seconds above 0"),
    ({"segment": math.nan}, "segment nan is not a number of seconds above 0"),
    ({"segment": 1e-6}, "segment 1e-06 with overlap 0.25 moves by less than a sample"),
    ({"overlap": 2}, "overlap 2 is not a number from 0 to below 1"),
    ({"overlap": math.nan}, "overlap nan is not a number from 0 to below 1"),
    ({"shifts": -1}, "shifts -1 is not a whole number from 0 up"),
    ({"shifts": 0.5}, "shifts 0.5 is not a whole number from 0 up"),
    ({"jobs": -1}, "jobs -1 is not a whole number from 0 up"),
    ({"device": "x"}, "device 'x' is not known: auto, cpu, cuda, cuda:N or mps"),
    ({"device": "cuda:99"}, "device 'cuda:99' is not there"),
]


@pytest.fixture
def model(tmp_path: Path) -> str:
    save_safetensors(tiny_hdemucs(), tmp_path / "tiny.safetensors")
    return str(tmp_path / "tiny.safetensors")


@pytest.fixture(scope="module")
def schedule() -> SongSchedule:
    return load_schedule("demo", device="cpu")


@pytest.mark.parametrize(
    ("samples", "says"),
    [
        (np.full((2, 3000), np.nan, np.float32), "the song holds NaN or infinite samples, the first at 0.000000 s"),
        (torch.zeros(2, 3000).index_fill(1, torch.tensor(441), -math.inf), "the first at 0.010000 s"),
        (np.zeros((2, 3000), np.complex64), "the song holds complex samples"),
        (np.zeros((2, 3000), "U1"), "a song cannot be made of ndarray"),
        (None, "a song cannot be made of NoneType"),
    ],
)
def test_samples_that_are_no_sound_are_refused(schedule: SongSchedule, samples: Any, says: str) -> None:
    for call in (schedule.refine, schedule.quality):
        with pytest.raises(DataError, match=re.escape(says)):
            call(samples)


@pytest.mark.parametrize(("settings", "says"), BAD, ids=str)
def test_settings_are_checked_when_they_are_given(model: str, settings: dict[str, Any], says: str) -> None:
    with pytest.raises(SeparatorError, match=re.escape(says)):
        schedopt.api.Separator(model, **settings)
    separator = schedopt.api.Separator(model, device="cpu", shifts=0)
    with pytest.raises(SeparatorError, match=re.escape(says)):
        separator.update_parameter(**settings)
    # What was refused has changed nothing.
    origin, stems = separator.separate_tensor(torch.zeros(2, 3000))
    assert all(stem.shape == origin.shape for stem in stems.values())


def test_settings_that_can_be_used(model: str) -> None:
    separator = schedopt.api.Separator(model, device="auto", shifts=np.int64(0), segment=np.float32(0.5), jobs=1)
    separator.update_parameter(torch.device("cpu"), 0, 0.0, segment=None)
    separator.update_parameter(device=None)
    assert len(separator.separate_tensor(torch.zeros(2, 3000))[1]) == 4

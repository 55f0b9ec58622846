"""Small real files to test with: tones, one pitch a stem."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import soundfile

from schedopt.types import STEMS

PITCHES = {"drums": 110.0, "bass": 220.0, "other": 330.0, "vocals": 440.0}  # Hz

FloatArray = npt.NDArray[np.float64]


def tone(seconds: float, hz: float, rate: int = 44_100, channels: int = 2, level: float = 0.25) -> FloatArray:
    """A sine (frames, channels); the second channel is half as loud."""
    time = np.arange(round(seconds * rate)) / rate
    return np.asarray(level * np.sin(2 * np.pi * hz * time)[:, None] * np.array([1.0, 0.5])[:channels])


def write(path: Path, samples: npt.NDArray[np.floating[Any]], rate: int = 44_100, subtype: str | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples, rate, subtype=subtype)
    return path


def write_track(
    folder: Path, seconds: float = 1.0, rate: int = 44_100, channels: int = 2, suffix: str = ".wav"
) -> Path:
    """A track folder with the four stems as tones."""
    for stem in STEMS:
        write(folder / f"{stem}{suffix}", tone(seconds, PITCHES[stem], rate, channels), rate)
    return folder

"""Songs in files and schedules in memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from schedopt.files.schedule_file import Entry
from schedopt.separators import Separator
from tests.models import RATE
from tests.separators.networks import demucs, mixture


def tiny(**options: Any) -> Separator:
    """A small Demucs with segments of a quarter of a second."""
    return Separator.from_model(demucs(**options), name="tiny", device="cpu")


def entry(*betas: float, **options: Any) -> Entry:
    return Entry(**{"rule": "remix", "betas": betas, **options})


def write_song(path: Path, seconds: float = 0.6, seed: int = 0, rate: int = RATE, **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    samples = mixture(int(seconds * rate), seed).numpy().T
    with path.open("wb") as file:  # by descriptor: names need not be UTF-8
        kind = {".flac": "FLAC", ".ogg": "OGG", ".mp3": "MP3"}.get(path.suffix, "WAV")
        subtype = {"WAV": "FLOAT"}.get(kind)
        soundfile.write(file, samples, rate, format=kind, **{"subtype": subtype, **options})
    return path


def read_stems(folder: Path) -> dict[str, np.ndarray[Any, np.dtype[np.float32]]]:
    return {path.stem: soundfile.read(path, dtype="float32")[0].T for path in sorted(folder.iterdir())}

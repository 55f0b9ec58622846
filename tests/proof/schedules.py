"""Schedule files for tests, with the small model and held-out tracks that they name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from schedopt.separators import load_separator, save_safetensors
from tests.models import RATE, tiny_hdemucs
from tests.studies import write_tracks

TRACKS = 7


def write_bench(folder: Path, tracks: int = TRACKS) -> Path:
    """A model and held-out tracks under `folder`; the last track has no vocals."""
    save_safetensors(tiny_hdemucs(), folder / "tiny.safetensors")
    write_tracks(folder / "music", tracks, split="held-out", first=10)
    silent = folder / "music" / "held-out" / f"track-{9 + tracks}" / "vocals.wav"
    soundfile.write(silent, np.zeros((RATE // 2, 2)), RATE, subtype="FLOAT")
    return folder


def schedule(folder: Path, **targets: dict[str, Any]) -> dict[str, Any]:
    """The document of a schedule file: the keys of each target's schedule, with what `write_bench` wrote around."""
    model = folder / "tiny.safetensors"
    return {
        "format": 1,
        "kind": "schedopt schedule",
        "model": {"model": str(model), "weights": load_separator(str(model), device="cpu").weights},
        "data": {"source": f"folder:{folder / 'music'}", "excerpt": 0.2, "excerpts_per_track": 1},
        "schedules": {target: {"rule": "remix", **keys} for target, keys in targets.items()},
    }


def write_schedule(folder: Path, name: str, **targets: dict[str, Any]) -> Path:
    path = folder / f"{name}.schedule.json"
    path.write_text(json.dumps(schedule(folder, **targets)), encoding="utf-8")
    return path

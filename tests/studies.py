"""Small complete studies on disk: a folder of tracks, a weights file and a study file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import soundfile

from schedopt.config import StudyConfig, load_config
from schedopt.separators import save_safetensors
from tests.models import RATE, noise_excerpt, tiny_hdemucs


def write_tracks(folder: Path, count: int, seconds: float = 0.5, split: str = "search", first: int = 0) -> Path:
    """`count` track folders with four stems each under `folder`/`split`; songs from number `first` on."""
    for seed in range(first, first + count):
        excerpt = noise_excerpt(seed, seconds)
        track = folder / split / excerpt.track
        track.mkdir(parents=True)
        for stem, audio in zip(excerpt.stems, excerpt.references, strict=True):
            soundfile.write(track / f"{stem}.wav", audio.numpy().T, RATE, subtype="FLOAT")
    return folder


def write_study(folder: Path, tracks: int = 3, name: str = "small", **sections: dict[str, Any]) -> Path:
    """A study file whose model and tracks lie beside it; `sections` adds or replaces keys."""
    if not (folder / "music").exists():
        write_tracks(folder / "music", tracks)
        save_safetensors(tiny_hdemucs(), folder / "tiny.safetensors")
    settings: dict[str, dict[str, Any]] = {
        "study": {"name": name, "storage": f"sqlite:///{folder}/studies.db", "trials": 6},
        "data": {"source": "folder:music", "excerpt": 0.4},
        "separator": {"model": "tiny.safetensors", "device": "cpu", "precision": "float32"},
        "refinement": {"steps": 3},
    }
    for section, keys in sections.items():
        settings.setdefault(section, {}).update(keys)
    path = folder / f"{name}.toml"
    path.write_text("\n".join(_table(section, keys) for section, keys in settings.items()))
    return path


def _table(section: str, keys: dict[str, Any]) -> str:
    return "\n".join([f"[{section}]", *(f"{key} = {_value(value)}" for key, value in keys.items()), ""])


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {_value(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(_value(inner) for inner in value) + "]"
    return f'"{value}"' if isinstance(value, str) else str(value)


def make_study(folder: Path, **sections: dict[str, Any]) -> StudyConfig:
    return load_config(write_study(folder, **sections))  # type: ignore[arg-type]

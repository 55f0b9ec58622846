"""Scores of estimates that lie in files, against the true stems in files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from schedopt.data import is_track_folder, open_stem_folder, stem_files, track_folders
from schedopt.errors import DataError
from schedopt.metrics import METRICS, scorer


@dataclass(frozen=True)
class Evaluation:
    """Scores in dB by metric: mean over tracks of each stem, and each track's own."""

    stems: Mapping[str, Mapping[str, float]]
    tracks: Mapping[str, Mapping[str, Mapping[str, float]]]
    silent: tuple[str, ...]


def evaluate(reference: Path, estimate: Path) -> Evaluation:
    """Compare two folders of stems: of one track each, or of track folders with the same names.

    Stems that both sides hold are scored; a stem that is silent in the reference is left out and listed.

    Raises:
        DataError: nothing to compare, unequal lengths, or files that cannot be read.
    """
    pairs = _pairs(reference, estimate)
    tracks: dict[str, dict[str, dict[str, float]]] = {}
    silent: list[str] = []
    for name, (true, guess) in pairs.items():
        tracks[name], quiet = _score_track(true, guess)
        silent += [f"{name}: {stem}" for stem in quiet]
    stems = {stem: None for scores in tracks.values() for stem in scores}
    if not stems:
        raise DataError(f"{reference}: every stem is silent, so there is nothing to score")
    means: dict[str, Mapping[str, float]] = {
        stem: {
            metric: float(np.mean([scores[stem][metric] for scores in tracks.values() if stem in scores]))
            for metric in METRICS
        }
        for stem in stems
    }
    return Evaluation(means, tracks, tuple(silent))


def _pairs(reference: Path, estimate: Path) -> dict[str, tuple[Path, Path]]:
    if is_track_folder(reference):
        return {reference.resolve().name: (reference, estimate)}
    there = {folder.name: folder for folder in track_folders(reference)}
    if not there:
        raise DataError(f"{reference}: no stems here; they are named drums, bass, other, vocals (.wav or .flac)")
    pairs = {name: (folder, estimate / name) for name, folder in there.items() if (estimate / name).is_dir()}
    if not pairs:
        raise DataError(f"{estimate}: holds none of the tracks of {reference} ({', '.join(sorted(there)[:3])} …)")
    return pairs


def _score_track(reference: Path, estimate: Path) -> tuple[dict[str, dict[str, float]], list[str]]:
    shared = [stem for stem in stem_files(reference) if stem in stem_files(estimate)]
    if not shared:
        raise DataError(f"{estimate}: holds no stem that {reference} holds too")
    true, guess = open_stem_folder(reference, shared), open_stem_folder(estimate, shared)
    if true.samples != guess.samples:
        raise DataError(
            f"{estimate}: is {guess.samples} samples long, its reference {true.samples}; both must be equally long"
        )
    scores: dict[str, dict[str, float]] = {}
    silent: list[str] = []
    # Stem after stem, so that memory holds two of them, not eight.
    for stem in shared:
        x = open_stem_folder(reference, [stem]).read()[0]
        if not torch.any(x):
            silent.append(stem)
            continue
        x_hat = open_stem_folder(estimate, [stem]).read()[0]
        scores[stem] = {metric: float(scorer(metric, x)(x_hat)) for metric in METRICS}
    return scores, silent

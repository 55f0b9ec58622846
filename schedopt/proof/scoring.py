"""Scores of estimates that lie in files, against the true stems in files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from schedopt.data import is_track_folder, open_stem_folder, stem_files, track_folders
from schedopt.data._text import shown
from schedopt.errors import DataError
from schedopt.metrics import METRICS, scorer


@dataclass(frozen=True)
class Evaluation:
    """Scores in dB by metric: mean over tracks of each stem, and each track's own."""

    stems: Mapping[str, Mapping[str, float]]
    tracks: Mapping[str, Mapping[str, Mapping[str, float]]]
    silent: tuple[str, ...]
    unmatched: tuple[str, ...]
    """What only one side holds, in words."""


def evaluate(reference: Path, estimate: Path) -> Evaluation:
    """Compare two folders of stems: of one track each, or of track folders with the same names.

    Stems that both sides hold are scored. A stem that is silent in the reference is left out and listed, and so is
    a track or stem that only one side holds.

    Raises:
        DataError: nothing to compare, unequal lengths, or files that cannot be read.
    """
    pairs, unmatched = _pairs(reference, estimate)
    tracks: dict[str, dict[str, dict[str, float]]] = {}
    silent: list[str] = []
    for name, (true, guess) in pairs.items():
        here, there = stem_files(true), stem_files(guess)
        unmatched += [f"{name}: {line}" for line in _one_sided(here, there, true, guess)]
        tracks[name], quiet = _score_track(true, guess, [stem for stem in here if stem in there])
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
    return Evaluation(means, tracks, tuple(silent), tuple(unmatched))


def _pairs(reference: Path, estimate: Path) -> tuple[dict[str, tuple[Path, Path]], list[str]]:
    """The track folders of both sides by name, and what only one side holds."""
    if is_track_folder(reference):
        return {reference.resolve().name: (reference, estimate)}, []
    there = {folder.name: folder for folder in track_folders(reference)}
    if not there:
        raise DataError(f"{reference}: no stems here; they are named drums, bass, other, vocals (.wav or .flac)")
    here = {folder.name: folder for folder in track_folders(estimate)}
    pairs = {name: (folder, here[name]) for name, folder in there.items() if name in here}
    if not pairs:
        raise DataError(f"{estimate}: holds none of the tracks of {reference} ({', '.join(sorted(there)[:3])} …)")
    return pairs, _one_sided(there, here, reference, estimate)


def _one_sided(there: Iterable[str], here: Iterable[str], reference: Path, estimate: Path) -> list[str]:
    there, here = list(there), list(here)
    return [f"{shown(name)} is only in {shown(reference)}" for name in there if name not in here] + [
        f"{shown(name)} is only in {shown(estimate)}" for name in here if name not in there
    ]


def _score_track(
    reference: Path, estimate: Path, shared: Sequence[str]
) -> tuple[dict[str, dict[str, float]], list[str]]:
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
        x = true.read_stem(stem)
        if not torch.any(x):
            silent.append(stem)
            continue
        x_hat = guess.read_stem(stem)
        scores[stem] = {metric: float(scorer(metric, x)(x_hat)) for metric in METRICS}
    return scores, silent

"""Scores of estimates that lie in files, against the true stems in files."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from schedopt.data import SUFFIXES, Audio, is_track_folder, open_audio, stem_files, track_folders
from schedopt.data.folder import is_folder, list_folder
from schedopt.data.stems import KNOWN_STEMS
from schedopt.errors import DataError, shown
from schedopt.metrics import METRICS, scorer
from schedopt.types import CORE

NO_STEMS = frozenset(["mixture"])
"""Names of audio files that are no stems: MUSDB18-HQ keeps the mixture beside them."""

TOLERANCE = 0.01
"""Seconds by which an estimate and its reference may differ in length; resampling and encoders round it."""

INAUDIBLE = 2.0**-24
"""A peak below one step of 24-bit audio, of which a note tells."""

OF_OTHER_STEMS = frozenset(["si_sir"])
"""Metrics that measure the other stems in an estimate: there is nothing to measure where none of them sounds."""

log = logging.getLogger("schedopt")


@dataclass(frozen=True)
class Evaluation:
    """Scores by metric: of each stem over tracks (mean, or median where publications have that), and of each track."""

    stems: Mapping[str, Mapping[str, float]]
    tracks: Mapping[str, Mapping[str, Mapping[str, float]]]
    silent: tuple[str, ...]
    unmatched: tuple[str, ...]
    """What only one side holds, and what lies beside tracks or in a track without being scored, in words."""


def evaluate(reference: Path, estimate: Path, metrics: Sequence[str] = CORE) -> Evaluation:
    """Compare two folders of stems: of one track each, or of track folders with the same names.

    Stems that both sides hold are scored, whatever their names, at the sample rate of the reference's file. A stem that
    is silent in the reference is left out and listed, and so is a track or stem that only one side holds. Where stems
    lie in `reference` itself it is one track, and tracks in sub-folders are listed as left out. Memory holds two stems
    at a time, or all where a metric needs them.

    Raises:
        ConfigError: an unknown metric.
        DataError: nothing to compare, lengths that differ by more than `TOLERANCE`, or files that cannot be read.
    """
    for name in metrics:
        METRICS.find(name)
    pairs, unmatched = _pairs(reference, estimate)
    tracks: dict[str, dict[str, dict[str, float]]] = {}
    silent: list[str] = []
    for name, (true, guess) in pairs.items():
        here, there = (stem_files(folder, _names([true, guess])) for folder in (true, guess))
        unmatched += [f"{name}: {line}" for line in _one_sided(here, there, true, guess)]
        if not here.keys() & there.keys():
            raise DataError(f"{shown(guess)}: holds no stem that {shown(true)} holds too{_hint(true, guess)}")
        stems = {stem: _Stem(paths) for stem, paths in here.items()}
        tracks[name] = {}
        for stem in here:
            if stem in there:
                scores = _score_stem(stems, stem, _Stem(there[stem]), metrics)
                if scores is None:
                    silent.append(f"{name}: {stem}")
                else:
                    tracks[name][stem] = scores
    if not any(tracks.values()):
        raise DataError(f"{reference}: every stem is silent, so there is nothing to score")
    return Evaluation(_over_tracks(list(tracks.values()), metrics), tracks, tuple(silent), tuple(unmatched))


class _Stem:
    """A stem of a track: the sum of its files."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self.path = paths[0]
        self._files: list[Audio] = [open_audio(path, None) for path in paths]
        self.rate = max(audio.sample_rate for audio in self._files)

    def read(self, rate: int) -> Tensor:
        """From end to end at `rate` Hz, (2, samples)."""
        pieces = [replace(audio, sample_rate=rate).read() for audio in self._files]
        longest = max(piece.shape[-1] for piece in pieces)
        return torch.stack([pad(piece, (0, longest - piece.shape[-1])) for piece in pieces]).sum(dim=0)


def _score_stem(
    references: Mapping[str, _Stem], stem: str, guess: _Stem, metrics: Sequence[str]
) -> dict[str, float] | None:
    """Scores of one stem by metric, None where its reference is silent. `references` are those of all stems."""
    rate = references[stem].rate
    if guess.rate != rate:
        log.warning("%s: %d Hz, resampled to its reference's %d Hz", shown(guess.path), guess.rate, rate)
    x, x_hat = _equally_long(references[stem], guess, rate)
    if not x.any():
        return None
    peak = x_hat.abs().max().item()
    if 0 < peak < INAUDIBLE:
        log.warning("%s: its peak is %.1e, inaudible; metrics that forgive gains score it", shown(guess.path), peak)
    whole = None
    if any(METRICS.find(name).needs_all_stems for name in metrics):
        others = [x if name == stem else other.read(rate) for name, other in references.items()]
        length = x.shape[-1]
        whole = torch.stack([pad(other, (0, max(0, length - other.shape[-1])))[:, :length] for other in others])
    target, scores = list(references).index(stem), {}
    alone = whole is not None and not any(other.any() for k, other in enumerate(whole) if k != target)
    for name in metrics:
        try:
            if alone and name in OF_OTHER_STEMS:
                raise DataError("no other stem sounds in the reference, so none can interfere")
            score = scorer(name, x, references=whole, target=target, sample_rate=rate, keep_transform=False)
        except DataError as error:
            log.warning("%s: no %s: %s", shown(references[stem].path), name, error)
        else:
            scores[name] = float(score(x_hat))
    return scores


def _equally_long(true: _Stem, guess: _Stem, rate: int) -> tuple[Tensor, Tensor]:
    """Both at `rate`, cut to the shorter one; a note tells of a difference."""
    x, x_hat = true.read(rate), guess.read(rate)
    long, short = max(x.shape[-1], x_hat.shape[-1]), min(x.shape[-1], x_hat.shape[-1])
    if long - short > TOLERANCE * rate:
        raise DataError(
            f"{shown(guess.path)}: is {x_hat.shape[-1]} samples long, its reference {x.shape[-1]} (at {rate} Hz); both "
            "must be equally long"
        )
    if long > short:
        which = guess.path if x_hat.shape[-1] > short else true.path
        log.warning("%s: %d samples longer than its counterpart, which are left out", shown(which), long - short)
    return x[:, :short], x_hat[:, :short]


def _over_tracks(
    tracks: Sequence[Mapping[str, Mapping[str, float]]], metrics: Sequence[str]
) -> dict[str, dict[str, float]]:
    """Stem → metric → score over the tracks that have one."""
    means: dict[str, dict[str, float]] = {stem: {} for scores in tracks for stem in scores}
    for stem, by_metric in means.items():
        for name in metrics:
            values = [scores[stem][name] for scores in tracks if name in scores.get(stem, ())]
            average = np.median if METRICS.find(name).over_tracks == "median" else np.mean
            if values:
                by_metric[name] = float(average(values))
    return means


def _pairs(reference: Path, estimate: Path) -> tuple[dict[str, tuple[Path, Path]], list[str]]:
    """The track folders of both sides by name, and what only one side holds."""
    if is_track_folder(reference, _names([reference])):
        return {reference.resolve().name: (reference, estimate)}, _nested(reference, estimate)
    there, here = ({folder.name: folder for folder in _track_folders(root)} for root in (reference, estimate))
    if not there:
        raise DataError(f"{reference}: no stems here: files such as vocals.wav, or a folder of them for each track")
    pairs = {name: (folder, here[name]) for name, folder in there.items() if name in here}
    if not pairs:
        raise DataError(f"{estimate}: holds none of the tracks of {reference} ({', '.join(sorted(there)[:3])} …)")
    loose = [
        f"{shown(path)} lies beside the tracks: {shown(reference)} holds a folder a track, so only stems in such "
        "folders are scored"
        for path in _audio_files(estimate)
        if path.stem.lower() not in NO_STEMS
    ]
    return pairs, _one_sided(there, here, reference, estimate) + loose


def _nested(reference: Path, estimate: Path) -> list[str]:
    """The tracks in sub-folders of two folders that are compared as one track, in words."""
    found = sorted(
        {name for one, other in ((reference, estimate), (estimate, reference)) for name in _inside(one, other)}
    )
    return [f"{shown(name)}: stems lie in {shown(reference)} itself, which is scored as one track" for name in found]


def _inside(folder: Path, other: Path) -> list[str]:
    """Names of the sub-folders that are tracks: neither stems of `folder` nor the `other` side of the comparison."""
    names, apart = _names([folder]), other.resolve()
    stems = {path.parent for paths in stem_files(folder, names).values() for path in paths}
    return [
        entry.name
        for entry in list_folder(folder)
        if is_folder(entry)
        and entry not in stems
        and not apart.is_relative_to(entry.resolve())
        and is_track_folder(entry, _names([entry]))
    ]


def _hint(reference: Path, estimate: Path) -> str:
    """What to do where the stems of the reference lie in its root, and those of the estimate in folders."""
    inside = _inside(estimate, reference)
    if not inside:
        return ""
    return (
        f", only folders such as {shown(inside[0])}: stems lie in {shown(reference)} itself, which is scored as one "
        "track; move them into a folder a track, or compare one folder with one"
    )


def _track_folders(root: Path) -> list[Path]:
    return track_folders(root, _names(folder for folder in list_folder(root) if is_folder(folder)))


def _names(folders: Iterable[Path]) -> Mapping[str, str]:
    """What counts as the name of a stem, in lower case: known ones, and those of all audio files in `folders`."""
    files = (entry for folder in folders for entry in _audio_files(folder))
    return {name: name for name in (*KNOWN_STEMS, *(entry.stem.lower() for entry in files)) if name not in NO_STEMS}


def _audio_files(folder: Path) -> list[Path]:
    return [entry for entry in list_folder(folder) if entry.suffix.lower() in SUFFIXES]


def _one_sided(there: Iterable[str], here: Iterable[str], reference: Path, estimate: Path) -> list[str]:
    there, here = list(there), list(here)
    return [f"{shown(name)} is only in {shown(reference)}" for name in there if name not in here] + [
        f"{shown(name)} is only in {shown(estimate)}" for name in here if name not in there
    ]

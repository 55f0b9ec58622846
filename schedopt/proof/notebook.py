"""How the authors' notebook prepares tracks and passes, where that differs from a study.

An excerpt starts where the last of a track's stems and its mixture has started (`common_start`). The mixture is the sum
of the stems, scaled to the peak of the track's own mixture; to a peak of 1 where the track has none. With `normalize`
every input is divided by its peak before its pass, and the estimates are left at that scale. `gains` are the stems'
weights in the sums of `resum`. Source: the notebook of "Progressive Inference for Music Demixing" (2025).
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from schedopt.config import StudyConfig
from schedopt.data import load_tracks, mix, open_audio, stem_files
from schedopt.data.folder import is_folder
from schedopt.data.tracks import StemTrack
from schedopt.errors import DataError
from schedopt.search.prepared import stems_to_cut
from schedopt.separators import Separator
from schedopt.store import Memoised
from schedopt.types import Excerpt, Track

FRAME, HOP, SILENCE_DB = 2048, 512, -60.0
"""Samples of a frame, samples between frames, and the level against a stem's loudest frame below which it is silent:
the defaults of `librosa.effects.trim`, which the notebook calls."""

SILENT_PEAK = 1e-4
"""A stem whose mono mix stays below it is silent."""

log = logging.getLogger("schedopt")


@dataclass(frozen=True)
class Notebook:
    """The notebook's options: `normalize` inputs by their peaks; `gains` by stem, 1 where not named."""

    normalize: bool = False
    gains: Mapping[str, float] = field(default_factory=dict)


@dataclass
class NotebookPasses:
    """Passes of `separator` as the notebook makes them; `estimates` are those of the last one: (stems, channels,
    samples), all stems, before the gains."""

    separator: Memoised
    options: Notebook
    estimates: Tensor = field(default_factory=lambda: torch.empty(0))

    @property
    def stems(self) -> tuple[str, ...]:
        return self.separator.stems

    @property
    def sample_rate(self) -> int:
        return self.separator.sample_rate

    def mean_of(self, audio: Tensor) -> Tensor:
        return self.separator.mean_of(audio) / self._peak(audio)

    def run(self, inputs: Sequence[Tensor], shift: int, stems: tuple[str, ...], step: int) -> list[Tensor]:
        """Estimates of `stems` with their gains for the one input."""
        (y,) = inputs
        (estimates,) = self.separator.run(inputs, shift, self.stems, step)
        self.estimates = estimates / self._peak(y)
        gains = torch.tensor([self.options.gains.get(stem, 1.0) for stem in stems], device=y.device)
        # Every estimate holds the input's mean once, whatever its gain.
        mean = self.mean_of(y)
        chosen = self.estimates[[self.stems.index(stem) for stem in stems]]
        return [chosen if bool((gains == 1).all()) else (chosen - mean) * gains[:, None, None] + mean]

    def _peak(self, audio: Tensor) -> Tensor:
        peak = audio.abs().amax()
        return peak if self.options.normalize and peak > 0 else torch.ones_like(peak)


def excerpts(config: StudyConfig, separator: Separator) -> Iterator[tuple[Excerpt, Tensor]]:
    """One excerpt of every held-out track, and its mixture (channels, samples) with the gains of `[data]`.

    Memory holds one whole track. Tracks that end before the excerpt does are left out with a note.

    Raises:
        DataError: the tracks cannot be used, or none is left.
    """
    data = config.data
    tracks = load_tracks(data.source, "held-out", data.tracks, mapping=data.stems, stems=separator.stems)
    needed, optional = stems_to_cut(separator, tracks)
    stems, left = (*needed, *optional), False
    for track in tracks:
        whole = track.read(0.0, track.seconds)
        references = torch.stack(
            [whole[track.stems.index(stem)] if stem in track.stems else torch.zeros_like(whole[0]) for stem in stems]
        )
        original = _own_mixture(track)
        start = common_start([*references, references.sum(dim=0) if original is None else original])
        end = references.shape[-1] if data.excerpt == "track" else start + round(data.excerpt * separator.sample_rate)
        if end > references.shape[-1]:
            log.warning("%s: ends less than %s s after all stems have started; left out", track.name, data.excerpt)
            continue
        left = True
        cut = references[..., start:end].clone()
        mixture = mix(cut, [float(data.gains.get(stem, 1.0)) for stem in stems])
        peak = 1.0 if original is None else float(original[:, start:end].abs().amax())
        mixture *= peak / mixture.abs().amax().clamp(min=1e-12)
        track.close()
        audible = frozenset(s for s, x in zip(stems, cut, strict=True) if x.mean(dim=0).abs().amax() >= SILENT_PEAK)
        fingerprint = hashlib.sha256(cut.numpy().data).hexdigest()[:32]
        yield (
            Excerpt(track.name, start / separator.sample_rate, separator.sample_rate, stems, cut, audible, fingerprint),
            mixture,
        )
    if not left:
        raise DataError(f"{data.source}: no held-out track holds {data.excerpt} s after all of its stems have started")


def common_start(stems: Sequence[Tensor]) -> int:
    """The first sample of the latest beginning among `stems` (channels, samples each)."""
    return max(first_sound(stem.mean(dim=0)) for stem in stems)


def first_sound(mono: ArrayLike) -> int:
    """The first sample of the first frame of (samples,) louder than `SILENCE_DB` against the loudest; 0 in silence.

    Frames are centred `HOP` samples apart, zeros around the audio; levels are RMS with a floor of -100 dBFS.
    """
    squares = np.pad(np.square(np.asarray(mono, dtype=np.float64)), FRAME // 2)
    sums = np.concatenate([[0.0], np.cumsum(squares)])
    begins = np.arange(0, len(squares) - FRAME + 1, HOP)
    power = np.maximum((sums[begins + FRAME] - sums[begins]) / FRAME, 1e-10)
    return int(np.argmax(power > 10 ** (SILENCE_DB / 10) * power.max())) * HOP


def _own_mixture(track: Track) -> Tensor | None:
    """The mixture that lies beside the stems, (channels, samples): a file of MUSDB18-HQ, stream 0 of a .stem.mp4."""
    if not isinstance(track, StemTrack):
        return None
    if not is_folder(track.folder):
        return open_audio(track.folder, stream=0).read()
    files = stem_files(track.folder, {"mixture": "mixture"}).get("mixture", [])
    return open_audio(files[0]).read() if files else None

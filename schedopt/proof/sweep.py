"""The proof of concept: the weight of one stem in the mixture against the SDR of all stems (figures 1 and 2).

Algorithm 1 of the report "Progressive Inference for Music Demixing" (Magalini, Manattini, Marri, 2025): mix with the
gains, separate once, score every stem against its own part of the mixture, average over excerpts, then over tracks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from schedopt.config import StudyConfig
from schedopt.data import Split
from schedopt.errors import ConfigError
from schedopt.evaluation import Evaluator
from schedopt.proof.benchmark import silences
from schedopt.proof.statistics import Comparison, compare
from schedopt.refinement import Refinement
from schedopt.search.prepared import PreparedSearch
from schedopt.store import Store
from schedopt.types import Excerpt

KIND = "schedopt sweep"
MAX_GAIN = 100.0
UNIFORM = 1.0


@dataclass(frozen=True)
class Sweep:
    """Scores in dB: `tracks[gain][stem][track]`; the gain 1 (uniform weights) is always among them."""

    stem: str
    metric: str
    model: str
    source: str
    split: Split
    tracks: Mapping[float, Mapping[str, Mapping[str, float]]]
    left_out: Mapping[str, Sequence[str]]

    @property
    def gains(self) -> list[float]:
        return sorted(self.tracks)

    def mean(self, gain: float, stem: str) -> float:
        """Mean over tracks, dB."""
        return float(np.mean(list(self.tracks[gain][stem].values())))

    def change(self, gain: float, stem: str) -> Comparison:
        """Against uniform weights, paired by track; corrected for all gains and stems of the sweep."""
        return self._changes[gain, stem]

    @cached_property
    def _changes(self) -> dict[tuple[float, str], Comparison]:
        uniform = self.tracks[UNIFORM]
        differences = {
            (gain, stem): {track: value - uniform[stem][track] for track, value in by_track.items()}
            for gain, by_stem in self.tracks.items()
            for stem, by_track in by_stem.items()
        }
        made = compare([*differences.values()], np.random.default_rng(0))
        return dict(zip(differences, made, strict=True))

    def document(self) -> dict[str, Any]:
        """For `--json`."""
        rows = [
            {
                "gain": gain,
                "stems": {
                    stem: {
                        "mean": self.mean(gain, stem),
                        "change": self.change(gain, stem).document(),
                        "tracks": dict(by_track),
                    }
                    for stem, by_track in self.tracks[gain].items()
                },
            }
            for gain in self.gains
        ]
        return {
            "kind": KIND,
            "stem": self.stem,
            "metric": self.metric,
            "model": self.model,
            "source": self.source,
            "split": self.split,
            "rows": rows,
            "left_out": dict(self.left_out),
        }


def sweep(
    config: StudyConfig,
    stem: str,
    gains: Sequence[float],
    *,
    split: Split = "search",
    trust_pickle: bool = False,
    on_excerpt: Callable[[int, int], None] | None = None,
) -> Sweep:
    """Score all stems with `stem` weighted by each of `gains` and by 1, the others as in the study file.

    Costs one pass an excerpt and gain.

    Raises:
        ConfigError: an unknown stem, or a gain that is not within (0, 100].
        SchedoptError: the model or the tracks cannot be used.
    """
    for gain in gains:
        if gain == 0:
            raise ConfigError("gain 0 takes the stem out of the mixture, and what is not there has no score")
        if not 0 < gain <= MAX_GAIN:
            raise ConfigError(f"gain {gain:g} is not a number within (0, {MAX_GAIN:g}]")
    prepared = PreparedSearch.prepare(config, split=split, trust_pickle=trust_pickle)
    stems = prepared.stems
    if stem not in stems:
        raise ConfigError(f"there is no stem {stem!r}; model and music both have {', '.join(stems)}")
    scores: dict[float, dict[str, dict[str, list[float]]]] = {gain: {} for gain in sorted({*gains, UNIFORM})}
    for count, excerpt in enumerate(prepared.excerpts, 1):
        for gain, by_stem in scores.items():
            for other, value in _score(prepared, excerpt, {**config.data.gains, stem: gain}).items():
                by_stem.setdefault(other, {}).setdefault(excerpt.track, []).append(value)
        if on_excerpt is not None:
            on_excerpt(count, len(prepared.excerpts))
    return Sweep(
        stem=stem,
        metric=config.search.metric,
        model=config.separator.model,
        source=config.data.source,
        split=split,
        tracks={
            gain: {
                other: {track: float(np.mean(values)) for track, values in by_stem[other].items()}
                for other in stems
                if other in by_stem
            }
            for gain, by_stem in scores.items()
        },
        left_out=silences(prepared.excerpts, stems),
    )


def _score(prepared: PreparedSearch, excerpt: Excerpt, gains: Mapping[str, float]) -> dict[str, float]:
    """Score in dB of every stem that sounds after one pass over the mixture with `gains`."""
    store, stems = Store(), prepared.separator.stems
    sounding = [stem for stem in stems if stem in excerpt.audible and gains.get(stem, UNIFORM) > 0]
    return {
        stem: float(
            Evaluator(
                prepared.separator,
                [excerpt],
                Refinement(stem),
                metric=prepared.config.search.metric,
                gains=gains,
                store=store,
                shared_stems=stems,
            ).scores(())[0, 0]
        )
        for stem in sounding
    }

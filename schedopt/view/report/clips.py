"""A few seconds to listen to: what the numbers of the best, the median and the worst track sound like."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence

import numpy as np
import soundfile
import torch
from torch import Tensor

from schedopt.data import mix
from schedopt.refinement import Refinement
from schedopt.schedules import Schedule
from schedopt.separators import Separator
from schedopt.trajectory import Scene, refine
from schedopt.types import Excerpt
from schedopt.view.report.page import Clip, Sound


def places(gains: Mapping[str, float]) -> dict[str, str]:
    """The tracks with the highest, the median (of two the lower) and the lowest of `gains` (dB), by their place."""
    order = sorted(gains, key=lambda track: (-gains[track], track))
    if not order:
        return {}
    named = {"best": order[0], "median": order[len(order) // 2], "worst": order[-1]}
    return {place: track for n, (place, track) in enumerate(named.items()) if track not in list(named.values())[:n]}


def clip(
    separator: Separator,
    excerpt: Excerpt,
    refinement: Refinement,
    betas: Schedule,
    *,
    place: str,
    gain: float,
    seconds: float,
    gains: Mapping[str, float],
) -> Clip:
    """Mixture, one pass, schedule and reference of the target over the `seconds` in which it is loudest.

    `gains`: weights of the stems in the mixture, by name. Costs N+1 passes.
    """
    weights = [gains.get(stem, 1.0) for stem in excerpt.stems]
    k = excerpt.stems.index(refinement.target)
    mixture = mix(excerpt.references, weights)
    first, *_, last = [*refine(separator, Scene(mixture.to(separator.device)), betas, refinement)]
    truth = weights[k] * excerpt.references[k]
    begin, end = loudest(truth, round(seconds * excerpt.sample_rate))
    parts = [part[:, begin:end].cpu() for part in (mixture, first, last, truth)]
    # One factor for all four, so that their levels can be compared and none is clipped.
    peak = max(1.0, *(float(part.abs().max()) for part in parts))
    labels = ("mixture", "one pass", "schedule", "reference")
    sounds = tuple(
        Sound(label, flac(part / peak, excerpt.sample_rate)) for label, part in zip(labels, parts, strict=True)
    )
    start = excerpt.start + begin / excerpt.sample_rate
    return Clip(place, refinement.target, f"{excerpt.track} @ {start:.1f} s", gain, sounds)


def loudest(audio: Tensor, samples: int) -> tuple[int, int]:
    """Begin and end of the `samples` of (channels, samples) with the most energy; all of it where it is shorter."""
    energy = torch.cumsum(audio.double().square().sum(dim=0), dim=0)
    total = len(energy)
    if samples >= total:
        return 0, total
    sums = energy[samples - 1 :].clone()
    sums[1:] -= energy[:-samples]
    begin = int(torch.argmax(sums))
    return begin, begin + samples


def flac(audio: Tensor, sample_rate: int) -> bytes:
    """(channels, samples) at full scale ±1 as a FLAC file of 16 bits."""
    target = io.BytesIO()
    samples: np.ndarray[tuple[int, ...], np.dtype[np.float32]] = audio.clamp(-1, 1).float().numpy().T
    soundfile.write(target, samples, sample_rate, format="FLAC", subtype="PCM_16")
    return target.getvalue()


def heard(excerpts: Sequence[Excerpt], stem: str) -> Excerpt | None:
    """The first excerpt in which `stem` sounds."""
    return next((excerpt for excerpt in excerpts if stem in excerpt.audible), None)

"""A few seconds to listen to, of the tracks with the highest, the median and the lowest gain."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence

import soundfile
from torch import Tensor

from schedopt.data import mix
from schedopt.refinement import Refinement
from schedopt.schedules import Schedule
from schedopt.search.audio import comparable
from schedopt.separators import Separator
from schedopt.trajectory import Scene, refine
from schedopt.types import Excerpt
from schedopt.view.report.page import Clip, Sound


def ranks(gains: Mapping[str, float]) -> dict[str, str]:
    """The tracks with the highest, the median (of two the lower) and the lowest of `gains` (dB), by that rank."""
    order = sorted(gains, key=lambda track: (-gains[track], track))
    if not order:
        return {}
    named = {"highest gain": order[0], "median gain": order[len(order) // 2], "lowest gain": order[-1]}
    return {rank: track for n, (rank, track) in enumerate(named.items()) if track not in list(named.values())[:n]}


def clip(
    separator: Separator,
    excerpt: Excerpt,
    refinement: Refinement,
    betas: Schedule,
    *,
    title: str,
    seconds: float,
    gains: Mapping[str, float],
) -> Clip:
    """Mixture, one pass, refined and reference of the target over the `seconds` in which it is loudest.

    `gains`: weights of the stems in the mixture, by name. Costs N+1 passes.
    """
    weights = [gains.get(stem, 1.0) for stem in excerpt.stems]
    k = excerpt.stems.index(refinement.target)
    mixture, reference = mix(excerpt.references, weights), weights[k] * excerpt.references[k]
    first, *_, last = [*refine(separator, Scene(mixture.to(separator.device)), betas, refinement)]
    found = {"mixture": mixture, "one pass": first, "refined": last, "reference": reference}
    pieces, begin = comparable(found, reference, round(seconds * excerpt.sample_rate))
    sounds = tuple(Sound(label, flac_url(piece, excerpt.sample_rate)) for label, piece in pieces.items())
    start = excerpt.start + begin / excerpt.sample_rate
    return Clip(f"{refinement.target}, {title}: {excerpt.track} @ {start:.1f} s", sounds)


def flac_url(audio: Tensor, sample_rate: int) -> str:
    """(channels, samples) at full scale ±1 as a data URL: FLAC of 16 bits."""
    target = io.BytesIO()
    soundfile.write(target, audio.clamp(-1, 1).float().numpy().T, sample_rate, format="FLAC", subtype="PCM_16")
    return f"data:audio/flac;base64,{base64.b64encode(target.getvalue()).decode('ascii')}"


def audible_in(excerpts: Sequence[Excerpt], stem: str) -> Excerpt | None:
    """The first excerpt in which `stem` is audible."""
    return next((excerpt for excerpt in excerpts if stem in excerpt.audible), None)

"""From a seed to a song: the plan, the four stems, their levels."""

import numpy as np

from schedopt.demo.synth._bass import render_bass
from schedopt.demo.synth._drums import render_drums
from schedopt.demo.synth._dsp import Array
from schedopt.demo.synth._other import render_other
from schedopt.demo.synth._song import STEMS, plan_song
from schedopt.demo.synth._vocals import render_vocals

SAMPLE_RATE = 44_100
RENDERERS = (render_drums, render_bass, render_other, render_vocals)  # in the order of STEMS

# Loudness of the stems against one another, dB. `other` is a little louder because it is the hardest to tell apart.
LEVELS = (0.0, -1.0, 1.0, 0.0)
SPREAD = 2.0  # standard deviation of a stem's level over songs, dB


def synthesize(seed: int, seconds: float = 20.0, sample_rate: int = SAMPLE_RATE) -> Array:
    """A generated song, float32 (4, 2, samples) in the order of `STEMS`: the same samples for the same arguments.

    The mixture, the plain sum of the stems, stays below full scale. 20 s take about a second on one core.

    Raises:
        ValueError: if the song would be shorter than half a second, or the sample rate too low for the instruments.
    """
    if not seconds >= 0.5:
        raise ValueError(f"a song needs at least 0.5 seconds, got {seconds}")
    if sample_rate < 32_000:
        raise ValueError(f"the instruments need a sample rate of at least 32000 Hz, got {sample_rate}")
    samples = round(seconds * sample_rate)
    song = plan_song(np.random.default_rng([seed, 0]), samples, sample_rate)
    # A generator for each stem: a change in one instrument leaves the others as they are.
    stems = [render(song, np.random.default_rng([seed, stream])) for stream, render in enumerate(RENDERERS, start=1)]
    return _balance(np.stack(stems), np.random.default_rng([seed, len(STEMS) + 1]))


def _balance(stems: Array, rng: np.random.Generator) -> Array:
    """Bring the stems (4, 2, samples) to their levels and the mixture to a peak between 0.4 and 0.95."""
    decibels = np.array(LEVELS) + np.clip(rng.normal(0, SPREAD, len(STEMS)), -2 * SPREAD, 2 * SPREAD)
    gains = 10 ** (decibels / 20) / np.array([_loudness(stem) for stem in stems])
    stems = stems * gains[:, None, None].astype(np.float32)
    peak = np.max(np.abs(stems.sum(axis=0)))
    return np.asarray(stems * np.float32(rng.uniform(0.4, 0.95) / max(peak, 1e-9)), dtype=np.float32)


def _loudness(stem: Array) -> float:
    """RMS of a stem (2, samples) over the time in which it sounds, so that rests do not make it louder elsewhere."""
    power = np.mean(stem**2, axis=0)
    frames = power[: len(power) // 1024 * 1024].reshape(-1, 1024).mean(axis=1)  # (frames,)
    audible = frames[frames > 1e-3 * frames.max()] if frames.size and frames.max() > 0 else np.ones(1)
    return float(np.sqrt(audible.mean()))

"""The bass: one voice that follows the roots of the harmony."""

import numpy as np

from schedopt.demo.synth._dsp import (
    Array,
    Floats,
    band,
    envelope,
    frequency_of,
    glide,
    harmonic_table,
    oscillate,
    pan,
    phase_of,
    saturate,
)
from schedopt.demo.synth._song import Song

# Steps of a four-beat bar on which a note begins; the last note of a bar lasts until the bar's end.
RHYTHMS = (
    (0, 2, 4, 6, 8, 10, 12, 14),
    (0, 3, 6, 8, 11, 14),
    (0, 6, 8, 14),
    (0, 4, 8, 12),
    (0, 8),
    (0, 7, 10, 12),
    (2, 6, 10, 14),
    (0, 3, 4, 7, 8, 11, 12, 15),
)


def render_bass(song: Song, rng: np.random.Generator) -> Array:
    """The bass of a song, (2, samples)."""
    pitch, level, bright = _write_part(song, rng)
    phase = phase_of(frequency_of(glide(pitch, rng.uniform(0.002, 0.03), song.sample_rate)), song.sample_rate)
    dark_table, bright_table = _draw_timbre(rng)
    sound = oscillate(dark_table, phase) * (1 - bright) + oscillate(bright_table, phase) * bright
    sound = saturate(np.float32(0.3) * sound, float(rng.choice([0.5, 1.5, 4.0]))) * level
    return pan(band(sound, 30, rng.uniform(2000, 7000), song.sample_rate, order=1), rng.uniform(-0.1, 0.1))


def _draw_timbre(rng: np.random.Generator) -> tuple[Array, Array]:
    """Two periods of one instrument: what is left of a note, and how it begins."""
    harmonics = np.arange(1, 49)
    kind = rng.choice(["sub", "saw", "square", "finger", "growl"])
    slope = {"sub": 3.0, "saw": 1.0, "square": 1.0, "finger": 1.6, "growl": 0.8}[str(kind)] * rng.uniform(0.9, 1.2)
    bright = harmonics**-slope
    if kind == "square":
        bright[1::2] *= 0.05
    elif kind == "finger":  # a string plucked at a part of its length misses that part's harmonics
        bright *= np.abs(np.sin(np.pi * harmonics * rng.uniform(0.12, 0.3)))
    elif kind == "growl":
        bright *= 1 + 2 * np.exp(-0.5 * ((harmonics - rng.uniform(4, 9)) / 1.5) ** 2)
    dark = bright * np.exp(-harmonics / rng.uniform(1.5, 6))
    return harmonic_table(dark), harmonic_table(bright)


def _write_part(song: Song, rng: np.random.Generator) -> tuple[Floats, Array, Array]:
    """Contours over the song, each (samples,): MIDI pitch, level, and brightness from 0 to 1."""
    pitch = np.full(song.samples, 36.0)
    level = np.zeros(song.samples, dtype=np.float32)
    bright = np.zeros(song.samples, dtype=np.float32)
    rhythms = [RHYTHMS[index] for index in rng.integers(len(RHYTHMS), size=2)]
    lowest = int(rng.integers(26, 33))
    hold = rng.uniform(0.5, 0.98)  # part of the time to the next note that a note sounds
    sustain, opening, closing = rng.uniform(0.2, 0.9), rng.uniform(0.2, 1.0), rng.uniform(0.02, 0.3)
    for bar in range(song.bars):
        if not song.plays("bass", bar):
            continue
        starts = [step for step in rhythms[int(bar % 4 == 3)] if step < song.steps]
        if rng.random() < 0.15:
            starts = sorted({*starts, int(rng.integers(song.steps))})
        for step, following in zip(starts, [*starts[1:], song.steps], strict=True):
            start, end = song.sample_of(bar, step), song.sample_of(bar, following)
            end = min(start + int(hold * (end - start)), song.samples)
            if start >= end:
                continue
            pitch[start:] = _choose_pitch(song, rng, bar, step, lowest)
            shape = envelope(end - start, 150, 900, sustain)
            level[start:end] = shape * rng.uniform(0.75, 1.0)
            fall = np.exp(np.arange(end - start, dtype=np.float32) / np.float32(-closing * song.sample_rate))
            bright[start:end] = opening * fall
    return pitch, level, bright


def _choose_pitch(song: Song, rng: np.random.Generator, bar: int, step: int, lowest: int) -> int:
    """MIDI pitch of a note: mostly the chord's root in the octave above `lowest`, else another chord note."""
    degree = song.degree_at(bar, step)
    if step > 0:
        degree += int(rng.choice([0, 4, 2, 6], p=[0.72, 0.14, 0.08, 0.06]))
    octave = 12 if step > 0 and rng.random() < 0.15 else 0
    return lowest + (song.pitch(degree) - lowest) % 12 + octave

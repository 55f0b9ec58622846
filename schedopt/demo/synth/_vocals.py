"""The voice: sung syllables, from a glottal source through the formants of vowels, with consonants and breaths.

Formants of the vowels are those of a tenor as commonly tabulated for formant synthesis; another voice scales them.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import signal

from schedopt.demo.synth._dsp import (
    Array,
    Floats,
    add_at,
    band,
    decay,
    envelope,
    frequency_of,
    glide,
    harmonic_table,
    noise,
    oscillate,
    pan,
    phase_of,
    reverberate,
    stretch,
)
from schedopt.demo.synth._song import Song

VOWELS = (  # frequencies in Hz and levels in dB of the formants
    ((650, 1080, 2650, 2900, 3250), (0, -6, -7, -8, -22)),  # a
    ((400, 1700, 2600, 3200, 3580), (0, -10, -10, -14, -20)),  # e
    ((290, 1870, 2800, 3250, 3540), (0, -12, -14, -18, -30)),  # i
    ((400, 800, 2600, 2800, 3000), (0, -8, -12, -12, -26)),  # o
    ((350, 600, 2700, 2900, 3300), (0, -12, -17, -14, -26)),  # u
)
NASAL = ((250, 1000, 2200, 2700, 3300), (0, -20, -22, -26, -30))  # m, n
HOP = 42  # samples between the points of the pitch and vowel contours: a millisecond, finer than any of their glides
BANDWIDTHS = (80, 95, 120, 140, 160)  # Hz
FRICATIVES = ((4500, 10000), (2200, 6500), (1500, 9000))  # bands in Hz of s, sh and f


@dataclass(frozen=True)
class Syllable:
    """One sung note with the consonant before it."""

    start: int  # sample at which the vowel begins
    end: int
    pitch: float  # MIDI
    vowel: int
    closing: int  # vowel towards which it moves near its end
    onset: str  # none, fricative, plosive or nasal
    level: float
    first: bool  # begins a phrase, so a breath comes before it


def render_vocals(song: Song, rng: np.random.Generator) -> Array:
    """The voice of a song, (2, samples), sometimes with a softer second voice."""
    syllables, size = _write_part(song, rng)
    sound = pan(_sing(song, rng, syllables, size), rng.uniform(-0.15, 0.15))
    if rng.random() < 0.25:
        other_pitch = rng.choice([0.0, 12.0, -12.0])
        second = [_doubled(song, rng, syllable, other_pitch) for syllable in syllables]
        sound += pan(rng.uniform(0.2, 0.5) * _sing(song, rng, second, size), rng.uniform(-0.7, 0.7))
    return reverberate(sound, rng, rng.uniform(0.5, 1.6), rng.uniform(0.08, 0.3), song.sample_rate)


def _doubled(song: Song, rng: np.random.Generator, syllable: Syllable, interval: float) -> Syllable:
    late = int(rng.normal(0, 0.012) * song.sample_rate)
    return Syllable(
        start=max(0, syllable.start + late),
        end=syllable.end + late,
        pitch=syllable.pitch + interval,
        vowel=syllable.vowel,
        closing=syllable.closing,
        onset=syllable.onset,
        level=syllable.level,
        first=False,
    )


def _write_part(song: Song, rng: np.random.Generator) -> tuple[list[Syllable], float]:
    """Words and melody of a song, and the factor of the formants' frequencies (a smaller head has higher formants)."""
    high = bool(rng.random() < 0.55)
    size = rng.uniform(1.08, 1.25) if high else rng.uniform(0.9, 1.05)
    lowest = int(rng.integers(57, 65)) if high else int(rng.integers(46, 55))
    short = rng.uniform(0.2, 1.0)  # how wordy: the chance of a short note
    syllables: list[Syllable] = []
    degree, bar, step = int(rng.integers(3, 7)), 0, int(rng.choice([0, 0, 2, 4]))
    while bar < song.bars:
        length = int(rng.integers(6, 11)) * song.steps // 6  # steps of the phrase
        phrase_start, first = step, True
        while step < phrase_start + length and bar + step // song.steps < song.bars:
            steps = int(rng.choice([1, 2, 3]) if rng.random() < short else rng.choice([3, 4, 6]))
            if phrase_start + length - step <= steps + 2:
                steps += int(rng.integers(1, 5))  # the last note of a phrase is a long one
            here = bar + step // song.steps
            degree = _next_degree(song, rng, degree, here, step % song.steps)
            if song.plays("vocals", here):
                pitch = lowest + (song.root - lowest) % 12 + song.pitch(degree) - song.root
                syllables.append(_syllable(song, rng, bar, step, steps, float(pitch), first))
                first = False
            step += steps
        step += int(rng.integers(1, 4)) if rng.random() < 0.6 else int(rng.integers(3, 9))
        bar, step = bar + step // song.steps, step % song.steps
    return syllables, size


def _next_degree(song: Song, rng: np.random.Generator, degree: int, bar: int, step: int) -> int:
    """The melody walks by small steps within a tenth and leans towards the chord's notes on the beat."""
    degree = int(np.clip(degree + rng.choice([-3, -2, -1, -1, 0, 0, 1, 1, 2, 3]), 0, 9))
    if step % 4 == 0 and rng.random() < 0.7:
        chord = [(song.degree_at(bar, step) + third) % 7 for third in (0, 2, 4)]
        degree = min(range(10), key=lambda other: (other % 7 not in chord, abs(other - degree)))
    return degree


def _syllable(
    song: Song, rng: np.random.Generator, bar: int, step: int, steps: int, pitch: float, first: bool
) -> Syllable:
    start = song.sample_of(bar, step) + int(rng.normal(0.01, 0.012) * song.sample_rate)
    end = song.sample_of(bar, step) + int(steps * song.step * rng.uniform(0.85, 1.0))
    vowel = int(rng.integers(len(VOWELS)))
    return Syllable(
        start=max(0, start),
        end=end,
        pitch=pitch,
        vowel=vowel,
        closing=int(rng.integers(len(VOWELS))) if rng.random() < 0.3 else vowel,
        onset=str(rng.choice(["none", "fricative", "plosive", "nasal"], p=[0.25, 0.3, 0.25, 0.2])),
        level=rng.uniform(0.7, 1.0),
        first=first,
    )


def _sing(song: Song, rng: np.random.Generator, syllables: list[Syllable], size: float) -> Array:
    """One voice, (samples,), that sings the syllables."""
    level, weights = _articulate(song, rng, syllables)
    phase = phase_of(frequency_of(_pitch_contour(song, rng, syllables)), song.sample_rate)
    harmonics = np.arange(1, 41)
    source = oscillate(harmonic_table(harmonics ** -rng.uniform(0.5, 0.9), rng), phase)
    source += rng.uniform(0.02, 0.12) * noise(rng, song.samples)  # breathiness
    source *= level
    sound = np.zeros(song.samples, dtype=np.float32)
    for weight, (frequencies, levels) in zip(weights, (*VOWELS, NASAL), strict=True):
        sound += weight * _formants(source, frequencies, levels, size * rng.uniform(0.96, 1.04), song.sample_rate)
    sound = band(sound, 90, None, song.sample_rate)
    return sound + _consonants(song, rng, syllables)


def _formants(
    source: Array, frequencies: tuple[int, ...], levels: tuple[int, ...], size: float, sample_rate: int
) -> Array:
    """Parallel resonators; signs alternate so that neighbours do not cancel between their peaks."""
    sound = 0.03 * source
    for index, (frequency, decibels) in enumerate(zip(frequencies, levels, strict=True)):
        centre = frequency * size
        numerator, denominator = signal.iirpeak(centre, centre / (1.3 * BANDWIDTHS[index]), fs=sample_rate)
        gain = (-1) ** index * 10 ** (decibels / 28)  # milder than in the table: the source falls off already
        sound = sound + signal.lfilter(gain * numerator, denominator, source)
    return np.asarray(sound, dtype=np.float32)


def _pitch_contour(song: Song, rng: np.random.Generator, syllables: list[Syllable]) -> Floats:
    """MIDI pitch, (samples,): gliding from note to note, vibrato that sets in late, and a little drift."""
    points, rate = song.samples // HOP + 1, song.sample_rate // HOP
    pitch = np.full(points, syllables[0].pitch if syllables else 60.0)
    depth = np.zeros(points)
    vibrato, delay = rng.uniform(0.15, 0.6), int(rng.uniform(0.12, 0.35) * rate)
    for syllable in syllables:
        start = syllable.start // HOP
        begin = max(0, start - int(0.02 * rate))
        pitch[begin:] = syllable.pitch
        if rng.random() < 0.25:  # scoop: the note is reached from below
            pitch[begin : begin + int(0.06 * rate)] -= rng.uniform(0.5, 2)
        depth[begin:] = 0.0
        depth[start + delay :] = vibrato
    pitch = glide(pitch, rng.uniform(0.012, 0.045), rate)
    time = np.arange(points) / rate
    speed = 2 * np.pi * rng.uniform(4.6, 6.6)
    pitch += glide(depth, 0.08, rate) * np.sin(speed * time + 0.5 * np.sin(1.7 * time))
    knots = np.arange(0, time[-1] + 0.2, 0.1)
    pitch += np.interp(time, knots, _drift(rng, len(knots)))
    return stretch(pitch, HOP, song.samples)


def _drift(rng: np.random.Generator, count: int) -> npt.NDArray[np.float64]:
    """Slow random walk in semitones that is pulled back to zero."""
    return np.asarray(signal.lfilter([0.06], [1, -0.8], rng.standard_normal(count)))


def _articulate(song: Song, rng: np.random.Generator, syllables: list[Syllable]) -> tuple[Array, Floats]:
    """Level of the voiced sound, (samples,), and weights of the vowels and the nasal, (vowels + 1, samples)."""
    level = np.zeros(song.samples, dtype=np.float32)
    weights = np.zeros((len(VOWELS) + 1, song.samples // HOP + 1), dtype=np.float32)
    attack, release = int(rng.uniform(0.02, 0.05) * song.sample_rate), int(rng.uniform(0.04, 0.1) * song.sample_rate)
    for syllable in syllables:
        lead = int(0.07 * song.sample_rate) if syllable.onset == "nasal" else 0
        begin, end = max(0, syllable.start - lead), min(syllable.end, song.samples)
        if end - begin < 2:
            continue
        level[begin:end] = syllable.level * envelope(end - begin, attack, release, 0.8)
        opens = syllable.start // HOP
        turns = opens + int(0.65 * (end - syllable.start)) // HOP
        weights[:, begin // HOP :] = 0
        weights[-1, begin // HOP : opens] = 0.6
        weights[syllable.vowel, opens:turns] = 1
        weights[syllable.closing, turns:] = 1
    smooth = glide(weights, 0.02, song.sample_rate // HOP).astype(np.float32)
    return level, stretch(smooth, HOP, song.samples)


def _consonants(song: Song, rng: np.random.Generator, syllables: list[Syllable]) -> Array:
    """Fricatives, plosive bursts and breaths, (samples,)."""
    track = np.zeros(song.samples, dtype=np.float32)
    rate = song.sample_rate
    loud = rng.uniform(0.15, 0.5)
    for syllable in syllables:
        if syllable.onset == "fricative":
            samples = int(rng.uniform(0.05, 0.13) * rate)
            low, high = FRICATIVES[rng.integers(len(FRICATIVES))]
            hiss = band(noise(rng, samples), low, high, rate) * envelope(samples, samples // 3, samples // 3)
            add_at(track, hiss, max(0, syllable.start - int(0.8 * samples)), loud * syllable.level)
        elif syllable.onset == "plosive":
            samples = int(0.04 * rate)
            centre = rng.uniform(800, 4000)
            burst = band(noise(rng, samples), 0.6 * centre, 1.8 * centre, rate) * decay(samples, 0.03, rate)
            add_at(track, burst, max(0, syllable.start - int(0.015 * rate)), 1.5 * loud * syllable.level)
        if syllable.first and rng.random() < 0.7:
            samples = int(rng.uniform(0.2, 0.4) * rate)
            breath = band(noise(rng, samples), 700, 5000, rate, order=1) * np.hanning(samples).astype(np.float32)
            add_at(track, breath, max(0, syllable.start - samples - int(0.08 * rate)), 0.25 * loud)
    return track

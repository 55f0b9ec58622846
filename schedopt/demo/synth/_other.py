"""Chords and leads: two or three parts of pads, keys, plucks, arpeggios and saw leads."""

from collections.abc import Callable

import numpy as np

from schedopt.demo.synth._dsp import (
    Array,
    add_at,
    band,
    decay,
    envelope,
    frequency_of,
    glide,
    harmonic_table,
    oscillate,
    pan,
    phase_of,
    reverberate,
)
from schedopt.demo.synth._song import Song

Part = Callable[[Song, np.random.Generator], Array]

COMPING = (  # steps of a four-beat bar on which a chord is struck
    (0, 4, 8, 12),
    (0, 6, 8, 14),
    (0, 3, 6, 10, 12),
    (2, 6, 10, 14),
    (0, 8),
    (0, 2, 4, 6, 8, 10, 12, 14),
)


def render_other(song: Song, rng: np.random.Generator) -> Array:
    """Everything that is neither drums, bass nor voice, (2, samples)."""
    parts: list[tuple[Part, float]] = []
    if rng.random() < 0.65:
        parts.append((_pad, rng.uniform(0.5, 1.0)))
    parts.append(((_keys, _plucks, _arpeggio)[rng.integers(3)], 1.0))
    if rng.random() < 0.45:
        parts.append((_lead, rng.uniform(0.4, 0.8)))
    sound = np.zeros((2, song.samples), dtype=np.float32)
    for part, gain in parts:
        track = part(song, rng)
        sound += np.float32(gain / (1e-9 + np.sqrt(np.mean(track**2)))) * track
    sound = band(sound, rng.uniform(90, 180), None, song.sample_rate, order=1)
    return reverberate(sound, rng, rng.uniform(0.5, 1.6), rng.uniform(0.1, 0.35), song.sample_rate)


def _voicing(chord: tuple[int, ...], centre: int) -> list[int]:
    """The chord's notes as MIDI pitches in the octave around `centre`, so that chords move by small steps."""
    return sorted(centre - 6 + (note - centre + 6) % 12 for note in chord)


def _spans(song: Song) -> list[tuple[int, int, int]]:
    """Runs of half bars with one chord that `other` plays: bar, first step, length in steps."""
    spans: list[tuple[int, int, int]] = []
    half = song.steps // 2
    for bar in range(song.bars):
        if not song.plays("other", bar):
            continue
        if song.degree_at(bar, 0) == song.degree_at(bar, half):
            spans.append((bar, 0, song.steps))
        else:
            spans += [(bar, 0, half), (bar, half, song.steps - half)]
    return spans


def _pad(song: Song, rng: np.random.Generator) -> Array:
    """Held chords of two detuned voices a note, left and right, that open slowly."""
    harmonics = np.arange(1, 33)
    slope = rng.uniform(0.9, 1.5)
    hollow = np.where(harmonics % 2 == 0, rng.uniform(0.1, 1.0), 1.0)
    bright = harmonic_table(hollow * harmonics**-slope, rng)
    dark = harmonic_table(hollow * harmonics**-slope * np.exp(-harmonics / 4), rng)
    centre, detune = int(rng.integers(55, 66)), rng.uniform(0.03, 0.12)
    attack, release = int(rng.uniform(0.02, 0.3) * song.sample_rate), int(rng.uniform(0.1, 0.4) * song.sample_rate)
    depth, sweep = rng.uniform(0.1, 0.8), rng.uniform(0.05, 0.4)
    track = np.zeros((2, song.samples), dtype=np.float32)
    for bar, step, length in _spans(song):
        start = song.sample_of(bar, step)
        samples = min(int(length * song.step) + release, song.samples - start)
        if samples <= 0:
            continue
        time = np.arange(start, start + samples) / song.sample_rate
        opening = (depth * (0.5 - 0.5 * np.cos(2 * np.pi * sweep * time))).astype(np.float32)
        shape = envelope(samples, attack, release)
        for note in _voicing(song.chord_at(bar, step), centre):
            for channel, offset in enumerate((-detune, detune)):
                cycles = (rng.random() + float(frequency_of(note + offset)) * (time - time[0])) % 1.0
                wave = oscillate(dark, cycles) * (1 - opening) + oscillate(bright, cycles) * opening
                add_at(track[channel], wave * shape, start)
    return track


def _struck(rng: np.random.Generator, sample_rate: int) -> Callable[[int], Array]:
    """An instrument whose notes begin bright and die away (e-piano, guitar, bell, organ): pitch to (samples,)."""
    harmonics = np.arange(1, 25)
    kind = rng.choice(["piano", "string", "bell", "organ"])
    strength = harmonics ** -rng.uniform(1.0, 1.8)
    if kind == "string":
        strength = strength * np.abs(np.sin(np.pi * harmonics * rng.uniform(0.1, 0.35)))
    elif kind == "bell":
        strength = np.where(np.isin(harmonics, (1, 4, 7, 11)), strength**0.6, 0.02 * strength)
    elif kind == "organ":
        strength = np.where(np.isin(harmonics, (1, 2, 3, 4, 6, 8)), rng.uniform(0.2, 1.0, len(harmonics)), 0.0)
    bright = harmonic_table(strength, rng)
    dark = harmonic_table(strength * np.exp(-harmonics / 2.0), rng)
    long = rng.uniform(0.5, 2.5) if kind != "string" else rng.uniform(0.3, 1.5)
    bite = rng.uniform(0.05, 0.3)
    tremolo = rng.choice([0.0, rng.uniform(0.1, 0.4)])
    speed = rng.uniform(3, 7)
    notes: dict[int, Array] = {}

    def play(pitch: int) -> Array:
        if pitch not in notes:
            samples = int(min(long, 1.6) * sample_rate)
            time = np.arange(samples, dtype=np.float32) / sample_rate
            cycles = (float(frequency_of(pitch)) * time.astype(np.float64)) % 1.0
            fade = np.exp(-time / np.float32(bite))
            wave = oscillate(bright, cycles) * fade + oscillate(dark, cycles) * (1 - fade)
            wave *= decay(samples, long * 2 ** ((60 - pitch) / 24), sample_rate)
            wave[:100] *= np.linspace(0, 1, 100, dtype=np.float32)
            notes[pitch] = np.asarray(wave * (1 - tremolo * np.sin(2 * np.pi * speed * time)), dtype=np.float32)
        return notes[pitch]

    return play


def _cut(sound: Array, samples: int, release: int = 1500) -> Array:
    """The first `samples` samples with a soft end."""
    if samples >= len(sound):
        return sound
    shape = np.ones(samples, dtype=np.float32)
    fade = min(release, samples)
    shape[samples - fade :] = np.linspace(1, 0, fade, dtype=np.float32)
    return sound[:samples] * shape


def _keys(song: Song, rng: np.random.Generator) -> Array:
    """Chords struck in a rhythm; low notes sit left, high ones right."""
    play, centre = _struck(rng, song.sample_rate), int(rng.integers(56, 68))
    rhythm = COMPING[rng.integers(len(COMPING))]
    hold, width = rng.uniform(0.6, 3.0), rng.uniform(0.0, 0.6)
    track = np.zeros((2, song.samples), dtype=np.float32)
    for bar in range(song.bars):
        if not song.plays("other", bar):
            continue
        starts = [step for step in rhythm if step < song.steps]
        for step, following in zip(starts, [*starts[1:], song.steps], strict=True):
            samples = int(hold * (following - step) * song.step)
            for note in _voicing(song.chord_at(bar, step), centre):
                gain = rng.uniform(0.6, 1.0)
                late = int(abs(rng.normal(0, 0.006)) * song.sample_rate)
                sound = pan(_cut(play(note), samples), width * np.clip((note - centre) / 6, -1, 1))
                add_at(track, sound, song.sample_of(bar, step) + late, gain)
    return track


def _plucks(song: Song, rng: np.random.Generator) -> Array:
    """Strummed chords: the notes follow one another within a few tens of milliseconds, down and up in turn."""
    play, centre = _struck(rng, song.sample_rate), int(rng.integers(54, 64))
    spread = rng.uniform(0.006, 0.03) * song.sample_rate
    accents = rng.random(16)
    position = rng.uniform(-0.5, 0.5)
    track = np.zeros(song.samples, dtype=np.float32)
    for bar in range(song.bars):
        if not song.plays("other", bar):
            continue
        for step in range(0, song.steps, 2):
            if accents[step] < 0.3 or rng.random() > 0.5 + 0.5 * song.energy[bar]:
                continue
            notes = _voicing(song.chord_at(bar, step), centre)
            notes = [*notes, notes[0] + 12]
            if step % 4 == 2:
                notes.reverse()
            for order, note in enumerate(notes):
                start = song.sample_of(bar, step) + int(order * spread)
                add_at(track, _cut(play(note), int(4 * song.step)), start, 0.5 + 0.5 * accents[step])
    return pan(track, position)


def _arpeggio(song: Song, rng: np.random.Generator) -> Array:
    """Broken chords over two octaves in eighths or sixteenths, alternating between left and right."""
    play, centre = _struck(rng, song.sample_rate), int(rng.integers(56, 70))
    stride = int(rng.choice([1, 2, 2]))
    order = rng.permutation(8)
    hold, width = rng.uniform(1.0, 4.0), rng.uniform(0.1, 0.7)
    track = np.zeros((2, song.samples), dtype=np.float32)
    for bar in range(song.bars):
        if not song.plays("other", bar):
            continue
        for index, step in enumerate(range(0, song.steps, stride)):
            notes = _voicing(song.chord_at(bar, step), centre)
            ladder = [*notes, *(note + 12 for note in notes)]
            note = ladder[order[index % len(order)] % len(ladder)]
            sound = _cut(play(note), int(hold * stride * song.step))
            side = width if index % 2 else -width
            add_at(track, pan(sound, side), song.sample_of(bar, step), rng.uniform(0.6, 1.0))
    return track


def _lead(song: Song, rng: np.random.Generator) -> Array:
    """A gliding saw or square melody with vibrato."""
    harmonics = np.arange(1, 17)
    strength = harmonics ** -rng.uniform(0.8, 1.3)
    if rng.random() < 0.4:
        strength[1::2] *= 0.1
    table = harmonic_table(strength)
    pitch = np.full(song.samples, 72.0)
    level = np.zeros(song.samples, dtype=np.float32)
    degree, lowest = 0, int(rng.integers(62, 70))
    for bar in range(song.bars):
        if not song.plays("other", bar) or rng.random() < 0.25:
            continue
        step = int(rng.choice([0, 2, 4]))
        while step < song.steps:
            length = int(rng.choice([1, 2, 2, 3, 4, 6]))
            start, end = song.sample_of(bar, step), min(song.sample_of(bar, step + length), song.samples)
            step += length
            if start >= end or rng.random() < 0.2:
                continue
            degree = int(np.clip(degree + rng.integers(-2, 3), -3, 9))
            pitch[start:] = lowest + (song.root - lowest) % 12 + song.pitch(degree) - song.root
            level[start:end] = envelope(end - start, 400, 1200, 0.7)
    pitch = glide(pitch, rng.uniform(0.003, 0.04), song.sample_rate)
    time = np.arange(song.samples) / song.sample_rate
    pitch += rng.uniform(0.0, 0.25) * np.sin(2 * np.pi * rng.uniform(4, 6.5) * time)
    sound = oscillate(table, phase_of(frequency_of(pitch), song.sample_rate)) * level
    sound = band(sound, None, rng.uniform(2500, 8000), song.sample_rate)
    return pan(sound, rng.uniform(-0.6, 0.6))

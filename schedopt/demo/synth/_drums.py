"""The drum machine: one-shot sounds drawn once a song, and patterns over sixteenths."""

import numpy as np

from schedopt.demo.synth._dsp import (
    Array,
    add_at,
    band,
    decay,
    harmonic_table,
    noise,
    oscillate,
    pan,
    phase_of,
    reverberate,
    saturate,
)
from schedopt.demo.synth._song import Song

# Probability of a hit at each sixteenth of a four-beat bar; a three-beat bar uses the first twelve.
KICKS = (
    (1, 0, 0, 0, 1, 0, 0, 0.1, 1, 0, 0, 0, 1, 0, 0.2, 0),
    (1, 0, 0, 0.2, 0, 0, 0.3, 0.4, 0.8, 0, 0.7, 0, 0, 0, 0.2, 0.1),
    (1, 0, 0, 0.7, 0, 0, 0.5, 0, 0.3, 0, 1, 0, 0, 0.3, 0, 0),
    (1, 0, 0.4, 0, 0, 0, 0, 0.2, 1, 0, 0.2, 0, 0, 0, 0, 0.3),
)
SNARES = (
    (0, 0, 0, 0, 1, 0, 0, 0.1, 0, 0.15, 0, 0, 1, 0, 0, 0.15),
    (0, 0, 0, 0, 0.1, 0, 0, 0, 1, 0, 0, 0.1, 0, 0, 0.1, 0.1),
    (0, 0, 0.1, 0, 1, 0, 0, 0.4, 0, 0.4, 0, 0, 1, 0, 0.2, 0),
)
HATS = (
    (1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0),
    (1, 0.8, 1, 0.8, 1, 0.8, 1, 0.8, 1, 0.8, 1, 0.8, 1, 0.8, 1, 0.8),
    (0.1, 0, 1, 0, 0.1, 0, 1, 0, 0.1, 0, 1, 0, 0.1, 0, 1, 0.2),
    (1, 0, 0.5, 0.7, 1, 0, 0.5, 0.7, 1, 0, 0.5, 0.7, 1, 0, 0.5, 0.7),
)
SINE = harmonic_table(np.ones(1))


def render_drums(song: Song, rng: np.random.Generator) -> Array:
    """The drums of a song, (2, samples)."""
    kit = _draw_kit(rng, song.sample_rate)
    dry = np.zeros((2, song.samples), dtype=np.float32)
    for name, bar, step, gain in _write_part(song, rng):
        late = int(rng.normal(0, 0.003) * song.sample_rate)
        add_at(dry, kit[name], max(0, song.sample_of(bar, step) + late), gain)
    wet = reverberate(dry, rng, rng.uniform(0.2, 0.7), rng.uniform(0.05, 0.3), song.sample_rate)
    return saturate(wet, rng.uniform(0.3, 1.5))


def _write_part(song: Song, rng: np.random.Generator) -> list[tuple[str, int, float, float]]:
    """The hits of a song: instrument, bar, step and gain."""
    kick, snare, hat = (
        np.array(patterns[rng.integers(len(patterns))][: song.steps]) for patterns in (KICKS, SNARES, HATS)
    )
    backbeat = str(rng.choice(["snare", "snare", "clap", "both"]))
    ride = bool(rng.random() < 0.25)
    shaker = bool(rng.random() < 0.3)
    hits: list[tuple[str, int, float, float]] = []
    for bar in range(song.bars):
        if not song.plays("drums", bar):
            continue
        energy = song.energy[bar]
        fill = bar % 4 == 3 and rng.random() < 0.6
        end = song.steps - (int(rng.choice([2, 4, 8])) if fill else 0)
        if bar % 4 == 0 and rng.random() < 0.5:
            hits.append(("crash", bar, 0, rng.uniform(0.4, 0.8)))
        for step in range(end):
            accent = 1.0 if step % 4 == 0 else 0.75
            gain = accent * rng.uniform(0.8, 1.0)
            if rng.random() < kick[step]:
                hits.append(("kick", bar, step, gain))
            if rng.random() < snare[step]:
                soft = gain if snare[step] > 0.5 else 0.35 * gain
                hits += [(name, bar, step, soft) for name in ("snare", "clap") if backbeat in (name, "both")]
            if rng.random() < hat[step] * (0.6 + 0.4 * energy):
                open_hat = step % 4 == 2 and rng.random() < 0.25 * energy
                hits.append(("ride" if ride else "open" if open_hat else "hat", bar, step, gain * rng.uniform(0.4, 1)))
            if shaker and rng.random() < 0.9:
                hits.append(("shaker", bar, step, gain * (0.9 if step % 2 == 0 else 0.5)))
        for step in range(end, song.steps):
            if rng.random() < 0.8:
                name = str(rng.choice(["snare", "high tom", "low tom", "low tom"]))
                hits.append((name, bar, step, rng.uniform(0.5, 1.0)))
    return hits


def _draw_kit(rng: np.random.Generator, sample_rate: int) -> dict[str, Array]:
    """One-shot sounds of a song, each (2, samples)."""
    toms = rng.uniform(75, 110)
    cymbals = rng.uniform(0.12, 0.3)
    side = rng.choice([-1, 1])
    return {
        "kick": pan(_kick(rng, sample_rate), 0.0),
        "snare": pan(_snare(rng, sample_rate), rng.uniform(-0.15, 0.15)),
        "clap": pan(_clap(rng, sample_rate), rng.uniform(-0.25, 0.25)),
        "hat": pan(cymbals * 1.3 * _metal(rng, 0.04, 0.12, sample_rate), side * rng.uniform(0.1, 0.5)),
        "open": pan(cymbals * _metal(rng, 0.25, 0.6, sample_rate), side * rng.uniform(0.1, 0.5)),
        "ride": pan(0.6 * cymbals * _metal(rng, 0.4, 0.9, sample_rate), -side * rng.uniform(0.2, 0.6)),
        "crash": pan(cymbals * _metal(rng, 1.0, 2.0, sample_rate), -side * rng.uniform(0.1, 0.6)),
        "shaker": pan(0.1 * _shaker(rng, sample_rate), -side * rng.uniform(0.3, 0.7)),
        "high tom": pan(_tom(rng, toms * rng.uniform(1.4, 1.8), sample_rate), side * rng.uniform(0.2, 0.5)),
        "low tom": pan(_tom(rng, toms, sample_rate), -side * rng.uniform(0.2, 0.5)),
    }


def _sweep(low: float, high: float, fall: float, samples: int, sample_rate: int) -> Array:
    """A sine that falls from `high` to `low` Hz with time constant `fall` seconds."""
    time = np.arange(samples) / sample_rate
    return oscillate(SINE, phase_of(low + (high - low) * np.exp(-time / fall), sample_rate))


def _kick(rng: np.random.Generator, sample_rate: int) -> Array:
    samples = int(rng.uniform(0.18, 0.45) * sample_rate)
    low = rng.uniform(42, 62)
    body = _sweep(low, low + rng.uniform(90, 300), rng.uniform(0.015, 0.05), samples, sample_rate)
    body *= decay(samples, samples / sample_rate, sample_rate)
    click = band(noise(rng, samples), 1500, 7000, sample_rate) * decay(samples, 0.015, sample_rate)
    return saturate(0.9 * body + rng.uniform(0.1, 0.5) * click, rng.uniform(0.8, 3))


def _snare(rng: np.random.Generator, sample_rate: int) -> Array:
    samples = int(0.4 * sample_rate)
    low = rng.uniform(150, 240)
    body = _sweep(low, 1.6 * low, 0.02, samples, sample_rate) * decay(samples, rng.uniform(0.1, 0.25), sample_rate)
    wires = band(noise(rng, samples), rng.uniform(400, 1500), rng.uniform(7000, 14000), sample_rate, order=1)
    wires *= decay(samples, rng.uniform(0.15, 0.4), sample_rate)
    return saturate(rng.uniform(0.3, 0.7) * body + rng.uniform(0.35, 0.6) * wires, 1.5)


def _clap(rng: np.random.Generator, sample_rate: int) -> Array:
    samples = int(0.3 * sample_rate)
    sound = np.zeros(samples, dtype=np.float32)
    for burst in range(4):
        length = 0.02 if burst < 3 else rng.uniform(0.12, 0.25)
        start = int(burst * rng.uniform(0.008, 0.013) * sample_rate)
        add_at(sound, noise(rng, samples) * decay(samples, length, sample_rate), start, 0.6)
    return band(sound, rng.uniform(700, 1100), rng.uniform(3500, 8000), sample_rate, order=1)


def _metal(rng: np.random.Generator, shortest: float, longest: float, sample_rate: int) -> Array:
    """Hats and cymbals: inharmonic square waves and noise, high-passed."""
    seconds = rng.uniform(shortest, longest)
    samples = int(1.1 * seconds * sample_rate)
    time = np.arange(samples, dtype=np.float32) / sample_rate
    partials = rng.uniform(300, 900, 6).astype(np.float32)
    metal = np.sum(np.sign(np.sin(2 * np.pi * partials[:, None] * time)), axis=0)  # (partials, samples) to (samples,)
    sound = rng.uniform(0.1, 0.4) * metal.astype(np.float32) + noise(rng, samples)
    return band(sound, rng.uniform(4500, 8500), None, sample_rate, order=3) * decay(samples, seconds, sample_rate)


def _shaker(rng: np.random.Generator, sample_rate: int) -> Array:
    samples = int(0.09 * sample_rate)
    shape = np.hanning(samples).astype(np.float32)
    return band(noise(rng, samples), rng.uniform(4000, 6000), 12000, sample_rate) * shape


def _tom(rng: np.random.Generator, low: float, sample_rate: int) -> Array:
    samples = int(rng.uniform(0.25, 0.5) * sample_rate)
    body = _sweep(low, 1.5 * low, 0.04, samples, sample_rate)
    skin = band(noise(rng, samples), 200, 3000, sample_rate) * decay(samples, 0.06, sample_rate)
    return saturate((0.7 * body + 0.25 * skin) * decay(samples, samples / sample_rate, sample_rate), 1.2)

"""Signal blocks that all instruments share.

Conventions: mono sounds are (samples,), stereo ones (2, samples), all float32; frequencies in Hz, times in seconds
unless the name says samples.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import fft, signal

Array = npt.NDArray[np.float32]
Floats = npt.NDArray[Any]  # any real array: contours are computed in float64, sounds in float32

TABLE_SIZE = 4096  # with linear interpolation, harmonic 60 is still 60 dB above the interpolation error


def frequency_of(midi: Floats | float) -> Floats:
    """Frequency in Hz of MIDI note numbers (69 is 440 Hz)."""
    return np.asarray(440.0 * 2.0 ** ((np.asarray(midi, dtype=np.float64) - 69.0) / 12.0))


def harmonic_table(amplitudes: Floats, rng: np.random.Generator | None = None) -> Array:
    """One period of a sum of sines, (TABLE_SIZE + 1,), at RMS 1; random phases if `rng` is given."""
    spectrum = np.zeros(TABLE_SIZE // 2 + 1, dtype=np.complex128)
    count = min(len(amplitudes), TABLE_SIZE // 2 - 1)
    phases = np.zeros(count) if rng is None else rng.uniform(0, 2 * np.pi, count)
    spectrum[1 : count + 1] = -1j * np.asarray(amplitudes[:count]) * np.exp(1j * phases)
    period = np.fft.irfft(spectrum)
    period /= np.sqrt(np.mean(period**2))
    return np.append(period, period[0]).astype(np.float32)


def phase_of(frequency: Floats, sample_rate: int, start: float = 0.0) -> Floats:
    """Running phase in cycles, modulo 1, of a frequency contour (samples,)."""
    return (start + np.cumsum(frequency, dtype=np.float64) / sample_rate) % 1.0


def oscillate(table: Array, phase: Floats) -> Array:
    """Read a table of `harmonic_table` at phases in [0, 1) with linear interpolation."""
    position = (phase * TABLE_SIZE).astype(np.float32)
    index = np.minimum(position.astype(np.int32), TABLE_SIZE - 1)
    low = table[index]
    return np.asarray(low + (table[index + 1] - low) * (position - index), dtype=np.float32)


def glide(steps: Floats, seconds: float, sample_rate: int) -> Floats:
    """One-pole smoothing of a stepped contour, along the last axis, that starts settled."""
    if seconds <= 0:
        return steps
    pole = np.exp(-1.0 / (seconds * sample_rate))
    start = pole * steps[..., :1]
    smooth, _ = signal.lfilter([1 - pole], [1, -pole], steps, zi=start)
    return np.asarray(smooth)


def stretch(contour: Floats, hop: int, samples: int) -> Floats:
    """Straight lines between contour points (..., points) that are `hop` samples apart, cut to (..., samples)."""
    ramp = np.arange(hop, dtype=contour.dtype) / hop
    rise = np.diff(contour, append=contour[..., -1:])
    lines = contour[..., None] + rise[..., None] * ramp  # (..., points, hop)
    return lines.reshape(*contour.shape[:-1], -1)[..., :samples]


def envelope(samples: int, attack: int, release: int, sustain: float = 1.0) -> Array:
    """Rise, sag towards `sustain` and fall, (samples,), with cosine edges of the given lengths in samples."""
    shape: Array = (sustain + (1 - sustain) * np.exp(np.linspace(0, -4, samples))).astype(np.float32)
    attack, release = min(attack, samples), min(release, samples)
    shape[:attack] *= 0.5 - 0.5 * np.cos(np.linspace(0, np.pi, attack, dtype=np.float32))
    if release:
        shape[-release:] *= 0.5 + 0.5 * np.cos(np.linspace(0, np.pi, release, dtype=np.float32))
    return shape


def decay(samples: int, seconds: float, sample_rate: int) -> Array:
    """Exponential fall by 60 dB in `seconds`, faded to nothing over its last 10 ms."""
    fall: Array = np.exp(np.arange(samples, dtype=np.float32) * np.float32(-6.9 / (seconds * sample_rate)))
    fade = min(samples, sample_rate // 100)
    fall[samples - fade :] *= np.linspace(1, 0, fade, dtype=np.float32)
    return fall


def noise(rng: np.random.Generator, samples: int) -> Array:
    """White noise at RMS 1."""
    return rng.standard_normal(samples, dtype=np.float32)


def band(sound: Array, low: float | None, high: float | None, sample_rate: int, order: int = 2) -> Array:
    """Butterworth low-pass, high-pass or band-pass, whichever edges (Hz) are given."""
    top = 0.48 * sample_rate
    if low is not None and high is not None:
        sos = signal.butter(order, [low, min(high, top)], "bandpass", fs=sample_rate, output="sos")
    elif low is not None:
        sos = signal.butter(order, low, "highpass", fs=sample_rate, output="sos")
    elif high is not None:
        sos = signal.butter(order, min(high, top), "lowpass", fs=sample_rate, output="sos")
    else:
        return sound
    return np.asarray(signal.sosfilt(sos, sound, axis=-1), dtype=np.float32)


def add_at(track: Array, sound: Array, start: int, gain: float = 1.0) -> None:
    """Add `sound` to `track` in place from sample `start` on; what hangs over the end is cut."""
    end = min(track.shape[-1], start + sound.shape[-1])
    if 0 <= start < end:
        track[..., start:end] += np.float32(gain) * sound[..., : end - start]


def pan(sound: Array, position: float) -> Array:
    """Equal-power panning of a mono sound, (samples,) to (2, samples); position −1 is left, 1 is right."""
    angle = (position + 1) * np.pi / 4
    sides = np.array([[np.cos(angle)], [np.sin(angle)]], dtype=np.float32)
    return np.asarray(sides * sound, dtype=np.float32)


def reverberate(sound: Array, rng: np.random.Generator, seconds: float, wet: float, sample_rate: int) -> Array:
    """Add `wet` of a decaying-noise room, decorrelated between the channels, to a stereo sound (2, samples)."""
    length = int(seconds * sample_rate)
    room = np.stack([noise(rng, length), noise(rng, length)]) * decay(length, seconds, sample_rate)
    room = band(room, 250, 6000, sample_rate, order=1)
    room[:, : int(0.012 * sample_rate)] = 0  # pre-delay: without it the room only colours the dry sound
    room /= np.sqrt(np.sum(room**2, axis=-1, keepdims=True))
    size = fft.next_fast_len(sound.shape[-1] + length, real=True)
    spectrum = fft.rfft(sound, size, axis=-1) * fft.rfft(room, size, axis=-1)
    return np.asarray(sound + wet * fft.irfft(spectrum, size, axis=-1)[:, : sound.shape[-1]], dtype=np.float32)


def saturate(sound: Array, drive: float) -> Array:
    """Soft clipping; `drive` 1 is gentle for a sound at RMS 0.2, larger values add harmonics."""
    return np.asarray(np.tanh(drive * sound) / drive, dtype=np.float32)

"""The plan of a song: tempo, key, harmony, and who plays in which bar. Instruments read it; it makes no sound."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

STEMS = ("drums", "bass", "other", "vocals")

SCALES = (
    (0, 2, 4, 5, 7, 9, 11),  # major
    (0, 2, 3, 5, 7, 8, 10),  # minor
    (0, 2, 3, 5, 7, 9, 10),  # dorian
    (0, 2, 4, 5, 7, 9, 10),  # mixolydian
)

PROGRESSIONS = (  # scale degrees, one chord a slot
    (0, 4, 5, 3),
    (0, 5, 3, 4),
    (5, 3, 0, 4),
    (0, 3, 4, 3),
    (1, 4, 0, 0),
    (0, 6, 5, 6),
    (0, 0, 3, 4),
    (0, 2, 3, 4),
    (3, 4, 2, 5),
)


@dataclass(frozen=True)
class Song:
    """What all instruments of one song agree on."""

    samples: int
    sample_rate: int
    beats: int  # beats a bar; a beat has four steps
    step: float  # length of a sixteenth, in samples
    swing: float  # delay of every second sixteenth, as a part of a step
    root: int  # pitch class of the key, 0 is C
    scale: tuple[int, ...]  # semitones above the root
    degrees: tuple[int, ...]  # degree of the chord of each half bar, repeated to the end
    sevenths: bool
    active: npt.NDArray[np.bool_]  # (stems, bars): who plays
    energy: npt.NDArray[np.float64]  # (bars,): 0 is calm, 1 is full

    @property
    def bars(self) -> int:
        """Number of bars, the last one possibly cut."""
        return int(self.active.shape[1])

    @property
    def steps(self) -> int:
        """Sixteenths in a bar."""
        return 4 * self.beats

    def plays(self, stem: str, bar: int) -> bool:
        """Whether a stem plays in a bar."""
        return bool(self.active[STEMS.index(stem), bar])

    def sample_of(self, bar: int, step: float) -> int:
        """Sample at which a step (sixteenths within the bar; may be fractional or beyond it) begins."""
        late = self.swing if step % 2 == 1 else 0.0
        return int((bar * self.steps + step + late) * self.step)

    def pitch(self, degree: int) -> int:
        """Semitones above C of a scale degree; degrees beyond the scale go on in the next octave."""
        octave, index = divmod(degree, len(self.scale))
        return self.root + 12 * octave + self.scale[index]

    def degree_at(self, bar: int, step: float) -> int:
        """Scale degree of the chord that sounds at a step."""
        half = int(2 * bar + (2 * step >= self.steps))
        return self.degrees[half % len(self.degrees)]

    def chord_at(self, bar: int, step: float) -> tuple[int, ...]:
        """Semitones above C of the chord that sounds at a step: stacked thirds."""
        degree = self.degree_at(bar, step)
        return tuple(self.pitch(degree + third) for third in ((0, 2, 4, 6) if self.sevenths else (0, 2, 4)))


def plan_song(rng: np.random.Generator, samples: int, sample_rate: int) -> Song:
    """Draw a song of `samples` samples."""
    beats = int(rng.choice([4, 4, 4, 4, 4, 3]))
    step = sample_rate * 60.0 / rng.uniform(76, 164) / 4
    bars = int(np.ceil(samples / (step * 4 * beats)))
    progression = PROGRESSIONS[rng.integers(len(PROGRESSIONS))]
    hold = int(rng.choice([1, 2, 2, 2, 4]))  # half bars that a chord lasts
    return Song(
        samples=samples,
        sample_rate=sample_rate,
        beats=beats,
        step=step,
        swing=float(rng.choice([0.0, 0.0, rng.uniform(0.1, 0.33)])),
        root=int(rng.integers(12)),
        scale=SCALES[rng.integers(len(SCALES))],
        degrees=tuple(degree for degree in progression for _ in range(hold)),
        sevenths=bool(rng.random() < 0.4),
        active=_plan_rests(rng, bars),
        energy=_plan_energy(rng, bars),
    )


def _plan_rests(rng: np.random.Generator, bars: int) -> npt.NDArray[np.bool_]:
    """Who plays in which bar, (stems, bars): mostly all, sometimes one stem rests for a bar or two."""
    active = np.ones((len(STEMS), bars), dtype=np.bool_)
    intro = rng.choice(["none", "drums", "vocals", "bass", "other"], p=[0.4, 0.2, 0.25, 0.1, 0.05])
    if intro != "none" and bars > 4:
        active[STEMS.index(intro), : rng.integers(1, 3)] = False
    for first in range(2, bars - 1, 4):
        if rng.random() < 0.4:
            stem = rng.choice(len(STEMS), p=[0.2, 0.2, 0.2, 0.4])
            bar = first + rng.integers(4)
            active[stem, bar : bar + rng.integers(1, 3)] = False
    # A short song, or an unlucky draw, must not lose a stem: a third of the bars is the most a stem may rest.
    for row in active:
        resting = np.flatnonzero(~row)
        row[resting[bars // 3 :]] = True
    return active


def _plan_energy(rng: np.random.Generator, bars: int) -> npt.NDArray[np.float64]:
    """Density of playing, (bars,), constant over sections of four bars."""
    sections = rng.uniform(0.2, 1.0, bars // 4 + 1)
    return np.asarray(np.repeat(sections, 4)[:bars])

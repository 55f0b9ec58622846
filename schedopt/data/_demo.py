"""Generated tracks: nothing to download, the same samples for the same seed."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, lru_cache
from importlib.metadata import version
from pathlib import Path

import torch

import schedopt.demo
from schedopt.data.audio import sample_at
from schedopt.data.splits import Split
from schedopt.data.stems import StemSums, add_up
from schedopt.demo.seeds import HELD_OUT_SEEDS, SEARCH_SEEDS
from schedopt.types import STEMS

SECONDS = 20.0


@dataclass(frozen=True)
class DemoTrack:
    """The song of one seed, rendered when it is first read (about a second)."""

    seed: int
    parts: Mapping[str, Sequence[str]] = field(default_factory=lambda: add_up(STEMS, {}), repr=False)

    @property
    def name(self) -> str:
        return f"demo-{self.seed}"

    @property
    def location(self) -> str:
        return self.name

    @property
    def recipe(self) -> str:
        """All that its samples depend on: what is cut of it is kept under this."""
        return f"{self.seed} {dict(self.parts)} {SECONDS} {_code()}"

    @property
    def stems(self) -> tuple[str, ...]:
        return tuple(self.parts)

    @property
    def seconds(self) -> float:
        return SECONDS

    def read(self, start: float, seconds: float) -> torch.Tensor:
        """Stems from `start` on, (stems, 2, samples), cut where the song ends."""
        first = sample_at(start)
        song = _render(self.seed)[..., first : first + sample_at(seconds)]
        return torch.stack([song[[STEMS.index(part) for part in parts]].sum(dim=0) for parts in self.parts.values()])

    def close(self) -> None:
        """Nothing is open; the last song stays rendered."""


def load_demo(split: Split, limit: int | None, sums: StemSums) -> list[DemoTrack]:
    """Songs of seeds that the other side, and the bundled separator's training, never hear."""
    seeds = {"search": SEARCH_SEEDS, "held-out": HELD_OUT_SEEDS}[split]
    return [DemoTrack(seed, add_up(STEMS, sums)) for seed in seeds[:limit]]


@cache
def _code() -> str:
    """Hash of the sources that render songs, and the versions that they run on."""
    folder = Path(schedopt.demo.__file__).parent / "synth"
    sources = b"\0".join(path.read_bytes() for path in sorted(folder.glob("*.py")))
    versions = f"numpy {version('numpy')} scipy {version('scipy')} "
    return versions + hashlib.sha256(sources).hexdigest()[:16]


@lru_cache(maxsize=2)  # 28 MB a song; excerpts are cut track by track, so the last song is enough
def _render(seed: int) -> torch.Tensor:
    from schedopt.demo.synth import synthesize

    song = torch.from_numpy(synthesize(seed, seconds=SECONDS))
    assert song.shape == (4, 2, sample_at(SECONDS)), f"demo song {seed} has shape {tuple(song.shape)}"
    assert song.dtype == torch.float32, f"demo song {seed} is {song.dtype}"
    return song

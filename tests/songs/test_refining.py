"""A song goes through the engine that scores excerpts: same estimates, whole or in files, in bounded memory."""

from __future__ import annotations

import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from schedopt import arrays
from schedopt.arrays import Arrays, Memory, ScratchFiles
from schedopt.outputs import OUTPUTS
from schedopt.rules import RULES
from schedopt.separators import Separator
from schedopt.songs import Position, SegmentNews, SongPasses, count_passes, separate
from schedopt.songs.refining import arrays_at_most, stems_to_estimate
from schedopt.trajectory import Scene, refine
from tests.models import RATE
from tests.separators.networks import NETWORKS, demucs, difference, mixture
from tests.songs.songs import entry, tiny

USABLE = [name for name, rule in RULES.items() if not rule.needs_references]
OPTIONS: list[dict[str, Any]] = [
    *({"rule": rule, "output": output} for rule in USABLE for output in OUTPUTS),
    {"rule": "remix", "shift": True, "output": "mean", "peak_guard": True},
    {"rule": "ddpm", "sigma": 0.05, "peak_guard": True},
    {"rule": "ddpm", "reverse": True},
    {"rule": "remix", "residual": 0.25},
    {"rule": "unmix", "residual": 0.5, "output": "mean"},
    {"output": "mixer", "weights": {"bass": ((0.1, 0.4, 0.3, 0.1, -0.2, 0.1, 0.05, 0.4),)}},
    {
        "output": "mixer-bands",
        "shift": True,
        "weights": {"bass": tuple((0.1 * k, 0.4, 0.3, 0.1, -0.2, 0.1, 0.05, 0.4) for k in range(5))},
    },
    {"output": "mixer-wiener", "weights": {"bass": ((0.1, 0.4, 0.3, 0.1, -0.2, 0.1, 0.05, 0.4, 0.3),) * 5}},
]

SONG = 3 * mixture(int(0.9 * RATE), 3)
"""Loud enough for the peak guard; four segments of a quarter of a second, and a rest."""


def separated(
    separator: Separator, song: Tensor, schedules: dict[str, Any], stems: Any, arrays: Arrays | None = None, **told: Any
) -> dict[str, Tensor]:
    needed = stems_to_estimate(separator, schedules, stems)
    passes = SongPasses(separator, song, needed, arrays or Memory(), **told)
    return dict(separate(passes, schedules, stems))


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_a_song_is_refined_as_an_excerpt_is(
    options: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    separator = tiny()
    schedule = entry(0.0, 0.5, 0.3, **options)
    expected = list(refine(separator, Scene(SONG), schedule.betas, schedule.refinement("bass")))[-1]
    # Blocks much shorter than the song, as an hour-long one has them.
    monkeypatch.setattr(arrays, "BLOCK", 7_000)
    found = separated(separator, SONG, {"bass": schedule}, ["bass", "drums"], ScratchFiles(tmp_path))
    assert difference(found["bass"], expected) < 1e-6
    # One stem without a schedule: the plain pass.
    assert torch.allclose(found["drums"], separator(SONG[None], stems=["drums"])[0, 0])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("name", list(NETWORKS))
def test_every_network_in_files_and_in_memory(name: str, batch: int, tmp_path: Path) -> None:
    separator = Separator.from_model(NETWORKS[name](), device="cpu", batch_segments=batch)
    song = mixture(int(0.6 * RATE))
    found = separated(separator, song, {}, separator.stems, ScratchFiles(tmp_path))
    for stem, expected in zip(separator.stems, separator(song[None])[0], strict=True):
        assert torch.equal(found[stem], expected)


@pytest.mark.parametrize("overlap", [0.0, 0.6, 0.8])
def test_many_overlapping_segments(overlap: float) -> None:
    separator = Separator.from_model(demucs(), device="cpu", overlap=overlap)
    song = mixture(int(0.7 * RATE))
    found = separated(separator, song, {}, ["bass"])
    assert difference(found["bass"], separator(song[None], stems=["bass"])[0, 0]) < 1e-6


def test_the_shift_trick_is_the_mean_of_shifted_passes() -> None:
    separator = tiny()
    (found,) = separated(separator, SONG, {}, ["vocals"], shifts=3).values()
    delays = SongPasses(separator, SONG, ("vocals",), shifts=3)._delays(0)
    assert len(set(delays)) == 3
    passes = [separator(SONG[None], stems=["vocals"], shift=delay)[0, 0] for delay in delays]
    assert difference(found, torch.stack(passes).mean(0)) < 1e-6


def test_positions_rise_to_the_end_of_every_step_and_segments_are_told() -> None:
    separator = tiny()
    schedules = {"bass": entry(0.2, 0.5), "vocals": entry(0.7, shift=True)}
    positions: list[Position] = []
    news: list[SegmentNews] = []
    separated(
        separator, SONG, schedules, separator.stems, shifts=2, on_position=positions.append, on_segment=news.append
    )
    steps = list(dict.fromkeys(position[:2] for position in positions))
    assert steps == [(None, 0), ("bass", 1), ("bass", 2), ("vocals", 1)]
    assert len(steps) == count_passes(schedules, separator.stems)
    for step in steps:
        samples = [position.samples for position in positions if position[:2] == step]
        assert samples == sorted(samples)
        assert samples[-1] == SONG.shape[1]
    assert {(one.target, one.step) for one in news} == set(steps)
    assert [one.state for one in news[:2]] == ["start", "end"]
    assert {one.shift for one in news} == {0, 1}


class Counted(Memory):
    """Arrays in memory, and how many of them are alive at once."""

    alive = 0
    most = 0

    def empty(self, *shape: int) -> Tensor:
        made = np.empty(shape, np.float32)
        count = made.size // SONG[:, :10_000].numel()
        Counted.alive += count
        Counted.most = max(Counted.most, Counted.alive)
        weakref.finalize(made, lambda: setattr(Counted, "alive", Counted.alive - count))
        return torch.from_numpy(made)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_no_more_arrays_are_held_than_disk_space_was_asked_for(options: dict[str, Any]) -> None:
    separator, schedules = tiny(), {"bass": entry(0.2, 0.5, 0.1, **options), "drums": entry(0.3, **options)}
    Counted.alive = Counted.most = 0
    stems = ["bass", "drums"]
    found = separated(separator, SONG[:, :10_000].clone(), schedules, stems, Counted())
    assert set(found) == set(stems)
    assert 0 < Counted.most + 1 <= arrays_at_most(separator, schedules, stems)


def test_passes_over_the_mixture_itself_are_run_once() -> None:
    """β = 0 under remix is the mixture again, whatever the stem."""
    separator = tiny()
    news: list[SegmentNews] = []
    separated(separator, SONG, {"bass": entry(0.0, 0.0), "drums": entry(0.0)}, separator.stems, on_segment=news.append)
    assert {(one.target, one.step) for one in news} == {(None, 0)}

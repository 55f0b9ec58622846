"""A song's estimates are those of `schedopt.trajectory.refine` for the whole song, however they are made."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from schedopt.separators import Separator
from schedopt.songs import Desk, MemoryShelf, Place, SegmentNews, passes, separate
from schedopt.songs.refining import waves_at_most
from schedopt.songs.waves import DiskShelf
from schedopt.trajectory import Scene, refine
from tests.models import RATE
from tests.separators.networks import NETWORKS, demucs, difference, mixture
from tests.songs.songs import entry, kept, tiny

OPTIONS: list[dict[str, Any]] = [
    {"rule": "remix"},
    {"rule": "remix", "shift": True, "output": "mean", "peak_guard": True},
    {"rule": "resum", "output": "mean"},
    {"rule": "ddpm", "sigma": 0.05, "peak_guard": True},
    {"rule": "remix", "residual": 0.25},
    {"rule": "unmix", "residual": 0.5, "output": "mean"},
]

SONG = 3 * mixture(int(0.9 * RATE), 3)
"""Loud enough for the peak guard; four segments of a quarter of a second, and a rest."""


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_a_song_is_refined_as_an_excerpt_is(options: dict[str, Any]) -> None:
    separator = tiny()
    schedule = entry(0.0, 0.5, 0.3, **options)
    desk = Desk(separator, kept(SONG), MemoryShelf(2))
    waves = separate(desk, {"bass": schedule}, ["bass", "drums"])
    expected = list(refine(separator, Scene(SONG), schedule.betas, schedule.refinement("bass")))[-1]
    assert difference(waves["bass"].read(0, SONG.shape[1]), expected) < 1e-6
    # One stem without a schedule: the plain pass.
    assert torch.allclose(waves["drums"].read(0, SONG.shape[1]), separator(SONG[None], stems=["drums"])[0, 0])


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("name", list(NETWORKS))
def test_every_network_in_pieces_and_whole(name: str, batch: int) -> None:
    separator = Separator.from_model(NETWORKS[name](), device="cpu", batch_segments=batch)
    song = mixture(int(0.6 * RATE))
    waves = separate(Desk(separator, kept(song), MemoryShelf(2)), {}, separator.stems)
    whole = separator(song[None])[0]
    for stem, expected in zip(separator.stems, whole, strict=True):
        assert difference(waves[stem].read(0, song.shape[1]), expected) < 1e-5


@pytest.mark.parametrize("overlap", [0.0, 0.6, 0.8])
def test_many_overlapping_segments(overlap: float) -> None:
    separator = Separator.from_model(demucs(), device="cpu", overlap=overlap)
    song = mixture(int(0.7 * RATE))
    waves = separate(Desk(separator, kept(song), MemoryShelf(2)), {}, ["bass"])
    assert difference(waves["bass"].read(0, song.shape[1]), separator(song[None], stems=["bass"])[0, 0]) < 1e-6


def test_the_shift_trick_is_the_mean_of_shifted_passes() -> None:
    separator = tiny()
    desk = Desk(separator, kept(SONG), MemoryShelf(2), shifts=3)
    (wave,) = separate(desk, {}, ["vocals"]).values()
    delays = desk.delays()
    assert len(set(delays)) == 3
    passes_ = [separator(SONG[None], stems=["vocals"], shift=delay)[0, 0] for delay in delays]
    assert difference(wave.read(0, SONG.shape[1]), torch.stack(passes_).mean(0)) < 1e-6


class StopError(Exception):
    pass


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_an_interrupted_song_goes_on_to_the_same_bits(options: dict[str, Any], tmp_path: Path) -> None:
    """Interrupted before every single segment of every step, and continued each time by a new process's eyes."""
    separator = tiny()
    schedules = {"bass": entry(0.2, 0.5, **options), "vocals": entry(0.7, shift=True)}
    uninterrupted = separate(Desk(separator, kept(SONG), MemoryShelf(2)), schedules, separator.stems)

    seen: list[SegmentNews] = []

    def stop(news: SegmentNews) -> None:
        if news.state == "start" and news not in seen:
            seen.append(news)
            raise StopError

    done: list[Place] = []
    for _ in range(100):
        with DiskShelf(tmp_path, 2) as shelf:
            try:
                waves = separate(
                    Desk(separator, kept(SONG), shelf, on_piece=done.append, on_segment=stop),
                    schedules,
                    separator.stems,
                )
            except StopError:
                # What a process that is killed leaves may end in the middle of a frame.
                for file in tmp_path.iterdir():
                    with file.open("ab") as end:
                        end.write(b"\1\2\3")
                continue
            for stem, wave in waves.items():
                expected = uninterrupted[stem].read(0, SONG.shape[1])
                assert torch.equal(wave.read(0, SONG.shape[1]), expected), stem
        break
    steps = {(news.target, news.step) for news in seen}
    assert len(steps) == passes(schedules, separator.stems)
    assert len(seen) > 4 * len(steps)
    # Nothing that was kept is made a second time.
    places = [(place.target, place.step, place.samples) for place in done]
    assert len(places) == len(set(places))


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_what_is_no_longer_needed_leaves_the_shelf(options: dict[str, Any], tmp_path: Path) -> None:
    separator, schedules = tiny(), {"bass": entry(0.2, 0.5, 0.1, **options), "drums": entry(0.3, **options)}
    most = 0

    def count(_: SegmentNews) -> None:
        nonlocal most
        most = max(most, len(list(tmp_path.iterdir())))

    with DiskShelf(tmp_path, 2) as shelf:
        desk = Desk(separator, kept(SONG[:, :10_000]), shelf, on_segment=count)
        separate(desk, schedules, ["bass", "drums"])
    assert most <= waves_at_most(schedules, ["bass", "drums"], separator.stems)
    part = "total" if options.get("output") == "mean" or "residual" in options else "target"
    left = {path.name for path in tmp_path.iterdir() if "plain" not in path.name}
    assert left == {f"1-3-{part}.f32", f"0-1-{part}.f32"}

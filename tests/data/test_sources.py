"""The contract that every source keeps, whatever its music lies in."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import stempeg
import torch

from schedopt.data import SAMPLE_RATE, load_tracks
from schedopt.data.splits import validation_names
from schedopt.demo.seeds import HELD_OUT_SEEDS, SEARCH_SEEDS, TRAIN_SEEDS, VALIDATION_SEEDS

from .music import write_track

VALID = sorted(validation_names())[:2]


def flat(root: Path) -> str:
    for number in range(6):
        write_track(root / f"song {number}")
    return f"folder:{root}"


def own_split(root: Path) -> str:
    write_track(root / "search" / "a")
    write_track(root / "search" / "b", suffix=".flac")
    write_track(root / "held-out" / "c", rate=48_000)
    return f"folder:{root}"


def musdb_layout(root: Path) -> str:
    for name in (*VALID, "A Classic Education - NightOwl"):
        write_track(root / "train" / name)
    write_track(root / "test" / "AM Contra - Heart Peripheral")
    return f"folder:{root}"


def musdb_hq(root: Path) -> str:
    musdb_layout(root)
    for folder in root.glob("*/*"):
        shutil.copy(folder / "vocals.wav", folder / "mixture.wav")
    return f"musdb:{root}"


def musdb_stems(root: Path) -> str:
    for name in (f"train/{VALID[0]}", "train/A Classic Education - NightOwl", "test/AM Contra - Heart Peripheral"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(stempeg.example_stem_path(), root / f"{name}.stem.mp4")
    return f"musdb:{root}"


SOURCES: dict[str, Callable[[Path], str]] = {
    "demo": lambda _root: "demo",
    "flat folder": flat,
    "search and held-out folders": own_split,
    "MUSDB18-HQ folders": musdb_layout,
    "musdb, HQ": musdb_hq,
    "musdb, stem.mp4": musdb_stems,
}


@pytest.fixture(params=SOURCES)
def source(request: pytest.FixtureRequest, tmp_path: Path, ffmpeg: None) -> str:
    return SOURCES[request.param](tmp_path)


def test_the_sides_share_no_track_and_both_have_some(source: str) -> None:
    search = {track.name for track in load_tracks(source, "search")}
    held_out = {track.name for track in load_tracks(source, "held-out")}
    assert search
    assert held_out
    assert not search & held_out


def test_tracks_come_in_a_fixed_order_up_to_the_limit(source: str) -> None:
    names = [track.name for track in load_tracks(source, "search")]
    assert names == sorted(names)
    assert [track.name for track in load_tracks(source, "search", 1)] == names[:1]
    assert [track.name for track in load_tracks(source, "search", 1000)] == names


def test_pieces_are_stereo_stems_cut_out_of_the_track(source: str) -> None:
    (track,) = load_tracks(source, "held-out", 1)
    whole = track.read(0.0, track.seconds)
    assert whole.dtype == torch.float32
    assert whole.shape == (4, 2, round(track.seconds * SAMPLE_RATE))
    assert whole.abs().max() > 0.01
    piece = track.read(0.25, 0.5)
    first = round(0.25 * SAMPLE_RATE)
    torch.testing.assert_close(piece, whole[..., first : first + 22_050], rtol=0, atol=2e-6)
    late = track.read(track.seconds - 0.1, 0.5)
    assert late.shape == (4, 2, 4_410)
    torch.testing.assert_close(late, whole[..., -4_410:], rtol=0, atol=2e-6)
    assert track.read(track.seconds + 1, 0.5).shape == (4, 2, 0)


def test_reading_again_gives_the_same_samples(source: str) -> None:
    (track,) = load_tracks(source, "held-out", 1)
    piece = track.read(0.1, 0.2)
    expected = piece.clone()
    piece.zero_()  # whoever writes into a piece writes into a copy
    assert torch.equal(track.read(0.1, 0.2), expected)


def test_demo_names_tell_the_seed() -> None:
    assert [track.name for track in load_tracks("demo", "search", 2)] == ["demo-10000", "demo-10001"]
    assert [track.seconds for track in load_tracks("demo", "held-out")] == [20.0] * len(HELD_OUT_SEEDS)


def test_demo_seeds_do_not_overlap() -> None:
    ranges = [TRAIN_SEEDS, VALIDATION_SEEDS, SEARCH_SEEDS, HELD_OUT_SEEDS]
    assert len(set().union(*ranges)) == sum(map(len, ranges))

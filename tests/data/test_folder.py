"""Folders of stems: what counts as a track, and what is said about it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from schedopt.data import load_tracks, open_stem_folder, read_audio, stem_files, track_folders

from .music import PITCHES, tone, write, write_track


def test_stems_stand_in_their_order_whatever_the_files_are_called(tmp_path: Path) -> None:
    for name, stem in {
        "VOCALS.WAV": "vocals",
        "Bass.flac": "bass",
        "drums.Wav": "drums",
        "other.FLAC": "other",
    }.items():
        path = write(tmp_path / "part.tmp.wav", tone(0.5, PITCHES[stem]))
        if name.lower().endswith("flac"):
            path = write(tmp_path / "part.tmp.flac", tone(0.5, PITCHES[stem]))
        path.rename(tmp_path / name)
    for extra in ("mixture.wav", "._drums.wav", "drums.txt", "vocals2.wav", "lead vocals.flac"):
        (tmp_path / extra).write_bytes(b"ignored")
    assert list(stem_files(tmp_path)) == ["drums", "bass", "other", "vocals"]
    expected = np.stack([tone(0.5, hz).T for hz in PITCHES.values()])
    np.testing.assert_allclose(open_stem_folder(tmp_path).read().numpy(), expected, atol=2**-15)


def test_stems_may_be_chosen(tmp_path: Path) -> None:
    write_track(tmp_path / "song", 0.2)
    (tmp_path / "song" / "drums.wav").unlink()
    track = open_stem_folder(tmp_path / "song", ("vocals", "bass"))
    assert track.stems == ("vocals", "bass")
    assert torch.equal(track.read()[1], read_audio(tmp_path / "song" / "bass.wav"))


def test_the_shortest_stem_counts_and_is_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = write_track(tmp_path / "song", 1.0)
    write(folder / "bass.wav", tone(0.75, 220))
    track = open_stem_folder(folder)
    assert track.seconds == 0.75
    assert track.read().shape == (4, 2, 33_075)
    track.read(0.1, 0.1)
    assert caplog.messages == [
        f"{folder}: lengths differ (up to 1.000 s, drums); only the first 0.750 s, as long as bass, are used"
    ]


def test_notes_come_once_a_file(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_track(tmp_path / "song", channels=1)
    (track,) = load_tracks(f"folder:{tmp_path}", "search")
    for start in (0.0, 0.2, 0.4):
        track.read(start, 0.2)
    assert sorted(caplog.messages) == sorted(
        f"{tmp_path / 'song' / stem}.wav: mono, copied to both channels" for stem in PITCHES
    )


def test_folders_are_tracks_where_a_stem_lies_in_them(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_track(tmp_path / "b")
    write(tmp_path / "a" / "vocals.wav", tone(0.1, 440))
    write_track(tmp_path / ".cache")
    write_track(tmp_path / "nested" / "deep")
    (tmp_path / "round").symlink_to(tmp_path)
    (tmp_path / "loop").symlink_to("loop")
    assert [folder.name for folder in track_folders(tmp_path)] == ["a", "b"]
    named = [message.split(": ")[0] for message in caplog.messages]
    assert named == [f"{tmp_path}/{name}" for name in ("loop", "nested", "round")]


def test_a_song_called_test_is_a_song(tmp_path: Path) -> None:
    for name in ("test", "train", "alpha", "beta"):
        write_track(tmp_path / name, 0.1)
    source = f"folder:{tmp_path}"
    names = [track.name for split in ("search", "held-out") for track in load_tracks(source, split)]
    assert sorted(names) == ["alpha", "beta", "test", "train"]


def test_musdb_layout_with_other_music_uses_all_of_train(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_track(tmp_path / "train" / "mine")
    write_track(tmp_path / "test" / "yours")
    assert [track.name for track in load_tracks(f"folder:{tmp_path}", "search")] == ["mine"]
    assert [track.name for track in load_tracks(f"folder:{tmp_path}", "held-out")] == ["yours"]
    assert len(caplog.messages) == 1
    assert "none of MUSDB18's 14 validation tracks" in caplog.messages[0]

"""MUSDB18 as the musdb package lays it out, on the one real excerpt that stempeg carries (6 s, AAC)."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import stempeg
import torch

from schedopt.data import cut_excerpts, load_tracks, mix
from schedopt.data.splits import Split, validation_names
from schedopt.errors import DataError
from schedopt.types import STEMS

from .music import write_track

pytestmark = pytest.mark.usefixtures("ffmpeg")
EXAMPLE = "The Easton Ellises - Falcon 69"


def put(folder: Path, name: str = EXAMPLE) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return Path(shutil.copy(stempeg.example_stem_path(), folder / f"{name}.stem.mp4"))


def refusal(root: Path, split: Split = "search") -> str:
    with pytest.raises(DataError) as caught:
        cut_excerpts(load_tracks(f"musdb:{root}", split), 1.0)
    message = str(caught.value)
    assert message.isprintable(), f"not one line: {message!r}"
    return message


def test_the_real_excerpt_is_read_as_musdb_stores_it(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    put(tmp_path / "train")
    (track,) = load_tracks(f"musdb:{tmp_path}", "search")
    assert track.name == EXAMPLE
    assert caplog.messages == [
        f"{tmp_path / 'train'}: none of MUSDB18's 14 validation tracks is here; the search uses all tracks of it"
    ]
    expected, _ = stempeg.read_stems(stempeg.example_stem_path(), stem_id=[1, 2, 3, 4], ffmpeg_format="s16le")
    audio = track.read(0.0, track.seconds)
    assert track.seconds == pytest.approx(6.083628)
    # musdb decodes to 16 bits, which cuts what is above full scale and rounds the rest.
    np.testing.assert_allclose(audio.clamp(-1, 1).numpy(), expected.transpose(0, 2, 1), atol=2**-15)
    assert torch.equal(track.read(1.2345678, 0.3), audio[..., 54_444 : 54_444 + 13_230])


def test_excerpts_of_the_real_track_have_all_stems(tmp_path: Path) -> None:
    put(tmp_path / "test")
    (excerpt,) = cut_excerpts(load_tracks(f"musdb:{tmp_path}", "held-out"), 2.0, workers=2)
    assert excerpt.audible == set(STEMS)
    assert excerpt.references.shape == (4, 2, 88_200)
    # AAC's stems do not add up to its mixture; ours is their sum
    assert torch.equal(mix(excerpt.references), sum(excerpt.references[1:], excerpt.references[0]))


def test_other_rates_and_mono_are_converted_with_one_note(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "test" / "odd.stem.mp4"
    path.parent.mkdir()
    command = ["ffmpeg", "-v", "error", "-nostdin", "-i", stempeg.example_stem_path(), "-t", "1"]
    subprocess.run([*command, "-map", "0:a", "-ar", "48000", "-ac", "1", str(path)], check=True)
    (track,) = load_tracks(f"musdb:{tmp_path}", "held-out")
    piece = track.read(0.5, 0.2)
    assert piece.shape == (4, 2, 8_820)
    assert torch.equal(piece[:, 0], piece[:, 1])
    assert caplog.messages == [f"{path}: mono, copied to both channels; 48000 Hz, resampled to 44100 Hz"]


def test_validation_tracks_are_searched_on(tmp_path: Path) -> None:
    valid = sorted(validation_names())[0]
    put(tmp_path / "train", valid)
    put(tmp_path / "train")
    put(tmp_path / "test", "another")
    assert [track.name for track in load_tracks(f"musdb:{tmp_path}", "search")] == [valid]
    assert [track.name for track in load_tracks(f"musdb:{tmp_path}", "held-out")] == ["another"]


def test_hq_folders_give_the_same_as_the_folder_source(tmp_path: Path) -> None:
    valid = sorted(validation_names())[0]
    shutil.copy(write_track(tmp_path / "train" / valid) / "bass.wav", tmp_path / "train" / valid / "mixture.wav")
    write_track(tmp_path / "train" / "not for validation")
    (hq,) = load_tracks(f"musdb:{tmp_path}", "search")
    (folder,) = load_tracks(f"folder:{tmp_path}", "search")
    assert hq.name == folder.name == valid
    assert torch.equal(hq.read(0.3, 0.4), folder.read(0.3, 0.4))


def test_missing_sides_are_refused(tmp_path: Path) -> None:
    assert "has neither a folder 'train' nor 'test'" in refusal(tmp_path)
    put(tmp_path / "test")
    assert "train holds no tracks: the search tracks of MUSDB18 belong there" in refusal(tmp_path)
    (tmp_path / "train").mkdir()
    assert "train holds no tracks" in refusal(tmp_path)


def test_a_track_on_both_sides_is_refused(tmp_path: Path) -> None:
    put(tmp_path / "train")
    put(tmp_path / "test")
    assert "is both searched on and held out" in refusal(tmp_path, "held-out")


def test_broken_files_are_refused_by_name(tmp_path: Path) -> None:
    path = put(tmp_path / "train")
    whole = path.read_bytes()
    path.write_bytes(whole[:300_000])  # the index lies at the end
    assert path.name in refusal(tmp_path)
    path.write_bytes(b"")
    assert path.name in refusal(tmp_path)
    path.unlink()
    path.mkdir()
    assert f"{path} is a folder" in refusal(tmp_path)


def test_damaged_audio_is_refused(tmp_path: Path) -> None:
    path = put(tmp_path / "train")
    data = bytearray(path.read_bytes())
    start, end = data.index(b"mdat") + 200_000, len(data) - 60_000
    data[start:end] = bytes(end - start)
    path.write_bytes(data)
    message = refusal(tmp_path)
    assert path.name in message


@pytest.mark.parametrize("program", ["ffmpeg", "ffprobe"])
def test_missing_programs_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: str) -> None:
    put(tmp_path / "train")
    bin_folder = tmp_path / "bin"
    bin_folder.mkdir()
    for other in {"ffmpeg", "ffprobe"} - {program}:
        (bin_folder / other).symlink_to(shutil.which(other) or "")
    monkeypatch.setenv("PATH", str(bin_folder))
    assert f"{program} is not found: install ffmpeg" in refusal(tmp_path)

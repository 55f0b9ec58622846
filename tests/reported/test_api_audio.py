"""Issue 13, item 1: `schedopt.api` and the command line read a file with one reader."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import torch

from schedopt.api import LoadAudioError, Separator
from schedopt.data import read_song
from schedopt.separators import save_safetensors
from tests.models import RATE
from tests.separators.networks import demucs
from tests.songs.songs import write_song


@pytest.fixture
def separator(tmp_path: Path) -> Separator:
    # A network of waves: where one of spectrograms meets a last segment shorter than its window, demucs itself fails.
    save_safetensors(demucs(), tmp_path / "tiny.safetensors")
    return Separator(model=str(tmp_path / "tiny.safetensors"), device="cpu")


@pytest.mark.parametrize("options", [["-q:a", "3", "-write_xing", "0"], ["-b:a", "128k", "-write_xing", "0"]], ids=str)
def test_mp3_without_a_length_is_read_whole(tmp_path: Path, separator: Separator, options: list[str]) -> None:
    song = write_song(tmp_path / "a.wav", 6.0)
    mp3 = tmp_path / "a.mp3"
    subprocess.run(["ffmpeg", "-nostdin", "-v", "error", "-i", song, *options, mp3], check=True)
    origin, stems = separator.separate_audio_file(mp3)
    assert torch.equal(origin, read_song(mp3, RATE))
    assert abs(origin.shape[-1] - 6 * RATE) < 5000
    assert all(stem.shape == origin.shape for stem in stems.values())


def test_two_files_joined_are_both_there(tmp_path: Path, separator: Separator) -> None:
    song, mp3 = write_song(tmp_path / "a.wav", 3.0), tmp_path / "a.mp3"
    subprocess.run(["ffmpeg", "-nostdin", "-v", "error", "-i", song, mp3], check=True)
    joined = tmp_path / "joined.mp3"
    joined.write_bytes(mp3.read_bytes() * 2)
    origin, _ = separator.separate_audio_file(joined)
    assert origin.shape[-1] > 5.9 * RATE


def test_what_is_no_audio_is_one_line(tmp_path: Path, separator: Separator) -> None:
    (tmp_path / "a.wav").write_bytes(b"RIFF")
    with pytest.raises(LoadAudioError, match=r"a\.wav") as caught:
        separator.separate_audio_file(tmp_path / "a.wav")
    assert "\n" not in str(caught.value)

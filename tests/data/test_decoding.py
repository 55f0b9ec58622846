"""Songs in every format, rate and channel count; and what cannot be a song."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from schedopt.data import read_audio, read_song
from schedopt.errors import DataError
from tests.models import RATE
from tests.separators.networks import mixture
from tests.songs.songs import write_song


def decoded(path: Path) -> torch.Tensor:
    return read_song(path, RATE)


def by_ffmpeg(source: Path, target: Path, *options: str) -> Path:
    subprocess.run(["ffmpeg", "-nostdin", "-v", "error", "-y", "-i", source, *options, target], check=True)
    return target


@pytest.mark.parametrize(
    ("suffix", "subtype", "error"),
    [
        (".wav", "FLOAT", 0),
        (".wav", "PCM_24", 1e-6),
        (".wav", "PCM_16", 1e-4),
        (".wav", "PCM_U8", 1e-2),
        (".flac", "PCM_16", 1e-4),
        (".flac", "PCM_24", 1e-6),
        (".ogg", "VORBIS", 0.2),
        (".mp3", None, 0.2),
    ],
)
def test_what_libsndfile_reads(tmp_path: Path, suffix: str, subtype: str | None, error: float) -> None:
    song = decoded(write_song(tmp_path / f"song{suffix}", subtype=subtype))
    expected = mixture(int(0.6 * RATE))
    assert song.shape == expected.shape
    assert float((song - expected).abs().max()) <= error


@pytest.mark.parametrize("suffix", [".m4a", ".mkv", ".wma", ".ac3"])
def test_what_only_ffmpeg_reads(tmp_path: Path, suffix: str) -> None:
    song = decoded(by_ffmpeg(write_song(tmp_path / "song.wav", 1.0), tmp_path / f"song{suffix}"))
    expected = mixture(RATE)
    assert song.shape[0] == 2
    assert abs(song.shape[1] - RATE) < 5_000  # of a lossy encoder's padding
    lag = np.argmax([float((song[0, lag : lag + 20_000] * expected[0, :20_000]).sum()) for lag in range(3_000)])
    delayed = song[0, lag : lag + 20_000]
    assert (
        float(torch.corrcoef(torch.stack([delayed, expected[0, :20_000]]))[0, 1]) > 0.8
    )  # noise is what lossy encoders lose


@pytest.mark.parametrize("rate", [8_000, 22_050, 48_000, 96_000, 192_000])
def test_other_rates_are_resampled_as_stems_are(tmp_path: Path, rate: int) -> None:
    path = write_song(tmp_path / "song.wav", rate=rate)
    assert torch.allclose(decoded(path), read_audio(path), atol=2e-5)


def test_a_long_song_is_resampled_without_seams(tmp_path: Path) -> None:
    rate = 16_000
    tone = np.sin(2 * np.pi * 440 * np.arange(70 * rate) / rate)
    soundfile.write(tmp_path / "tone.wav", tone, rate, subtype="FLOAT")
    song = decoded(tmp_path / "tone.wav")
    expected = torch.sin(2 * torch.pi * 440 * torch.arange(song.shape[1], dtype=torch.float64) / RATE)
    assert song.shape[1] == 70 * RATE
    assert float((song[0] - expected)[2_000:-2_000].abs().max()) < 1e-4


def test_one_channel_is_copied_and_of_six_two_are_taken(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    six = np.random.default_rng(0).uniform(-0.5, 0.5, (RATE // 2, 6)).astype(np.float32)
    soundfile.write(tmp_path / "six.wav", six, RATE, subtype="FLOAT")
    soundfile.write(tmp_path / "mono.wav", six[:, 0], RATE, subtype="FLOAT")
    assert torch.equal(decoded(tmp_path / "six.wav"), torch.from_numpy(six[:, :2].T))
    assert torch.equal(decoded(tmp_path / "mono.wav"), torch.from_numpy(six[:, :1].T).expand(2, -1))
    surround = decoded(by_ffmpeg(tmp_path / "six.wav", tmp_path / "six.mka", "-c:a", "pcm_f32le"))
    assert torch.equal(surround, torch.from_numpy(six[:, :2].T))
    assert "6 channels, of which the first two (front left and right) are used" in caplog.text


def test_names_that_trick_ffmpeg_or_are_not_utf8(tmp_path: Path) -> None:
    m4a = by_ffmpeg(write_song(tmp_path / "song.wav"), tmp_path / "song.m4a").read_bytes()
    for name in ("-i.m4a", "http:x.m4a", "concat:a|b.m4a", "%03d.m4a"):
        (tmp_path / name).write_bytes(m4a)
        assert decoded(tmp_path / name).shape[1] > 20_000
    odd = Path(os.fsdecode(os.fsencode(tmp_path) + b"/na\xefve\n.wav"))
    assert torch.equal(decoded(write_song(odd)), mixture(int(0.6 * RATE)))


def test_a_playlist_does_not_reach_the_network(tmp_path: Path) -> None:
    (tmp_path / "list.m3u8").write_text("#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1:9/x.ts\n#EXT-X-ENDLIST\n")
    with pytest.raises(DataError, match=r"neither libsndfile .* nor ffmpeg .* can read it"):
        decoded(tmp_path / "list.m3u8")


def broken(folder: Path) -> dict[str, tuple[Path, str]]:
    """Files that are no songs, with what is said of them."""
    silent = np.zeros((0, 2), np.float32)
    soundfile.write(folder / "none.wav", silent, RATE)
    infinite = np.full((RATE, 2), 0.1, np.float32)
    infinite[11_025] = np.inf
    soundfile.write(folder / "infinite.wav", infinite, RATE, subtype="FLOAT")
    soundfile.write(folder / "slow.wav", np.full(100, 0.1), 100)
    flac = write_song(folder / "whole.flac", 2.0).read_bytes()
    (folder / "half.flac").write_bytes(flac[: len(flac) // 2])
    wav = write_song(folder / "whole.wav", 2.0).read_bytes()
    (folder / "half.wav").write_bytes(wav[: len(wav) // 2])
    (folder / "empty.wav").touch()
    (folder / "text.mp3").write_text("not a song\n" * 50)
    by_ffmpeg(
        folder / "whole.flac", folder / "picture.png", "-filter_complex", "showspectrumpic=s=64x64", "-frames", "1"
    )
    os.mkfifo(folder / "pipe.wav")
    return {
        name: (folder / name, says)
        for name, says in {
            "none.wav": "holds no samples",
            "infinite.wav": "NaN or infinite samples, the first at 0.250000 s",
            "slow.wav": "sample rate of 100 Hz",
            "half.flac": "half.flac",
            "half.wav": "its header says 2.000 s: copy it again",
            "empty.wav": "is empty",
            "text.mp3": "neither libsndfile",
            "picture.png": "neither libsndfile",
            "pipe.wav": "not a regular file",
            "missing.wav": "no such file",
            "": "is a folder",
        }.items()
    }


def test_what_is_no_song_is_refused_in_one_line(tmp_path: Path) -> None:
    for path, says in broken(tmp_path).values():
        with pytest.raises(DataError) as caught:
            decoded(path)
        assert says in str(caught.value)
        assert str(caught.value).isprintable()


def test_without_ffmpeg_it_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = by_ffmpeg(write_song(tmp_path / "song.wav"), tmp_path / "song.m4a")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DataError, match=r"song\.m4a: libsndfile cannot read it \(.*\), and ffmpeg is not installed"):
        decoded(path)
    assert decoded(tmp_path / "song.wav").shape[1] == int(0.6 * RATE)


def test_ffmpeg_leaves_stdin_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = by_ffmpeg(write_song(tmp_path / "song.wav"), tmp_path / "song.m4a")
    reads, writes = os.pipe()
    os.write(writes, b"for others")
    os.close(writes)
    kept: Any = os.dup(0)
    try:
        os.dup2(reads, 0)
        decoded(path)
        assert os.read(0, 100) == b"for others"
    finally:
        os.dup2(kept, 0)
        os.close(kept)
        os.close(reads)

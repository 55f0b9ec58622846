"""One file: formats, conversions with their notes, pieces."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
import torch

from schedopt.data import SAMPLE_RATE, open_audio, read_audio
from schedopt.data._resample import MARGIN, read_resampled, resampled_length

from .music import tone, write


@pytest.mark.parametrize(
    ("suffix", "subtype", "tolerance"),
    [
        (".wav", "PCM_16", 2**-15),
        (".wav", "PCM_24", 2**-23),
        (".wav", "PCM_32", 1e-7),
        (".wav", "FLOAT", 1e-7),
        (".wav", "DOUBLE", 1e-7),
        (".flac", "PCM_16", 2**-15),
        (".flac", "PCM_24", 2**-23),
    ],
)
def test_every_sample_format_is_read_without_a_note(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, suffix: str, subtype: str, tolerance: float
) -> None:
    samples = tone(0.2, 440)
    audio = read_audio(write(tmp_path / f"tone{suffix}", samples, subtype=subtype))
    assert audio.dtype == torch.float32
    assert audio.shape == (2, round(0.2 * SAMPLE_RATE))
    np.testing.assert_allclose(audio.numpy(), samples.T, atol=tolerance)
    assert not caplog.records


@pytest.mark.parametrize(("samples", "stored", "channels"), [(1, 2, 2), (1, 1, 2), (1, 2, 1), (100, 1, 1), (100, 2, 1)])
def test_what_is_read_can_be_written_to(tmp_path: Path, samples: int, stored: int, channels: int) -> None:
    """PyTorch warns of an array that cannot, once a process."""
    path = write(tmp_path / "one.wav", tone(1.0, 440)[:samples, :stored])
    read = open_audio(path, channels=channels).read_samples(0, samples)
    assert read.shape == (channels, samples)
    assert read.flags.writeable
    assert read.flags.c_contiguous


def test_samples_above_full_scale_are_kept(tmp_path: Path) -> None:
    path = write(tmp_path / "loud.wav", tone(0.1, 440, level=3.0), subtype="FLOAT")
    assert read_audio(path).abs().max() > 2.9


def test_mono_lies_on_both_channels_and_is_noted_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    audio = open_audio(write(tmp_path / "voice.wav", tone(0.2, 440, channels=1)))
    for start in (0.0, 0.1):
        piece = audio.read(start, 0.1)
        assert torch.equal(piece[0], piece[1])
        assert piece.abs().max() > 0.2
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert caplog.messages == [f"{tmp_path / 'voice.wav'}: mono, copied to both channels"]


def test_both_conversions_share_one_note(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = write(tmp_path / "old.flac", tone(0.2, 440, rate=22_050, channels=1), 22_050)
    open_audio(path)
    assert caplog.messages == [f"{path}: mono, copied to both channels; 22050 Hz, resampled to 44100 Hz"]


@pytest.mark.parametrize("rate", [8_000, 22_050, 32_000, 48_000, 88_200, 96_000, 192_000])
def test_resampled_tone_is_the_tone(tmp_path: Path, rate: int) -> None:
    path = write(tmp_path / "tone.wav", tone(0.5, 440, rate), rate, "FLOAT")
    audio = read_audio(path)
    assert audio.shape == (2, SAMPLE_RATE // 2)
    middle = slice(2_000, -2_000)  # the ends ring where a tone is switched on and off
    np.testing.assert_allclose(audio.numpy()[:, middle], tone(0.5, 440).T[:, middle], atol=1e-4)


@pytest.mark.parametrize("rate", [8_000, 32_000, 44_101, 48_000, 96_000])
def test_resampled_pieces_are_cut_out_of_the_whole(rate: int) -> None:
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, (4 * rate, 2)).astype(np.float32)
    length = resampled_length(len(noise), rate, SAMPLE_RATE)

    def piece(first: int, count: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
        return read_resampled(lambda a, n: noise[a : a + n], rate, SAMPLE_RATE, len(noise), first, count)

    whole = piece(0, length)
    assert whole.shape == (length, 2)
    for first, count in [(0, 100), (12_345, 30_000), (100_000, 1), (length - 5_000, 5_000)]:
        np.testing.assert_allclose(piece(first, count), whole[first : first + count], atol=1e-5)


def test_resampling_reads_little_more_than_the_piece() -> None:
    asked: list[int] = []

    def read(_first: int, count: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
        asked.append(count)
        return np.zeros((count, 1), np.float32)

    assert read_resampled(read, 48_000, SAMPLE_RATE, 48_000 * 3600, 44_100 * 1800, 44_100).shape == (44_100, 1)
    assert sum(asked) < 48_000 * (1 + 3 * MARGIN / 44_100)


@pytest.mark.parametrize("rate", [44_100, 48_000])
def test_pieces_end_where_the_file_ends(tmp_path: Path, rate: int) -> None:
    audio = open_audio(write(tmp_path / "tone.wav", tone(1.0, 440, rate), rate))
    assert audio.seconds == 1.0
    assert audio.read(0.9, 0.5).shape == (2, 4_410)
    assert audio.read(0.9).shape == (2, 4_410)
    assert audio.read(5.0, 0.5).shape == (2, 0)
    assert audio.read(0.5, 0.0).shape == (2, 0)


def test_reading_does_not_keep_the_file_open_or_change_it(tmp_path: Path) -> None:
    path = write(tmp_path / "tone.wav", tone(0.2, 440))
    before = path.read_bytes()
    audio = open_audio(path)
    audio.read().mul_(0)
    assert audio.read().abs().max() > 0.2
    assert path.read_bytes() == before

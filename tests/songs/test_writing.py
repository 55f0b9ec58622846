"""Stems in files: sample formats, clipping, lengths."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from demucs.audio import prevent_clip

from schedopt.errors import DataError
from schedopt.songs import Encoding
from schedopt.songs.writing import BITRATES, Record, read_record, write
from tests.models import RATE
from tests.separators.networks import mixture

QUIET = mixture(RATE // 4)
LOUD = 6 * QUIET
PREVENT_CLIP: Any = prevent_clip  # demucs is untyped


def written(path: Path, wave: torch.Tensor, **options: Any) -> tuple[torch.Tensor, Any]:
    write(wave, path, RATE, Encoding(**options))
    samples, rate = soundfile.read(path, dtype="float32")
    assert rate == RATE
    return torch.from_numpy(samples.T), soundfile.info(path)


@pytest.mark.parametrize(
    ("options", "suffix", "subtype", "step"),
    [
        ({}, "wav", "PCM_16", 2**-15),
        ({"bits": 24}, "wav", "PCM_24", 2**-22),
        ({"bits": 32}, "wav", "FLOAT", 0),
        ({"format": "flac"}, "flac", "PCM_16", 2**-15),
        ({"format": "flac", "bits": 24}, "flac", "PCM_24", 2**-22),
    ],
)
def test_what_is_written_can_be_read(
    tmp_path: Path, options: dict[str, Any], suffix: str, subtype: str, step: float
) -> None:
    samples, info = written(tmp_path / f"a.{suffix}", QUIET, **options)
    assert (info.format, info.subtype) == (suffix.upper(), subtype)
    assert float((samples - QUIET).abs().max()) <= step


@pytest.mark.parametrize("clip", ["rescale", "clamp"])
def test_clipping_is_prevented_as_demucs_does(tmp_path: Path, clip: Any) -> None:
    samples, _ = written(tmp_path / "a.wav", LOUD, bits=24, clip=clip)
    expected: torch.Tensor = PREVENT_CLIP(LOUD, clip)
    assert torch.allclose(samples, expected, atol=1e-6)


def test_float_keeps_what_is_above_full_scale_unless_told(tmp_path: Path) -> None:
    assert torch.equal(written(tmp_path / "a.wav", LOUD, bits=32)[0], LOUD)
    assert float(written(tmp_path / "b.wav", LOUD, bits=32, clip="rescale")[0].abs().max()) <= 1
    # Nothing wraps around in integers.
    samples, _ = written(tmp_path / "c.wav", LOUD, clip="none")
    assert torch.allclose(samples, LOUD.clamp(-1, 1), atol=1e-4)


def test_a_wav_that_would_be_too_long_is_rf64() -> None:
    hours = 3600 * RATE
    assert Encoding(bits=32).container(3 * hours, 2) == "WAV"
    assert Encoding(bits=32).container(4 * hours, 2) == "RF64"
    assert Encoding("flac").container(40 * hours, 2) == "FLAC"


@pytest.mark.parametrize("bitrate", BITRATES)
def test_an_mp3_has_its_bitrate_its_length_and_its_record(tmp_path: Path, bitrate: int) -> None:
    wave = mixture(3 * RATE)
    path = tmp_path / "a.mp3"
    record = Record("0" * 32, "f" * 32)
    write(wave, path, RATE, Encoding("mp3", bitrate=bitrate), record)
    assert read_record(path) == record
    samples, rate = soundfile.read(path, dtype="float32")
    # Neither longer nor later than the stem, as an MP3 without LAME's own header would be.
    assert (rate, samples.T.shape) == (RATE, tuple(wave.shape))
    loudest = [int(np.correlate(samples[:, 0], wave[0].numpy()[lag : lag + 2 * RATE]).argmax()) for lag in (0, 777)]
    assert loudest == [0, 777]
    assert path.stat().st_size * 8 / 3 == pytest.approx(1000 * bitrate, rel=0.08)


def test_the_loss_of_an_mp3_falls_with_its_bitrate(tmp_path: Path) -> None:
    wave = mixture(2 * RATE)
    losses = [
        float((written(tmp_path / "a.mp3", wave, format="mp3", bitrate=rate)[0] - wave).norm())
        for rate in (64, 128, 320)
    ]
    assert losses[0] > losses[1] > losses[2] > 0


def test_equal_samples_are_equal_mp3s(tmp_path: Path) -> None:
    for name in ("a.mp3", "b.mp3"):
        write(QUIET, tmp_path / name, RATE, Encoding("mp3"))
    assert (tmp_path / "a.mp3").read_bytes() == (tmp_path / "b.mp3").read_bytes()


def test_a_libsndfile_without_mp3_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(soundfile, "available_formats", lambda: {"WAV": "", "FLAC": ""})
    with pytest.raises(DataError, match=r"cannot write MP3 here: .*--flac"):
        write(QUIET, tmp_path / "a.mp3", RATE, Encoding("mp3"))
    assert not (tmp_path / "a.mp3").exists()


def test_a_full_disk_is_one_line() -> None:
    with pytest.raises(DataError, match=r"/dev/full: cannot be written"):
        write((QUIET), Path("/dev/full"), RATE, Encoding())

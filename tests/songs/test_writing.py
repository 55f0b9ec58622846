"""Stems in files: sample formats, clipping, lengths."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import soundfile
import torch
from demucs.audio import prevent_clip

from schedopt.errors import DataError
from schedopt.songs import Encoding
from schedopt.songs.writing import write
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
        ({"flac": True}, "flac", "PCM_16", 2**-15),
        ({"flac": True, "bits": 24}, "flac", "PCM_24", 2**-22),
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
    assert Encoding(flac=True).container(40 * hours, 2) == "FLAC"


def test_a_full_disk_is_one_line() -> None:
    with pytest.raises(DataError, match=r"/dev/full: cannot be written"):
        write((QUIET), Path("/dev/full"), RATE, Encoding())

"""What follows the end of a file's audio: another file, or more audio, is noted; tags, padding and chunks are not."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile

from schedopt.data import SAMPLE_RATE, open_audio, read_song

from .music import write

SECONDS = 2.0
MORE = "holds more after its end, which is not read: "

UNCOMPRESSED = {
    "song.wav": ("WAV", "PCM_16"),
    "wide.wav": ("WAVEX", "PCM_24"),
    "song.rf64": ("RF64", "PCM_16"),
    "song.aiff": ("AIFF", "PCM_16"),
    "float.aifc": ("AIFF", "FLOAT"),
    "song.au": ("AU", "PCM_16"),
    "song.caf": ("CAF", "PCM_16"),
    "song.flac": ("FLAC", "PCM_16"),
}
COMPRESSED: dict[str, tuple[str, ...]] = {
    "adpcm.wav": ("-c:a", "adpcm_ms"),
    "alac.caf": ("-c:a", "alac"),
    "song.m4a": (),
    "song.wma": (),
    "song.tta": (),
}
READ_ON: dict[str, tuple[str, ...]] = {"song.mp3": (), "song.ogg": (), "song.w64": (), "song.mka": (), "song.avi": ()}
ID3 = b"ID3\x04\0\0\0\x0c\0\0" + b"\1" * (12 << 14)
APE = (
    b"APETAGEX" + (2000).to_bytes(4, "little") + (200_032).to_bytes(4, "little") + (1).to_bytes(4, "little") + bytes(12)
)


def noise(seed: int = 0) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    return np.random.default_rng(seed).uniform(-0.3, 0.3, (int(SECONDS * SAMPLE_RATE), 2))


def uncompressed(folder: Path, name: str, seed: int = 0) -> Path:
    kind, subtype = UNCOMPRESSED[name]
    soundfile.write(folder / name, noise(seed), SAMPLE_RATE, format=kind, subtype=subtype)
    return folder / name


def compressed(folder: Path, name: str, options: tuple[str, ...]) -> Path:
    source = write(folder / "source.wav", noise())
    subprocess.run(["ffmpeg", "-nostdin", "-v", "error", "-i", source, *options, folder / name], check=True)
    return folder / name


def seconds(path: Path) -> float:
    return read_song(path, SAMPLE_RATE).shape[-1] / SAMPLE_RATE


def notes(path: Path, caplog: pytest.LogCaptureFixture) -> list[str]:
    """What is said of a file that is as long as the first of its parts."""
    caplog.clear()
    assert seconds(path) == pytest.approx(SECONDS, abs=0.05)
    return [text for text in caplog.messages if MORE in text]


@pytest.mark.parametrize("name", [*UNCOMPRESSED, *COMPRESSED])
@pytest.mark.parametrize("between", [b"", b"TAG" + bytes(125)], ids=["", "tagged"])
def test_a_second_file_is_noted(name: str, between: bytes, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = uncompressed(tmp_path, name) if name in UNCOMPRESSED else compressed(tmp_path, name, COMPRESSED[name])
    assert notes(path, caplog) == []
    content = path.read_bytes()
    if between and name == "song.m4a":
        return  # no file of MP4 ends with such a tag
    path.write_bytes(content + between + content)
    (note,) = notes(path, caplog)
    assert note.startswith(f"{path} {MORE}another file of its format begins there (")


@pytest.mark.parametrize("name", READ_ON)
def test_a_second_file_that_is_read_is_not_noted(name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = compressed(tmp_path, name, READ_ON[name])
    path.write_bytes(path.read_bytes() * 2)
    assert seconds(path) == pytest.approx(2 * SECONDS, abs=0.2)
    assert not [text for text in caplog.messages if MORE in text]


def test_pieces_of_two_flac_files_are_those_of_the_first(tmp_path: Path) -> None:
    """libsndfile, which looks for a time in the whole file, finds it in the second one, or fails."""
    path = uncompressed(tmp_path, "song.flac")
    expected = read_song(path, SAMPLE_RATE)
    other = tmp_path / "other"
    other.mkdir()
    path.write_bytes(path.read_bytes() + uncompressed(other, "song.flac", seed=1).read_bytes())
    audio = open_audio(path)
    for start in (0.0, 0.7, 1.9):
        first = round(start * SAMPLE_RATE)
        assert audio.read(start, 0.1).equal(expected[:, first : first + 4410])


@pytest.mark.parametrize("name", ["song.wav", "song.aiff", "song.au", "song.caf"])
def test_audio_that_the_header_does_not_count_is_noted(
    name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = uncompressed(tmp_path, name)
    more = (noise(1) * 2**15).astype(np.int16).tobytes()
    path.write_bytes(path.read_bytes() + more)
    assert notes(path, caplog) == [f"{path} {MORE}{len(more)} bytes, more than a tag or padding"]


def test_a_size_that_counts_a_part_is_noted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = uncompressed(tmp_path, "song.wav")
    content = bytearray(path.read_bytes())
    place = content.index(b"data") + 4
    content[place : place + 4] = (4 * SAMPLE_RATE).to_bytes(4, "little")
    path.write_bytes(content)
    assert seconds(path) == 1.0
    assert any(MORE in text for text in caplog.messages)


CHUNK = b"LIST" + (300_000).to_bytes(4, "little") + b"\1" * 300_000


@pytest.mark.parametrize(
    ("name", "rest"),
    [
        *((name, bytes(300_000)) for name in UNCOMPRESSED),
        *((name, ID3) for name in ("song.wav", "song.aiff", "song.au")),
        *((name, b"\1" * 200_000 + APE) for name in ("song.wav", "song.flac", "song.au")),
        *((name, b"\1" * 200_000 + APE + b"TAG" + bytes(125)) for name in ("song.wav", "song.flac")),
        ("song.wav", CHUNK),
        ("song.wav", CHUNK + CHUNK + b"tail"),
        ("song.aiff", b"ANNO" + (300_000).to_bytes(4, "big") + b"\1" * 300_000),
        ("song.caf", b"info" + (300_000).to_bytes(8, "big") + b"\1" * 300_000),
    ],
)
def test_tags_padding_and_chunks_do_not_matter(
    name: str, rest: bytes, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = uncompressed(tmp_path, name)
    path.write_bytes(path.read_bytes() + rest)
    assert notes(path, caplog) == []


def test_a_chunk_after_an_odd_number_of_bytes_does_not_matter(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "odd.wav"
    soundfile.write(path, noise()[1:, 0], SAMPLE_RATE, subtype="PCM_U8")
    for pad in (b"\0", b""):
        content = path.read_bytes()[: 44 + len(noise()) - 1]
        path.write_bytes(content + pad + CHUNK)
        assert notes(path, caplog) == []

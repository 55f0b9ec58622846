"""Issue 13, item 3: files that were cut off, in every format; decoders read them as whole songs.

What follows the last page of an Ogg file and is none: RustAudio/ogg issue 7.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile

from schedopt.data import SAMPLE_RATE, read_audio, read_song
from schedopt.data._ends import end_of
from schedopt.errors import DataError
from tests.data.music import tone, write

SECONDS = 8.0
SHARES = (0.26, 0.51, 0.95)

COMPRESSED: dict[str, tuple[str, ...]] = {
    "vorbis.ogg": ("-c:a", "libvorbis"),
    "opus.opus": ("-c:a", "libopus"),
    "flac.oga": ("-c:a", "flac"),
    "constant.mp3": (),
    "variable.mp3": ("-q:a", "3"),
    "faststart.m4a": ("-movflags", "+faststart"),
    "moov-last.m4a": (),
    "fragments.m4a": ("-movflags", "frag_keyframe+empty_moov"),
    "pcm.mov": ("-c:a", "pcm_s16le", "-movflags", "+faststart"),
    "alac.caf": ("-c:a", "alac"),
    "vorbis.mka": ("-c:a", "libvorbis"),
    "opus.webm": (),
    "song.wma": (),
    "song.avi": (),
    "song.flv": ("-c:a", "libmp3lame"),
    "song.wv": (),
    "song.tta": ("-c:a", "tta"),
    "adpcm.wav": ("-c:a", "adpcm_ms"),
    "mp3.wav": ("-c:a", "libmp3lame"),
    "song.voc": (),
    "song.sox": (),
}
RARE = {"VOC": "PCM_16", "NIST": "PCM_16", "SVX": "PCM_16", "AVR": "PCM_16", "MAT4": "PCM_16", "MAT5": "FLOAT"}
STREAMS: dict[str, tuple[str, ...]] = {
    "song.mp3": ("-write_xing", "0", "-id3v2_version", "0"),
    "song.mp2": (),
    "low.mp3": ("-write_xing", "0", "-ar", "16000", "-b:a", "40k"),
    "song.aac": (),
    "song.ac3": (),
    "song.eac3": (),
    "song.dts": ("-c:a", "dca", "-strict", "-2"),
    "song.ts": (),
}
"""Without any promise of a length: all that can be seen is that the last frame or packet is not whole."""


@pytest.fixture(scope="module")
def song(tmp_path_factory: pytest.TempPathFactory) -> Path:
    samples = tone(SECONDS, 440)
    noise = np.random.default_rng(0).normal(0, 0.05, samples.shape)
    loud = (np.arange(len(samples)) // 44_100) % 3 == 1
    return write(tmp_path_factory.mktemp("song") / "song.wav", samples + np.where(loud[:, None], noise, 0))


def encoded(song: Path, target: Path, options: tuple[str, ...]) -> Path:
    subprocess.run(["ffmpeg", "-nostdin", "-v", "error", "-y", "-i", song, *options, target], check=True)
    return target


def cut(path: Path, length: int) -> Path:
    shorter = path.with_stem("cut")
    shorter.write_bytes(path.read_bytes()[:length])
    return shorter


def seconds(path: Path) -> float:
    return read_song(path, SAMPLE_RATE).shape[-1] / SAMPLE_RATE


def check_refused(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Cuts at several places are refused in one line; the whole file is read without a word of doubt."""
    assert seconds(path) == pytest.approx(SECONDS, abs=0.15)
    assert not [text for text in caplog.messages if "may be cut" in text or ": ffmpeg: " in text]
    caplog.clear()
    for share in SHARES:
        short = cut(path, int(share * path.stat().st_size))
        with pytest.raises(DataError) as caught:
            read_audio(short)
        said = str(caught.value)
        assert str(short) in said
        assert said.isprintable()
        assert not [text for text in caplog.messages if ": ffmpeg: " in text]
        if path.name != "moov-last.m4a":
            assert "copy it again" in said
        for number in (word.rstrip("%") for word in said.split()):
            assert not number.replace(".", "").isdigit() or float(number) < 100, said


@pytest.mark.parametrize("name", COMPRESSED)
def test_cuts_of_compressed_files(name: str, song: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    check_refused(encoded(song, tmp_path / name, COMPRESSED[name]), caplog)


@pytest.mark.parametrize("kind", RARE)
def test_cuts_of_rare_containers(kind: str, song: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    samples, rate = soundfile.read(song)
    path = tmp_path / f"song.{kind.lower()}"
    soundfile.write(path, samples[:, 0] if kind == "SVX" else samples, rate, format=kind, subtype=RARE[kind])
    check_refused(path, caplog)


TAG = b"ID3\x03\0\0\0\0\x10\0" + bytes(2048)
FOOTED = b"ID3\x04\0\x10\0\0\x10\0" + bytes(2048) + b"3DI\x04\0\x10\0\0\x10\0"
UNCOMPRESSED = ["song.wav", "song.aiff", "song.au", "song.caf", "song.w64", "song.flac", "song.sox", "song.voc"]


@pytest.mark.parametrize("tag", [TAG, FOOTED, TAG + TAG], ids=["tag", "with footer", "two tags"])
@pytest.mark.parametrize("name", [*UNCOMPRESSED, "adpcm.wav", "alac.caf", "vorbis.mka", "song.wma", "constant.mp3"])
def test_cuts_are_seen_behind_a_tag(name: str, tag: bytes, song: Path, tmp_path: Path) -> None:
    path = encoded(song, tmp_path / name, COMPRESSED.get(name, ()))
    content = path.read_bytes()
    for share in SHARES:
        path.write_bytes(tag + content[: int(share * len(content))])
        with pytest.raises(DataError, match="copy it again"):
            read_audio(path)
    path.write_bytes(TAG + content)
    assert seconds(path) == pytest.approx(SECONDS, abs=0.15)


@pytest.mark.parametrize("name", ["vorbis.ogg", "constant.mp3"])
def test_cuts_are_seen_without_ffmpeg(name: str, song: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = encoded(song, tmp_path / name, COMPRESSED[name])
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    assert seconds(path) == pytest.approx(SECONDS, abs=0.15)
    with pytest.raises(DataError, match="copy it again"):
        read_audio(cut(path, path.stat().st_size // 2))


@pytest.mark.parametrize("name", STREAMS)
def test_a_stream_that_ends_within_a_frame_is_noted(
    name: str, song: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = encoded(song, tmp_path / name, STREAMS[name])
    assert seconds(path) == pytest.approx(SECONDS, abs=0.15)
    assert not [text for text in caplog.messages if "may be cut" in text]
    for share in (0.251, 0.503, 0.907):
        caplog.clear()
        short = cut(path, int(share * path.stat().st_size))
        assert seconds(short) == pytest.approx(share * SECONDS, abs=0.3)
        assert any(text.startswith(f"{short} may be cut short: its last ") for text in caplog.messages)


@pytest.mark.parametrize("tag", [b"TAG" + bytes(125), b"APETAGEX" + bytes(60), bytes(5000)], ids=["ID3v1", "APE", "0"])
@pytest.mark.parametrize("name", ["song.mp3", "song.aac"])
def test_tags_and_padding_at_the_end_are_no_frames(tag: bytes, name: str, song: Path, tmp_path: Path) -> None:
    path = encoded(song, tmp_path / name, STREAMS[name])
    path.write_bytes(path.read_bytes() + tag)
    assert end_of(path) is None


def pages(content: bytes) -> list[int]:
    """Where the pages of an Ogg file begin."""
    return [place for place in range(len(content)) if content.startswith(b"OggS\0", place)]


def test_an_ogg_file_without_its_last_pages_is_noted(
    song: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A cut between two pages looks as a recording of a radio stream does, which is whole: a note, no refusal."""
    path = encoded(song, tmp_path / "song.ogg", COMPRESSED["vorbis.ogg"])
    begins = pages(path.read_bytes())
    for place in (begins[-1], begins[len(begins) // 2]):
        caplog.clear()
        short = cut(path, place)
        assert 0 < seconds(short) < SECONDS
        assert f"{short} may be cut short: its last page is not marked as the last" in caplog.messages


@pytest.mark.parametrize("missing", [1, 20, 27, 28, 60])
def test_an_ogg_file_that_lacks_a_few_bytes_of_its_last_page(missing: int, song: Path, tmp_path: Path) -> None:
    path = encoded(song, tmp_path / "song.ogg", COMPRESSED["vorbis.ogg"])
    content = path.read_bytes()
    place = pages(content)[-1]
    for length in (len(content) - missing, place + missing):
        end = end_of(cut(path, length))
        assert end is not None
        assert end.is_cut


def test_ogg_files_that_are_whole(song: Path, tmp_path: Path) -> None:
    first = encoded(song, tmp_path / "a.ogg", COMPRESSED["vorbis.ogg"])
    second = encoded(song, tmp_path / "b.ogg", COMPRESSED["opus.opus"])
    both = first.read_bytes() + second.read_bytes()
    for content in (both, both + b"a tag of some player", both + bytes(300_000), b"OggS".join([both, b""])[:-4]):
        (tmp_path / "c.ogg").write_bytes(content)
        assert end_of(tmp_path / "c.ogg") is None
    mixed = ["ffmpeg", "-nostdin", "-v", "error", "-i", str(song), "-i", str(song), "-map", "0", "-map", "1"]
    subprocess.run([*mixed, str(tmp_path / "two.ogg")], check=True)
    assert end_of(tmp_path / "two.ogg") is None
    damaged = bytearray(both)
    place = pages(both)[3]
    damaged[place : place + 4] = b"oops"  # one page is passed over; the end is as it should be
    (tmp_path / "c.ogg").write_bytes(damaged)
    assert end_of(tmp_path / "c.ogg") is None

"""Files that a reader takes for shorter, longer or other than they are (issue 13, items 1 to 4 and 6 to 8)."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from schedopt.cli import call
from schedopt.data import SAMPLE_RATE, cut_excerpts, load_tracks, open_audio, read_audio, read_song
from schedopt.errors import DataError
from schedopt.proof.scoring import evaluate
from schedopt.separators import save_safetensors
from tests.data.music import tone, write, write_track
from tests.models import tiny_hdemucs
from tests.songs.songs import read_stems

SECONDS = 6.02


@pytest.fixture
def no_ffmpeg(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))


@pytest.fixture
def song(tmp_path: Path) -> Path:
    """Tones and noise in turn, so that a variable bit rate varies."""
    samples = tone(SECONDS, 440)
    noise = np.random.default_rng(0).normal(0, 0.2, samples.shape)
    loud = (np.arange(len(samples)) // 44_100) % 3 == 1
    return write(tmp_path / "song.wav", np.where(loud[:, None], noise, samples))


def ffmpeg(source: Path, target: Path, *options: str) -> Path:
    subprocess.run(["ffmpeg", "-nostdin", "-v", "error", "-y", "-i", source, *options, target], check=True)
    return target


def seconds(path: Path) -> float:
    return read_song(path, SAMPLE_RATE).shape[-1] / SAMPLE_RATE


def joined(path: Path) -> Path:
    twice = path.with_stem("twice")
    twice.write_bytes(path.read_bytes() * 2)
    return twice


def refusal(path: Path) -> str:
    with pytest.raises(DataError) as caught:
        read_audio(path)
    message = str(caught.value)
    assert message.isprintable()
    assert str(path) in message
    return message


# Item 1: an estimated length is taken as truth (libsndfile issue 945, "wrong frame count of MP3 without Xing header").


@pytest.mark.parametrize("options", [("-q:a", "3"), ("-q:a", "9"), ("-b:a", "128k"), ("-b:a", "64k", "-ar", "22050")])
def test_an_mp3_without_xing_header_is_read_whole(song: Path, options: tuple[str, ...]) -> None:
    mp3 = ffmpeg(song, song.with_suffix(".mp3"), *options, "-write_xing", "0")
    assert seconds(mp3) == pytest.approx(SECONDS, abs=0.15)  # an encoder pads, and says so in the header only


@pytest.mark.parametrize(
    ("suffix", "options"), [(".mp3", ()), (".mp3", ("-write_xing", "0")), (".ogg", ()), (".aac", ())]
)
def test_files_joined_by_cat_are_read_to_the_end_of_the_last(song: Path, suffix: str, options: tuple[str, ...]) -> None:
    assert seconds(joined(ffmpeg(song, song.with_suffix(suffix), *options))) == pytest.approx(2 * SECONDS, abs=0.2)


def test_joined_mp3s_of_two_rates_are_read_to_the_end(song: Path) -> None:
    first, second = ffmpeg(song, song.with_name("a.mp3")), ffmpeg(song, song.with_name("b.mp3"), "-ar", "48000")
    first.write_bytes(first.read_bytes() + second.read_bytes())
    assert seconds(first) == pytest.approx(2 * SECONDS, abs=0.2)


def test_without_ffmpeg_an_estimate_is_called_one(
    song: Path, no_ffmpeg: None, caplog: pytest.LogCaptureFixture
) -> None:
    soundfile.write(song.with_suffix(".mp3"), *soundfile.read(song), format="MP3")
    assert seconds(song.with_suffix(".mp3")) == pytest.approx(SECONDS, abs=0.1)
    assert any("its length is an estimate" in message and "install ffmpeg" in message for message in caplog.messages)


def test_a_study_reads_stems_of_compressed_formats_to_their_end(tmp_path: Path) -> None:
    for stem in write_track(tmp_path / "search" / "song", 4.0).iterdir():
        ffmpeg(stem, stem.with_suffix(".mp3"), "-q:a", "3", "-write_xing", "0")
        stem.unlink()
    (track,) = load_tracks(f"folder:{tmp_path}", "search")
    assert track.seconds == pytest.approx(4.0, abs=0.15)
    whole = track.read(0.0, track.seconds)
    assert torch.equal(track.read(1.5, 1.0), whole[..., 66_150:110_250])
    track.close()
    assert torch.equal(track.read(1.5, 1.0), whole[..., 66_150:110_250])


# Item 2: sound files are refused, with a cure that does not help.


@pytest.mark.parametrize("kind", ["flac", "wav", "aiff", "au", "w64", "matroska", "mp3", "caf"])
def test_what_was_written_to_a_pipe_is_read_whole(song: Path, kind: str) -> None:
    command = ["ffmpeg", "-nostdin", "-v", "error", "-i", str(song), "-f", kind, "-"]
    path = song.with_suffix(f".{kind}")
    path.write_bytes(subprocess.run(command, check=True, capture_output=True).stdout)
    assert seconds(path) == pytest.approx(SECONDS, abs=0.15)


def test_a_flac_from_a_pipe_needs_ffmpeg(song: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command = ["ffmpeg", "-nostdin", "-v", "error", "-i", str(song), "-f", "flac", "-"]
    path = tmp_path / "pipe.flac"
    path.write_bytes(subprocess.run(command, check=True, capture_output=True).stdout)
    monkeypatch.setenv("PATH", "")
    assert "install ffmpeg" in refusal(path)


def test_a_wav_whose_writer_never_closed_it_is_read_whole(song: Path) -> None:
    """Recorders that lost power leave a size of 0."""
    data = bytearray(song.read_bytes())
    place = data.index(b"data") + 4
    data[place : place + 4] = bytes(4)
    song.write_bytes(data)
    assert seconds(song) == pytest.approx(SECONDS, abs=0.01)


@pytest.mark.parametrize("missing", [1, 3, 10, 400])
@pytest.mark.parametrize(
    ("kind", "suffix"), [("WAV", ".wav"), ("AIFF", ".aiff"), ("AU", ".au"), ("W64", ".w64"), ("CAF", ".caf")]
)
def test_a_header_that_is_a_few_bytes_off_does_not_matter(song: Path, kind: str, suffix: str, missing: int) -> None:
    path = song.with_suffix(suffix)
    soundfile.write(path, *soundfile.read(song), format=kind)
    path.write_bytes(path.read_bytes()[:-missing])
    assert seconds(path) == pytest.approx(SECONDS, abs=0.01)


def test_more_bytes_than_the_header_says_do_not_matter(song: Path) -> None:
    song.write_bytes(song.read_bytes() + b"tag of some player" * 10)
    assert seconds(song) == SECONDS


# Item 3: cut-off files are noticed in some containers only.

CONTAINERS: dict[str, tuple[str, str]] = {
    ".wav": ("WAV", "PCM_16"),
    ".wave": ("WAVEX", "PCM_24"),
    ".rf64": ("RF64", "PCM_16"),
    ".aiff": ("AIFF", "PCM_16"),
    ".aifc": ("AIFF", "FLOAT"),
    ".w64": ("W64", "PCM_16"),
    ".caf": ("CAF", "PCM_16"),
    ".au": ("AU", "FLOAT"),
    ".flac": ("FLAC", "PCM_16"),
}


@pytest.mark.parametrize("suffix", CONTAINERS)
@pytest.mark.parametrize("share", [0.5, 0.95])
def test_a_cut_off_file_is_refused_in_every_container(song: Path, suffix: str, share: float) -> None:
    kind, subtype = CONTAINERS[suffix]
    path = song.with_name(f"cut{suffix}")
    soundfile.write(path, *soundfile.read(song), format=kind, subtype=subtype)
    assert seconds(path) == SECONDS
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    assert "copy it again" in refusal(path)


@pytest.mark.parametrize("suffix", [".wav", ".caf", ".flac", ".w64"])
def test_a_cut_off_file_is_refused_without_ffmpeg(song: Path, suffix: str, no_ffmpeg: None) -> None:
    kind, subtype = CONTAINERS[suffix]
    path = song.with_name(f"cut{suffix}")
    soundfile.write(path, *soundfile.read(song), format=kind, subtype=subtype)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert refusal(path)


@pytest.mark.parametrize(
    ("suffix", "options"),
    [
        (".mp3", ()),
        (".m4a", ("-movflags", "+faststart")),
        (".m4a", ("-c:a", "alac", "-movflags", "+faststart")),
        (".m4a", ()),
        (".mka", ()),
        (".wv", ()),
    ],
)
def test_a_cut_off_compressed_file_is_refused(song: Path, suffix: str, options: tuple[str, ...]) -> None:
    path = ffmpeg(song, song.with_name(f"cut{suffix}"), *options)
    assert seconds(path) == pytest.approx(SECONDS, abs=0.1)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    refusal(path)


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".aiff", ".au"])
def test_evaluate_refuses_halves(tmp_path: Path, suffix: str) -> None:
    kind, subtype = CONTAINERS[suffix]
    for side in ("true", "guess"):
        path = tmp_path / side / f"vocals{suffix}"
        path.parent.mkdir()
        soundfile.write(path, tone(2.0, 440), 44_100, format=kind, subtype=subtype)
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(DataError, match="vocals"):
        evaluate(tmp_path / "true", tmp_path / "guess")


# Item 4: two rules for a resampled length.


@pytest.mark.parametrize(("rate", "frames"), [(48_000, 96_001), (48_000, 95_999), (22_050, 44_101), (96_000, 100_003)])
def test_a_resampled_song_has_one_length(tmp_path: Path, rate: int, frames: int) -> None:
    path = write(tmp_path / "vocals.wav", tone(frames / rate, 440, rate)[:frames], rate)
    expected = frames * SAMPLE_RATE // rate
    audio = open_audio(path, SAMPLE_RATE)
    assert audio.samples == expected
    assert sum(piece.shape[-1] for piece in audio.pieces(10_000)) == expected
    assert read_song(path, SAMPLE_RATE).shape == (2, expected)
    assert read_audio(path).shape == (2, expected)


def test_a_file_can_be_read_at_its_own_rate(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Item 5 needs it."""
    samples = tone(0.5, 440, 8_000)
    audio = open_audio(write(tmp_path / "slow.wav", samples, 8_000, "FLOAT"), None)
    assert (audio.sample_rate, audio.samples) == (8_000, 4_000)
    np.testing.assert_allclose(audio.read().numpy(), samples.T, atol=1e-7)
    assert not caplog.messages


# Item 6: hidden files of macOS beside tracks (sigsep-mus-db issue 66).


@pytest.mark.parametrize("hidden", ["._{}.stem.mp4", ".{}.stem.mp4"])
def test_hidden_files_beside_stem_mp4_are_no_tracks(tmp_path: Path, hidden: str, ffmpeg_stems: Path) -> None:
    (tmp_path / "train").mkdir()
    shutil.copy(ffmpeg_stems, tmp_path / "train" / "song.stem.mp4")
    (tmp_path / "train" / hidden.format("song")).write_bytes(b"\0\5\x16\7" * 50)
    assert [track.name for track in load_tracks(f"musdb:{tmp_path}", "search")] == ["song"]


def test_hidden_files_are_no_stems_and_no_tracks_of_a_folder(tmp_path: Path) -> None:
    folder = write_track(tmp_path / "search" / "song")
    (folder / "._vocals.wav").write_bytes(b"\0\5\x16\7")
    write_track(tmp_path / "search" / ".Trashes")
    (tmp_path / "search" / "._song").write_bytes(b"\0\5\x16\7")
    (excerpt,) = cut_excerpts(load_tracks(f"folder:{tmp_path}", "search"), 0.5)
    assert excerpt.track == "song"


@pytest.fixture
def ffmpeg_stems() -> Path:
    import stempeg

    return Path(stempeg.example_stem_path())


# Item 7: of ffmpeg's output the line that names the reason.


def test_a_video_without_audio_is_called_that(tmp_path: Path) -> None:
    path = tmp_path / "silent.mp4"
    command = ["ffmpeg", "-v", "error", "-nostdin", "-f", "lavfi", "-i", "color=red:s=64x64:d=1", str(path)]
    subprocess.run(command, check=True)
    message = refusal(path)
    assert "holds no audio" in message
    assert "trailing" not in message


def test_the_first_error_is_the_reason(song: Path) -> None:
    path = ffmpeg(song, song.with_suffix(".m4a"))
    content = path.read_bytes()
    path.write_bytes(content[: content.rindex(b"moov") - 4])
    message = refusal(path)
    assert "moov atom not found" in message
    assert "0x" not in message


# Item 8: files of six channels.


def surround(folder: Path, channels: int = 6) -> tuple[Path, np.ndarray[tuple[int, ...], np.dtype[np.float32]]]:
    samples = np.random.default_rng(0).uniform(-0.2, 0.2, (20_000, channels)).astype(np.float32)
    return write(folder / f"{channels}.wav", samples, subtype="FLOAT"), samples


def test_which_channels_are_used_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path, samples = surround(tmp_path)
    assert torch.equal(read_song(path, SAMPLE_RATE), torch.from_numpy(samples[:, :2].T.copy()))
    assert caplog.messages == [f"{path}: 6 channels, of which the first two (front left and right) are used"]


def test_a_downmix_has_the_weights_of_the_itu(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path, x = surround(tmp_path)
    mixed = read_song(path, SAMPLE_RATE, downmix=True).numpy()
    half = np.sqrt(0.5)  # L + C/√2 + Ls/√2; the low frequency channel is left out
    np.testing.assert_allclose(mixed[0], x[:, 0] + half * (x[:, 2] + x[:, 4]), atol=1e-6)
    np.testing.assert_allclose(mixed[1], x[:, 1] + half * (x[:, 2] + x[:, 5]), atol=1e-6)
    assert caplog.messages == [f"{path}: 6 channels, mixed down to two"]


@pytest.mark.parametrize("channels", [3, 4, 5, 7, 8])
def test_a_downmix_keeps_the_front_and_every_channel_but_the_low_one(tmp_path: Path, channels: int) -> None:
    for channel in range(channels):
        samples = np.zeros((1_000, channels), np.float32)
        samples[:, channel] = 0.5
        mixed = read_song(write(tmp_path / "one.wav", samples, subtype="FLOAT"), SAMPLE_RATE, downmix=True)
        power = float(mixed[:, 500].square().sum()) / 0.25
        is_low = channels > 5 and channel == 3
        assert power == pytest.approx(
            0 if is_low else 0.5 if channel > 2 or (channels == 4 and channel > 1) else 1, abs=1e-5
        )


def test_a_downmix_of_an_odd_number_is_refused_and_of_two_is_the_same(tmp_path: Path) -> None:
    path, samples = surround(tmp_path, 11)
    with pytest.raises(DataError, match="11 channels; 3 to 8 can be mixed down"):
        read_song(path, SAMPLE_RATE, downmix=True)
    path, samples = surround(tmp_path, 2)
    assert torch.equal(read_song(path, SAMPLE_RATE, downmix=True), torch.from_numpy(samples.T.copy()))


def test_a_compressed_file_of_six_channels_is_mixed_down_alike(tmp_path: Path) -> None:
    path, _ = surround(tmp_path)
    packed = ffmpeg(path, tmp_path / "six.wv", "-sample_fmt", "fltp")
    expected: Callable[[Path], torch.Tensor] = lambda file: read_song(file, SAMPLE_RATE, downmix=True)  # noqa: E731
    torch.testing.assert_close(expected(packed), expected(path), rtol=0, atol=1e-6)


# Item 28: paths that cannot be.


@pytest.mark.parametrize("kind", ["folder", "musdb"])
@pytest.mark.parametrize("path", ["~nouser-of-that-name/x", "a\0b", "\udcff", "x" * 5_000])
def test_a_path_that_cannot_be_gives_one_line(kind: str, path: str) -> None:
    with pytest.raises(DataError) as caught:
        load_tracks(f"{kind}:{path}", "search")
    assert str(caught.value).isprintable()


def test_odd_names_of_tracks_and_songs_are_read(tmp_path: Path) -> None:
    for name in ("-rf", "a b\n", "CON", "日本", "%s{}", "x" * 200):
        write_track(tmp_path / "search" / name)
        assert read_audio(tmp_path / "search" / name / "bass.wav").shape == (2, SAMPLE_RATE)
    assert len(cut_excerpts(load_tracks(f"folder:{tmp_path}", "search"), 0.5)) == 6


def test_links_in_a_folder_that_lead_nowhere_are_songs_that_fail(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "in"
    write(folder / "a.wav", tone(0.5, 440))
    (folder / "b.wav").symlink_to("/gone/b.wav")
    (folder / "loop.flac").symlink_to("loop.flac")
    (folder / "album.wav").mkdir()
    (folder / "notes.txt").symlink_to("/gone/notes.txt")
    save_safetensors(tiny_hdemucs(), tmp_path / "tiny.safetensors")
    options = ["-n", str(tmp_path / "tiny.safetensors"), "-d", "cpu", "-o", str(tmp_path / "out")]
    assert call(["separate", str(folder), *options]) == 1
    said = capsys.readouterr().err
    assert "2 of 3 songs could not be separated" in said
    assert f"{folder / 'b.wav'} cannot be read: no such file" in said
    assert f"{folder / 'loop.flac'} cannot be read: too many" in said
    assert sorted(path.name for path in (tmp_path / "out" / "tiny").iterdir()) == ["a"]


def test_separate_mixes_down_on_request(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, six = surround(tmp_path)
    stereo = six[:, :2] + np.sqrt(0.5) * (six[:, 2:3] + six[:, 4:])
    write(tmp_path / "two.wav", stereo, subtype="FLOAT")
    save_safetensors(tiny_hdemucs(), tmp_path / "tiny.safetensors")
    options = ["-n", str(tmp_path / "tiny.safetensors"), "--float32", "-d", "cpu"]

    def stems(song: str, folder: str, *more: str) -> tuple[dict[str, np.ndarray[Any, Any]], str]:
        assert call(["separate", str(tmp_path / song), "-o", str(tmp_path / folder), *options, *more]) == 0
        return read_stems(tmp_path / folder / "tiny" / song.removesuffix(".wav")), capsys.readouterr().err

    front, said = stems("6.wav", "front")
    assert "6 channels, of which the first two (front left and right) are used" in said
    mixed, said = stems("6.wav", "mixed", "--downmix")
    assert "6 channels, mixed down to two" in said
    expected, _ = stems("two.wav", "mixed")
    for stem, wave in expected.items():
        np.testing.assert_allclose(mixed[stem], wave, atol=1e-5)
        assert np.abs(mixed[stem] - front[stem]).max() > 1e-4

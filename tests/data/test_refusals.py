"""Files that cannot be used: one line that names the file and the fault."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from schedopt.data import cut_excerpts, load_tracks
from schedopt.errors import DataError

from .music import tone, write, write_track


def refusal(source: str, split: str = "search") -> str:
    """The one line with which a source is refused, be it on opening or on reading."""
    with pytest.raises(DataError) as caught:
        cut_excerpts(load_tracks(source, split), 0.5)  # type: ignore[arg-type]
    message = str(caught.value)
    assert message.isprintable(), f"not one line: {message!r}"
    return message


def with_sample(path: Path, value: float) -> None:
    samples = tone(1.0, 440)
    samples[22_050, 1] = value
    write(path, samples, subtype="FLOAT")


def cut_short(path: Path) -> None:
    """A FLAC that promises a second and breaks off."""
    write(path.with_suffix(".flac"), np.random.default_rng(0).uniform(-1, 1, (44_100, 2)))
    path.unlink()
    data = path.with_suffix(".flac").read_bytes()
    path.with_suffix(".flac").write_bytes(data[: len(data) // 2])


def wav_cut_short(path: Path) -> None:
    """A WAV that promises 2 s and holds 1.5 s of them."""
    write(path, tone(2.0, 440))
    data = path.read_bytes()
    path.write_bytes(data[: len(data) - len(data) // 4])


def as_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def as_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def as_link(path: Path, target: str) -> None:
    path.unlink()
    path.symlink_to(target)


def rate_in_header(path: Path, rate: int) -> None:
    data = bytearray(path.read_bytes())
    data[24:28] = rate.to_bytes(4, "little")
    path.write_bytes(data)


SPOILED: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing": (lambda path: path.unlink(), "song: vocals is missing; a track needs drums, bass, other, vocals"),
    "other kind": (lambda path: path.rename(path.with_suffix(".txt")), "vocals is missing"),
    "zero bytes": (lambda path: path.write_bytes(b""), "vocals.wav is empty"),
    "header only": (lambda path: write(path, np.zeros((0, 2))), "vocals.wav holds no samples"),
    "no audio": (
        lambda path: path.write_text("la la la"),
        "vocals.wav: neither libsndfile .* nor ffmpeg .* can read it",
    ),
    "bytes": (
        lambda path: path.write_bytes(os.urandom(5000)),
        "vocals.wav: neither libsndfile .* nor ffmpeg .* can read it",
    ),
    "breaks off": (cut_short, r"vocals.flac (ends at|cannot be read from)"),
    "WAV breaks off": (wav_cut_short, r"vocals.wav ends at 1\.500 s, its header says 2\.000 s: copy it again"),
    "folder": (as_folder, "vocals.wav is a folder"),
    "dead link": (lambda path: as_link(path, "nowhere.wav"), "vocals.wav cannot be read: no such file"),
    "link to itself": (lambda path: as_link(path, path.name), "vocals.wav cannot be read: .*symbolic links"),
    "pipe": (as_pipe, "vocals.wav is not a regular file"),
    "odd rate": (lambda path: rate_in_header(path, 2_000_000_000), "vocals.wav has a sample rate of 2000000000 Hz"),
    "slow rate": (lambda path: rate_in_header(path, 11), "vocals.wav has a sample rate of 11 Hz"),
    "NaN": (lambda path: with_sample(path, np.nan), r"vocals.wav holds NaN .* first at 0\.500000 s"),
    "infinite": (lambda path: with_sample(path, -np.inf), r"vocals.wav holds NaN .* first at 0\.500000 s"),
    "twice": (lambda path: write(path.with_name("Vocals.flac"), tone(1, 440)), "two files for vocals: .*remove one"),
}


@pytest.mark.parametrize("fault", SPOILED)
def test_a_spoiled_stem_is_refused(tmp_path: Path, fault: str) -> None:
    spoil, expected = SPOILED[fault]
    spoil(write_track(tmp_path / "search" / "song") / "vocals.wav")
    message = refusal(f"folder:{tmp_path}")
    assert re.search(expected, message), message
    assert str(tmp_path / "search" / "song") in message


def test_a_link_in_place_of_a_stems_folder_that_leads_nowhere_is_refused(tmp_path: Path) -> None:
    """MoisesDB's layout; without the link's stem the track would be another mixture."""
    track = write_track(tmp_path / "search" / "song")
    (track / "guitar").symlink_to(tmp_path / "gone")
    assert "guitar cannot be read: no such file" in refusal(f"folder:{tmp_path}")


def test_a_spoiled_track_of_the_other_side_does_not_matter(tmp_path: Path) -> None:
    write_track(tmp_path / "search" / "good")
    (write_track(tmp_path / "held-out" / "bad") / "bass.wav").unlink()
    assert [track.name for track in load_tracks(f"folder:{tmp_path}", "search")] == ["good"]
    assert "bass is missing" in refusal(f"folder:{tmp_path}", "held-out")


@pytest.mark.parametrize("source", ["folder", "musdb"])
def test_a_root_that_cannot_be_listed_is_refused(tmp_path: Path, source: str) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "loop").symlink_to("loop")
    assert "nowhere cannot be read as a folder: no such file" in refusal(f"{source}:{tmp_path}/nowhere")
    assert "file cannot be read as a folder: not a directory" in refusal(f"{source}:{tmp_path}/file")
    assert "loop cannot be read as a folder: too many" in refusal(f"{source}:{tmp_path}/loop")
    assert "cannot be read as a folder: file name too long" in refusal(f"{source}:{tmp_path}/{'x' * 300}")


@contextmanager
def unprivileged() -> Iterator[None]:
    """Give up root's right to read everything; other users have none to give up."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65_534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.mark.parametrize("locked", [".", "song", "song/bass.wav"])
def test_what_may_not_be_read_is_refused(tmp_path: Path, locked: str) -> None:
    root = tmp_path / "music"
    write_track(root / "song")
    for folder in [tmp_path, *list(tmp_path.parents)[:3]]:
        folder.chmod(0o755)
    (root / locked).chmod(0)
    with unprivileged():
        message = refusal(f"folder:{root}")
    (root / locked).chmod(0o755)
    assert str(root / locked) in message
    assert "permission denied" in message


def test_folders_without_tracks_are_refused(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert f"{tmp_path} holds no tracks: each is a sub-folder with drums" in refusal(f"folder:{tmp_path}")
    (tmp_path / "notes").mkdir()
    (tmp_path / ".hidden").mkdir()
    assert "holds no tracks" in refusal(f"folder:{tmp_path}")
    assert caplog.messages == [f"{tmp_path / 'notes'}: no stem in this folder, not used as a track"]


def test_a_track_given_as_root_is_refused(tmp_path: Path) -> None:
    write_track(tmp_path)
    assert f"{tmp_path} is itself a track: give the folder that it lies in" in refusal(f"folder:{tmp_path}")


def test_a_wav_written_to_a_pipe_is_read_to_its_end(tmp_path: Path) -> None:
    """Programs that cannot go back write the largest length into the header (ffmpeg, sox)."""
    for stem in ("bass", "drums"):
        path = write_track(tmp_path / "search" / "song") / f"{stem}.wav"
        data = bytearray(path.read_bytes())
        place = data.index(b"data") + 4
        data[place : place + 4] = b"\xff\xff\xff\xff"
        path.write_bytes(data)
    (track,) = load_tracks(f"folder:{tmp_path}", "search")
    assert track.seconds == 1.0


def test_a_link_to_nowhere_is_no_track_and_is_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_track(tmp_path / "search" / "song")
    (tmp_path / "search" / "gone").symlink_to("nowhere")
    assert [track.name for track in load_tracks(f"folder:{tmp_path}", "search")] == ["song"]
    assert caplog.messages == [f"{tmp_path / 'search' / 'gone'}: a link to what is not there, not used as a track"]


def test_stem_mp4_in_a_folder_points_to_musdb(tmp_path: Path) -> None:
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "song.stem.mp4").write_bytes(b"x")
    assert "give musdb:PATH" in refusal(f"folder:{tmp_path}")


def test_one_track_cannot_be_held_out(tmp_path: Path) -> None:
    write_track(tmp_path / "song")
    assert [track.name for track in load_tracks(f"folder:{tmp_path}", "search")] == ["song"]
    assert "holds a single track, which the search uses: add another one" in refusal(f"folder:{tmp_path}", "held-out")


@pytest.mark.parametrize(("here", "lacking"), [("search", "held-out"), ("train", "test")])
def test_a_side_that_is_not_there_is_refused(tmp_path: Path, here: str, lacking: str) -> None:
    write_track(tmp_path / here / "song")
    assert f"has no folder '{lacking}': put the held-out tracks there" in refusal(f"folder:{tmp_path}", "held-out")


def test_a_track_on_both_sides_is_refused(tmp_path: Path) -> None:
    write_track(tmp_path / "train" / "Song")
    write_track(tmp_path / "test" / "song")
    for split in ("search", "held-out"):
        assert "'song' is both searched on and held out" in refusal(f"folder:{tmp_path}", split)


def test_a_link_to_a_track_of_the_other_side_is_refused(tmp_path: Path) -> None:
    write_track(tmp_path / "search" / "song")
    (tmp_path / "held-out").mkdir()
    (tmp_path / "held-out" / "another").symlink_to(tmp_path / "search" / "song")
    assert "another links to a track of the other side" in refusal(f"folder:{tmp_path}")


def test_a_name_with_a_line_break_is_shown_on_one_line(tmp_path: Path) -> None:
    (write_track(tmp_path / "search" / "two\nlines\x1b[31m") / "bass.wav").write_bytes(b"")
    assert r"two\nlines\x1b[31m/bass.wav is empty" in refusal(f"folder:{tmp_path}")


def test_a_link_from_one_side_of_a_flat_folder_to_the_other_is_refused(tmp_path: Path) -> None:
    write_track(tmp_path / "b")  # held out, as its name's hash has it
    (tmp_path / "a").symlink_to("b")
    assert "b links to a track of the other side" in refusal(f"folder:{tmp_path}")


@pytest.mark.parametrize("source", ["", "demos", "demo:3", "folder", "folder:", "musdb:", "ftp:x", "line\nbreak"])
def test_unknown_sources_are_refused(source: str) -> None:
    assert "it is demo, folder:PATH or musdb:PATH" in refusal(source)


def test_an_unknown_home_is_refused() -> None:
    assert "~nobody-of-that-name" in refusal("folder:~nobody-of-that-name/music")


def test_a_limit_below_one_is_refused() -> None:
    with pytest.raises(DataError, match="at least 1, got 0"):
        load_tracks("demo", "search", 0)

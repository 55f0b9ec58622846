"""Songs from files to files: what is there stays, what is bad is named, what was interrupted goes on."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from schedopt.errors import DataError
from schedopt.separators import Separator
from schedopt.songs import Encoding, Options, Position, Result, Template, find_songs, separate_songs
from schedopt.types import STEMS
from tests.models import RATE
from tests.separators.networks import mixture
from tests.songs.songs import entry, read_stems, tiny, write_song

FLOAT = Encoding(bits=32)


@pytest.fixture(scope="module")
def separator() -> Separator:
    return tiny()


def results(
    separator: Separator, songs: list[Path], out: Path, on_position: Callable[..., None] | None = None, **options: Any
) -> list[Result]:
    made = Options(out, **{"encoding": FLOAT, **options})
    return list(separate_songs(find_songs(songs), separator, made, on_position))


def test_layout_and_estimates_are_demucs_without_a_schedule(tmp_path: Path, separator: Separator) -> None:
    song = write_song(tmp_path / "my song.wav")
    (result,) = results(separator, [song], tmp_path / "out")
    assert result.state == "done"
    assert sorted(result.files) == sorted(tmp_path / "out" / "tiny" / "my song" / f"{stem}.wav" for stem in STEMS)
    expected = separator(mixture(int(0.6 * RATE))[None])[0]
    stems = read_stems(tmp_path / "out" / "tiny" / "my song")
    for stem, estimate in zip(separator.stems, expected.numpy(), strict=True):
        assert np.allclose(stems[stem], estimate, atol=1e-6)
    # Nothing else is left behind.
    assert [path.name for path in (tmp_path / "out" / "tiny").iterdir()] == ["my song"]


def test_a_result_that_is_there_stays_unless_asked(tmp_path: Path, separator: Separator) -> None:
    song = write_song(tmp_path / "a.wav")
    results(separator, [song], tmp_path / "out")
    vocals = tmp_path / "out" / "tiny" / "a" / "vocals.wav"
    written = vocals.read_bytes()
    assert results(separator, [song], tmp_path / "out")[0].state == "there"
    vocals.write_bytes(b"mine")
    (result,) = results(separator, [song], tmp_path / "out")
    assert (result.state, vocals.read_bytes()) == ("failed", b"mine")
    assert "vocals.wav is there already (nothing tells from which song)" in result.error
    assert results(separator, [song], tmp_path / "out", overwrite=True)[0].state == "done"
    assert vocals.read_bytes() == written


def test_a_bad_song_does_not_stop_the_others(tmp_path: Path, separator: Separator) -> None:
    music = tmp_path / "music"
    write_song(music / "a.wav")
    write_song(music / "c.flac")
    (music / "b.mp3").write_text("no song")
    (music / "cover.jpg").write_text("no song either")
    found = results(separator, [music, music / "missing.wav"], tmp_path / "out")
    assert [(result.song.name, result.state) for result in found] == [
        ("a.wav", "done"),
        ("b.mp3", "failed"),
        ("c.flac", "done"),
        ("missing.wav", "failed"),
    ]
    assert "b.mp3: neither libsndfile" in found[1].error
    assert sorted(path.name for path in (tmp_path / "out" / "tiny").iterdir()) == ["a", "c"]


def test_two_songs_of_one_name_are_told_apart(tmp_path: Path, separator: Separator) -> None:
    songs = [write_song(tmp_path / "a.wav"), write_song(tmp_path / "a.flac", seed=1)]
    first, second = results(separator, songs, tmp_path / "out")
    assert (first.state, second.state) == ("done", "failed")
    assert "would go to the files of" in second.error
    template = Template("{track}.{trackext}/{stem}.{ext}")
    assert [r.state for r in results(separator, songs, tmp_path / "out", template=template)] == ["done", "done"]


@pytest.mark.parametrize("other", ["add", "minus", "none"])
def test_two_stems(tmp_path: Path, separator: Separator, other: Any) -> None:
    song = write_song(tmp_path / "a.wav")
    entries = {"vocals": entry(0.5), "bass": entry(0.3)}
    results(separator, [song], tmp_path / "all", entries=entries)
    whole = read_stems(tmp_path / "all" / "tiny" / "a")
    results(separator, [song], tmp_path / "two", entries=entries, two_stems="vocals", other_method=other)
    two = read_stems(tmp_path / "two" / "tiny" / "a")
    assert np.array_equal(two["vocals"], whole["vocals"])
    if other == "add":
        # Every stem holds the song's mean; their sum is to hold it once.
        mean = mixture(int(0.6 * RATE)).numpy().mean()
        others = sum(whole[stem] - mean for stem in ("drums", "bass", "other")) + mean
        assert np.allclose(two.pop("no_vocals"), others, atol=1e-6)
    elif other == "minus":
        assert np.allclose(two.pop("minus_vocals"), mixture(int(0.6 * RATE)).numpy() - whole["vocals"], atol=1e-6)
    assert list(two) == ["vocals"]


def test_a_stem_that_the_model_lacks_is_refused_first(tmp_path: Path, separator: Separator) -> None:
    with pytest.raises(DataError, match="tiny has no stem 'piano', only drums"):
        results(separator, [write_song(tmp_path / "a.wav")], tmp_path / "out", two_stems="piano")


class KilledError(BaseException):
    """What `kill` is to Python: nothing catches it."""


def killed_after(pieces: int) -> Callable[[Path, Position, int], None]:
    def on_position(song: Path, position: Position, samples: int) -> None:
        nonlocal pieces
        pieces -= 1
        if pieces < 0:
            raise KilledError

    return on_position


def test_an_interrupted_song_begins_anew_and_leaves_nothing(tmp_path: Path, separator: Separator) -> None:
    songs = [write_song(tmp_path / "a.wav", 0.9), write_song(tmp_path / "b.wav", 0.9, seed=1)]
    entries = {"vocals": entry(0.5, 0.2, shift=True, output="mean"), "drums": entry(0.3, rule="resum")}
    results(separator, songs, tmp_path / "whole", entries=entries)
    positions = 0

    def count(song: Path, position: Position, samples: int) -> None:
        nonlocal positions
        if song == songs[1]:
            # Nothing half-written has a name that looks finished.
            assert not (tmp_path / "cut" / "tiny" / "b").exists()
            positions += 1
            if positions > 4:
                raise KilledError

    with pytest.raises(KilledError):
        results(separator, songs, tmp_path / "cut", count, entries=entries)
    assert [path.name for path in (tmp_path / "cut" / "tiny").iterdir()] == ["a"]
    found = results(separator, songs, tmp_path / "cut", entries=entries)
    assert [result.state for result in found] == ["there", "done"]
    for name in ("a", "b"):
        cut, whole = (read_stems(tmp_path / folder / "tiny" / name) for folder in ("cut", "whole"))
        assert all(np.array_equal(cut[stem], whole[stem]) for stem in whole)


def test_finished_stems_of_an_interrupted_song_stay(tmp_path: Path, separator: Separator) -> None:
    song = write_song(tmp_path / "a.wav", 0.9)
    entries = {"bass": entry(0.3), "vocals": entry(0.5, 0.2)}
    folder = tmp_path / "out" / "tiny" / "a"

    def killed_in_vocals(song: Path, position: Position, samples: int) -> None:
        if position.target == "vocals":
            raise KilledError

    with pytest.raises(KilledError):
        results(separator, [song], tmp_path / "out", killed_in_vocals, entries=entries)
    before = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert set(before) == {"drums.wav", "bass.wav", "other.wav"}
    steps: set[tuple[Any, int]] = set()
    results(separator, [song], tmp_path / "out", lambda _, at, __: steps.add(at[:2]), entries=entries)
    assert steps == {(None, 0), ("vocals", 1), ("vocals", 2)}
    assert before.items() <= {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}.items()


def test_other_settings_or_another_song_begin_anew(tmp_path: Path, separator: Separator) -> None:
    song = write_song(tmp_path / "a.wav", 0.9)
    with pytest.raises(KilledError):
        results(separator, [song], tmp_path / "out", killed_after(8), entries={"vocals": entry(0.5)})
    changed: dict[str, Any] = {"entries": {"vocals": entry(0.9)}}
    (result,) = results(separator, [song], tmp_path / "out", **changed)
    assert result.state == "done"
    write_song(song, 0.9, seed=1)
    (result,) = results(separator, [song], tmp_path / "out", **changed)
    assert (result.state, "from another song" in result.error) == ("failed", True)
    results(separator, [song], tmp_path / "out", overwrite=True, **changed)
    results(separator, [song], tmp_path / "fresh", **changed)
    there, fresh = (read_stems(tmp_path / folder / "tiny" / "a") for folder in ("out", "fresh"))
    assert all(np.array_equal(there[stem], fresh[stem]) for stem in fresh)


def test_a_song_that_another_process_separates_is_left_to_it(tmp_path: Path, separator: Separator) -> None:
    songs = [write_song(tmp_path / "a.wav"), write_song(tmp_path / "b.wav")]
    meanwhile: list[str] = []

    def another(*_: Any) -> None:
        if not meanwhile:
            meanwhile.extend(result.error or result.state for result in results(separator, songs, tmp_path / "out"))

    found = results(separator, [songs[0]], tmp_path / "out", another)
    assert [result.state for result in found] == ["done"]
    assert meanwhile == [f"{songs[0]}: another process is making these files", "done"]


def test_too_little_disk_is_said_before_it_is_full(
    tmp_path: Path, separator: Separator, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=10_000))
    (result,) = results(separator, [write_song(tmp_path / "a.wav")], tmp_path / "out")
    assert result.state == "failed"
    assert "needs about 0.0 GB" in result.error


def test_a_place_that_cannot_be_written(tmp_path: Path, separator: Separator) -> None:
    song = write_song(tmp_path / "a.wav")
    (tmp_path / "file").touch()
    for out in (tmp_path / "file", Path("/proc/out")):
        (result,) = results(separator, [song], out)
        assert result.state == "failed"
        assert result.error.isprintable()


def test_folders_give_their_audio_files(tmp_path: Path) -> None:
    for name in ("b.WAV", "a.mp3", "c.m4a", ".hidden.wav", "notes.txt"):
        (tmp_path / name).touch()
    (tmp_path / "folder.wav").mkdir()
    names = [path.name for path in find_songs([tmp_path, tmp_path / "a.mp3", tmp_path / "notes.txt"])]
    assert names == ["a.mp3", "b.WAV", "c.m4a", "notes.txt"]
    (tmp_path / "empty").mkdir()
    # They fail when their turn comes.
    assert find_songs([tmp_path / "empty", tmp_path / ("x" * 300)]) == [tmp_path / "empty", tmp_path / ("x" * 300)]
    assert len(find_songs([tmp_path / "a.mp3", tmp_path / "." / "empty" / ".." / "a.mp3"])) == 1

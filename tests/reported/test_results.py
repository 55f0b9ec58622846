"""Issue 13, items 9, 10, 12, 24 and 28: what stands in the output folder of `separate`.

Stems of another song that are taken for this song's: facebookresearch/demucs issue 303 asks to skip finished songs.
Songs of one name in several folders: deezer/spleeter issue 215. The time in float WAVs: libsndfile issue 416.
"""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from schedopt.cli import call
from schedopt.separators import save_safetensors
from schedopt.songs import Encoding
from schedopt.songs.writing import write
from tests.models import RATE, tiny_hdemucs
from tests.proof.schedules import write_schedule
from tests.separators.networks import mixture
from tests.songs.songs import read_stems, write_song

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with a model, a schedule file and two albums that have a song of one name."""
    monkeypatch.chdir(tmp_path)
    save_safetensors(tiny_hdemucs(), tmp_path / "tiny.safetensors")
    write_schedule(tmp_path, "v", vocals={"betas": [0.5]})
    write_song(tmp_path / "a" / "01.wav")
    write_song(tmp_path / "b" / "01.wav", seed=1)
    return tmp_path


def separate(*arguments: str) -> int:
    return call(["separate", *arguments, "-n", "tiny.safetensors", "-d", "cpu"])


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_item_9_another_songs_stems_are_neither_reported_nor_replaced(folder: Path, capsys: Capture) -> None:
    assert separate("a/01.wav", "-o", "o") == 0
    before = contents(folder / "o")
    capsys.readouterr()
    assert separate("b/01.wav", "-o", "o") == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "b/01.wav: o/tiny/01/drums.wav is there already (from another song or version of it)" in printed.err
    assert contents(folder / "o") == before
    # Each of the cures that are offered is one.
    assert separate("b/01.wav", "-o", "o", "--filename", "{folder}/{track}/{stem}.{ext}") == 0
    assert separate("b/01.wav", "-o", "fresh") == 0
    assert separate("b/01.wav", "-o", "o", "--overwrite") == 0
    fresh = read_stems(folder / "fresh" / "tiny" / "01")
    for there in (folder / "o" / "tiny" / "b" / "01", folder / "o" / "tiny" / "01"):
        assert all(np.array_equal(stem, fresh[name]) for name, stem in read_stems(there).items())


@pytest.mark.parametrize(
    "changed",
    [
        ["--schedule", "v.schedule.json"],
        ["--overlap", "0.1"],
        ["--shifts", "1"],
        ["--segment", "0.5"],
        ["--int24"],
        ["--clip-mode", "clamp"],
    ],
    ids=" ".join,
)
def test_item_9_other_settings_make_other_stems(folder: Path, changed: list[str], capsys: Capture) -> None:
    assert separate("a/01.wav", "-o", "o") == 0
    assert separate("a/01.wav", "-o", "o") == 0
    assert "there already" in capsys.readouterr().out
    assert separate("a/01.wav", "-o", "o", *changed) == 0
    printed = capsys.readouterr()
    assert "there already" not in printed.out
    assert "is separated again, with other settings" in printed.err
    assert separate("a/01.wav", "-o", "fresh", *changed) == 0
    assert contents(folder / "o") == contents(folder / "fresh")


def test_item_9_another_model_of_one_name_is_another_model(folder: Path, capsys: Capture) -> None:
    assert separate("a/01.wav", "-o", "o") == 0
    save_safetensors(tiny_hdemucs(seed=5), folder / "tiny.safetensors")
    assert separate("a/01.wav", "-o", "o") == 0
    assert "there already" not in capsys.readouterr().out.splitlines()[-1]


def test_item_9_provenance_of_a_schedule_changes_no_sound(folder: Path, capsys: Capture) -> None:
    """A benchmark that notes its result in the schedule file does not make finished stems stale."""
    schedule = ["--schedule", "v.schedule.json"]
    assert separate("a/01.wav", "-o", "o", *schedule) == 0
    write_schedule(folder, "v", vocals={"betas": [0.5], "study": "later", "trial": 3})
    assert separate("a/01.wav", "-o", "o", *schedule) == 0
    assert "there already" in capsys.readouterr().out.splitlines()[-1]


def test_item_9_a_file_without_a_record_is_not_replaced(folder: Path, capsys: Capture) -> None:
    (folder / "o" / "tiny" / "01").mkdir(parents=True)
    write_song(folder / "o" / "tiny" / "01" / "bass.wav")
    assert separate("a/01.wav", "-o", "o") == 1
    assert "bass.wav is there already (nothing tells from which song)" in capsys.readouterr().err


@pytest.mark.parametrize("names", [("a/01.wav", "b/01.wav"), ("a/01.wav", "a/01.flac"), ("a/01.wav", "b/01.flac")])
def test_item_10_two_songs_of_one_name_get_a_cure_that_works(
    folder: Path, names: tuple[str, str], capsys: Capture
) -> None:
    for name in names:
        write_song(folder / name)
    assert separate(*names, "-o", "o") == 1
    said = capsys.readouterr().err
    assert "its stems would go to the files of" in said
    template = said.split("--filename '")[1].split("'")[0]
    assert separate(*names, "-o", "cured", "--filename", template) == 0
    assert len(contents(folder / "cured")) == 8


def test_item_10_songs_that_no_template_tells_apart(folder: Path, capsys: Capture) -> None:
    songs = [str(write_song(folder / disk / "cd" / "01.wav")) for disk in ("x", "y")]
    assert separate(*songs, "-o", "o") == 1
    assert "separate it in a call of its own, with another -o FOLDER" in capsys.readouterr().err


def test_item_12_a_folder_without_songs_does_not_stop_the_others(folder: Path, capsys: Capture) -> None:
    (folder / "empty").mkdir()
    (folder / "notes").mkdir()
    (folder / "notes" / "a.txt").touch()
    assert separate("empty", "a/01.wav", "notes", "-o", "o") == 1
    printed = capsys.readouterr()
    assert "a/01.wav → o/tiny/01" in printed.out
    assert printed.err.splitlines() == [
        "schedopt: 2 of 3 songs could not be separated:",
        "schedopt: empty: no audio file in this folder",
        "schedopt: notes: no audio file in this folder",
    ]


def test_item_34_a_song_that_cannot_be_read_does_not_stop_the_others(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    """The user who runs the tests may read everything, so the question is answered for him."""
    monkeypatch.setattr(os, "access", lambda path, mode, **_: "b/01.wav" not in str(path))
    assert separate("b/01.wav", "a/01.wav", "-o", "o", "--filename", "{folder}/{stem}.{ext}") == 0
    assert "a/01.wav → o/tiny/a" in capsys.readouterr().out


@pytest.mark.parametrize("command", ["separate", "demo"])
def test_item_12_float_wavs_are_the_same_bytes_on_every_run(folder: Path, command: str) -> None:
    hashes = []
    for number in range(2):
        if command == "demo":
            assert call(["demo", f"o{number}", "--tracks", "1"]) == 0
        else:
            assert separate("a/01.wav", "-o", f"o{number}", "--float32") == 0
        found = contents(folder / f"o{number}")
        hashes.append({name: hashlib.sha256(content).hexdigest() for name, content in found.items()})
        time.sleep(1.1)  # the time in the file has whole seconds
    assert len(hashes[0]) in (4, 5)
    assert hashes[0] == hashes[1]


@pytest.mark.parametrize("container", ["WAV", "RF64"])
def test_item_12_in_long_files_too(tmp_path: Path, container: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Encoding, "container", lambda *_: container)
    for name in ("a.wav", "b.wav"):
        write(mixture(RATE // 4), tmp_path / name, RATE, Encoding(bits=32))
        time.sleep(1.1)
    assert (tmp_path / "a.wav").read_bytes() == (tmp_path / "b.wav").read_bytes()
    assert soundfile.info(tmp_path / "a.wav").frames == RATE // 4


def test_item_24_no_link_is_followed_and_no_foreign_file_removed(folder: Path) -> None:
    mine = folder / "mine"
    mine.mkdir()
    names = ("thesis.txt", "job.json", "lock", "0.wav")
    for name in names:
        (mine / name).write_text("mine")
    out = folder / "o" / "tiny"
    out.mkdir(parents=True)
    files = [Path("o") / "tiny" / "01" / f"{stem}.wav" for stem in ("drums", "bass", "other", "vocals")]
    for key in ("\0".join(map(str, files)), "x"):  # the name that the first version gave the folder, and any other
        (out / f".schedopt-{hashlib.sha256(key.encode()).hexdigest()[:16]}").symlink_to(mine)
    assert separate("a/01.wav", "-o", "o") == 0
    assert sorted(path.name for path in mine.iterdir()) == sorted(names)
    assert {path.read_text() for path in mine.iterdir()} == {"mine"}


@pytest.mark.parametrize("name", [b"out-\xff", b"out-\xed\xa0\x80"])
@pytest.mark.parametrize("options", [[], ["--flac"], ["--json"], ["--float32"]], ids=" ".join)
def test_item_28_an_output_folder_that_is_not_utf_8(folder: Path, name: bytes, options: list[str]) -> None:
    assert separate("a/01.wav", "-o", os.fsdecode(name), *options) == 0
    found = [path for path in Path(os.fsdecode(name)).rglob("*") if path.is_file()]
    assert len(found) == 4
    assert all(b"\xff" in os.fsencode(path) or b"\xed" in os.fsencode(path) for path in found)


def test_item_28_a_template_that_is_not_utf_8(folder: Path) -> None:
    assert separate("a/01.wav", "-o", "o", "--filename", os.fsdecode(b"\xff/{stem}.{ext}")) == 0
    assert len(contents(folder / "o")) == 4


@pytest.mark.parametrize(
    ("song", "template"),
    [
        ("a/01.wav", "x" * 260 + "/{stem}.{ext}"),
        ("a/01.wav", "{track}{track}" + "y" * 250 + "{stem}.{ext}"),
        ("long", "{track}{track}-{stem}.{ext}"),
        ("long", "é" * 100 + "{track}/{stem}.{ext}"),
    ],
)
def test_item_28_names_that_are_too_long_cost_no_work(folder: Path, song: str, template: str, capsys: Capture) -> None:
    path = write_song(folder / f"{'s' * 200}.wav") if song == "long" else folder / song
    assert separate(str(path), "-o", "o", "--filename", template) == 1
    said: Any = capsys.readouterr().err
    assert "has a name of more than 255 bytes" in said
    assert len(said.splitlines()) == 1
    assert not (folder / "o").exists()


@pytest.mark.parametrize("option", ["--segment", "--overlap"])
@pytest.mark.parametrize("value", ["1e300", "inf", "nan", "0.0001", "-1", "1" * 400])
def test_items_28_and_29_numbers_that_no_song_can_be_separated_with(
    folder: Path, option: str, value: str, capsys: Capture
) -> None:
    if (option, value) == ("--overlap", "0.0001"):
        return
    assert separate("a/01.wav", "-o", "o", option, value) == 2
    assert f"Invalid value for '{option}'" in capsys.readouterr().err


@pytest.mark.parametrize("segment", ["0.0001", "1e300", "-1"])
def test_item_29_segments_of_a_schedule_file(folder: Path, segment: str, capsys: Capture) -> None:
    path = folder / "v.schedule.json"
    text = path.read_text()
    path.write_text(text.replace('"model": {', f'"model": {{"segment": {segment}, ').replace('"segment": "model",', ""))
    assert separate("a/01.wav", "-o", "o", "--schedule", str(path)) == 1
    assert "model.segment" in capsys.readouterr().err

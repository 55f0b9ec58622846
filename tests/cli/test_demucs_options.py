"""`schedopt separate` with the options of the `demucs` command that name models, write MP3 or take several songs."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from demucs.states import save_with_checksum

from schedopt.cli import call
from schedopt.separators import save_safetensors
from tests.models import RATE, tiny_hdemucs
from tests.separators.networks import as_demucs_does, difference, mixture
from tests.servers import environment, wait_for
from tests.songs.songs import read_stems, write_song

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a model and a song."""
    save_safetensors(tiny_hdemucs(), tmp_path / "tiny.safetensors")
    write_song(tmp_path / "song.wav")
    return tmp_path


def separate(folder: Path, *options: str, songs: tuple[str, ...] = ("song.wav",), model: bool = True) -> int:
    named = ["-n", str(folder / "tiny.safetensors")] if model else []
    return call(["separate", *(str(folder / song) for song in songs), *named, "-o", str(folder / "out"), *options])


def test_mp3_stems_are_recorded_and_not_made_again(folder: Path, capsys: Capture) -> None:
    stems = folder / "out" / "tiny" / "song"
    assert separate(folder, "--mp3", "--mp3-bitrate", "128") == 0
    capsys.readouterr()
    written = {path.name: path.stat().st_mtime_ns for path in stems.iterdir()}
    assert sorted(written) == ["bass.mp3", "drums.mp3", "other.mp3", "vocals.mp3"]
    assert soundfile.info(stems / "bass.mp3").frames == soundfile.info(folder / "song.wav").frames
    assert separate(folder, "--mp3", "--mp3-bitrate", "128") == 0
    assert "there already" in capsys.readouterr().out
    (stems / "bass.mp3").unlink()
    assert separate(folder, "--mp3", "--mp3-bitrate", "128") == 0
    after = {path.name: path.stat().st_mtime_ns for path in stems.iterdir()}
    assert {name for name in after if after[name] == written[name]} == {"drums.mp3", "other.mp3", "vocals.mp3"}
    capsys.readouterr()
    assert separate(folder, "--mp3", "--mp3-bitrate", "320") == 0
    assert "separated again, with other settings" in capsys.readouterr().err


def test_mp3_stems_of_another_song_are_not_replaced(folder: Path, capsys: Capture) -> None:
    assert separate(folder, "--mp3") == 0
    write_song(folder / "song.wav", seed=1)
    assert separate(folder, "--mp3") == 1
    assert "is there already (from another song or version of it)" in capsys.readouterr().err


def test_several_songs_at_once_are_what_they_are_one_by_one(folder: Path, capsys: Capture) -> None:
    names = [f"{number}.wav" for number in range(4)]
    for number, name in enumerate(names):
        write_song(folder / name, 0.5, seed=number)
    (folder / "bad.wav").write_text("no song")
    songs = ("0.wav", "bad.wav", *names[1:])
    assert separate(folder, "--float32", songs=songs) == 1
    shutil.move(folder / "out", folder / "one by one")
    one_by_one = capsys.readouterr()
    assert separate(folder, "--float32", "-j", "3", songs=songs) == 1
    at_once = capsys.readouterr()
    assert at_once.out == one_by_one.out
    assert "bad.wav" in at_once.err
    assert "1 of 5 songs could not be separated" in at_once.err
    for number in range(4):
        expected, found = (read_stems(folder / out / "tiny" / str(number)) for out in ("one by one", "out"))
        assert found.keys() == expected.keys()
        assert all(np.allclose(found[stem], expected[stem], atol=1e-6) for stem in expected)


def test_an_interrupt_ends_all_songs_at_once(folder: Path) -> None:
    names = [f"long {number}.wav" for number in range(3)]
    for name in names:
        write_song(folder / name, 120.0)
    songs = [str(folder / name) for name in names]
    command = [sys.executable, "-m", "schedopt", "separate", *songs, "-n", str(folder / "tiny.safetensors")]
    options = ["--shifts", "500", "-j", "2", "-o", str(folder / "out")]
    running = subprocess.Popen([*command, *options], stderr=subprocess.PIPE, text=True, env=environment())
    try:
        wait_for(lambda: len(list(folder.glob("out/tiny/.schedopt-*/job"))) == 2 or running.poll() is not None, 120)
        running.send_signal(signal.SIGINT)
        _, said = running.communicate(timeout=120)
    finally:
        running.kill()
    assert (running.returncode, said.splitlines()[-1]) == (130, "schedopt: interrupted; the same command carries on")
    assert list((folder / "out" / "tiny").iterdir()) == []


def test_two_songs_for_the_same_files_are_told_apart_at_once_too(folder: Path, capsys: Capture) -> None:
    write_song(folder / "song.flac", seed=1)
    assert separate(folder, "-j", "2", songs=("song.wav", "song.flac")) == 1
    assert "song.flac: its stems would go to the files of" in capsys.readouterr().err


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    """A folder of models as demucs' training exports it: SIGNATURE-CHECKSUM.th, and a bag of two of them."""
    made = tmp_path / "release models"
    made.mkdir()
    for seed, signature in enumerate(("0abc", "1def")):
        model = tiny_hdemucs(seed)
        made_with: Any = model._init_args_kwargs
        arguments, keywords = made_with
        package = {"klass": type(model), "args": arguments, "kwargs": keywords, "state": model.state_dict()}
        save_with_checksum(package, made / f"{signature}.th")  # type: ignore[no-untyped-call]
    (made / "pair.yaml").write_text("models: ['0abc', '1def']\n")
    return made


def test_models_of_a_folder_are_listed_and_named(folder: Path, repo: Path, capsys: Capture) -> None:
    assert call(["separate", "--list-models", "--repo", str(repo)]) == 0
    assert capsys.readouterr().out == "bags of models:\n  pair\nsingle models:\n  0abc 1def\n"
    options = ("--repo", str(repo), "--float32", "--trust-pickle")
    assert separate(folder, "-s", "1def", *options, model=False) == 0
    assert separate(folder, "-n", "pair", *options, model=False) == 0
    wave = mixture(int(0.6 * RATE))
    single = read_stems(folder / "out" / "1def" / "song")
    expected = as_demucs_does(tiny_hdemucs(1), wave)
    assert difference(torch.from_numpy(np.stack([single[stem] for stem in tiny_hdemucs().sources])), expected) < 1e-5
    assert read_stems(folder / "out" / "pair" / "song").keys() == single.keys()
    assert separate(folder, "-s", "1def", "--repo", str(repo), "-o", str(folder / "b"), model=False) == 1
    assert "--trust-pickle" in capsys.readouterr().err


def test_the_models_that_demucs_knows_are_listed(capsys: Capture) -> None:
    assert call(["separate", "--list-models"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:3] == ["bundled:", "  demo", "bags of models:"]
    assert "htdemucs" in lines[3].split()
    assert max(map(len, lines)) <= 100
    assert call(["separate", "--list-models", "--json"]) == 0
    assert "htdemucs_ft" in json.loads(capsys.readouterr().out)["bags of models"]


def test_a_song_that_is_not_split_is_what_demucs_makes_of_it(folder: Path) -> None:
    write_song(folder / "song.wav", 3.0)
    model = tiny_hdemucs()
    assert separate(folder, "--no-split", "--float32") == 0
    whole = read_stems(folder / "out" / "tiny" / "song")
    found = torch.from_numpy(np.stack([whole[stem] for stem in model.sources]))
    wave = mixture(3 * RATE)
    assert difference(found, as_demucs_does(model, wave, split=False)) < 1e-5
    assert separate(folder, "--segment", "1", "--float32", "--overwrite") == 0
    split = read_stems(folder / "out" / "tiny" / "song")
    assert not np.allclose(split["bass"], whole["bass"], atol=1e-5)


@pytest.mark.parametrize(
    ("options", "code", "says"),
    [
        (["-s", "abc"], 2, "-s needs --repo"),
        (["-s", "abc", "-n", "htdemucs", "--repo", "{}"], 2, "-n and -s: choose one"),
        (["--repo", "{}/nothing"], 2, "there is no such folder"),
        (["--repo", "{}", "-s", "abc"], 1, "no abc.safetensors or abc.th"),
        (["--mp3", "--flac"], 2, "--flac and --mp3: choose one"),
        (["--mp3", "--int24"], 2, "MP3 has no sample width"),
        (["--mp3-bitrate", "200"], 2, "--mp3-bitrate"),
        (["--no-split", "--segment", "2"], 2, "--no-split and --segment: choose one"),
        (["-j", "0"], 2, "--jobs"),
    ],
)
def test_mistakes_are_named(options: list[str], code: int, says: str, folder: Path, capsys: Capture) -> None:
    assert separate(folder, *(option.format(folder) for option in options), model=False) == code
    assert says in capsys.readouterr().err
    assert not (folder / "out").exists()


def test_without_songs_the_usage_is_shown(capsys: Capture) -> None:
    assert call(["separate"]) == 2
    assert "Missing argument 'SONG...'" in capsys.readouterr().err


def test_models_of_a_missing_folder_are_one_line(tmp_path: Path, capsys: Capture) -> None:
    assert call(["separate", "--list-models", "--repo", str(tmp_path / "nothing")]) == 1
    assert capsys.readouterr().err.count("\n") == 1

"""`evaluate` names what it leaves out: tracks beside stems, stems beside tracks, scores that there cannot be."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from schedopt.cli import call
from tests.metrics.signals import noise

Capture = pytest.CaptureFixture[str]
RATE = 8000


def write(folder: Path, *stems: str, error: float = 0.0) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for seed, stem in enumerate(stems):
        samples = 0.1 * noise(2, RATE, seed=seed) + error * noise(2, RATE, seed=99)
        soundfile.write(folder / f"{stem}.wav", samples.numpy().T, RATE, subtype="FLOAT")
    return folder


def unmatched(capsys: Capture, true: Path, guess: Path) -> list[str]:
    assert call(["evaluate", str(true), str(guess), "--json"]) == 0
    lines: list[str] = json.loads(capsys.readouterr().out)["unmatched"]
    return lines


def test_tracks_beside_stems_are_named(tmp_path: Path, capsys: Capture) -> None:
    true, guess = tmp_path / "true", tmp_path / "guess"
    for side in (true, guess):
        for track in (".", "t1", "t2"):
            write(side / track, "vocals")
    write(guess / "t3", "bass")
    expected = [f"{track}: stems lie in {true} itself, which is scored as one track" for track in ("t1", "t2", "t3")]
    assert unmatched(capsys, true, guess) == expected
    assert call(["evaluate", str(true), str(guess)]) == 0
    assert f"left out, {expected[0]}" in capsys.readouterr().out


def test_stems_in_folders_and_the_other_side_are_no_tracks(tmp_path: Path, capsys: Capture) -> None:
    """MoisesDB's layout, and estimates that were written into the track's own folder."""
    true = tmp_path / "true"
    for stem in ("vocals", "bass"):
        write(true / stem, "one", "two")
    write(true, "drums")
    write(true / "without audio")
    guess = write(true / "separated" / "demo", "vocals", "bass", "drums", error=0.01)
    assert unmatched(capsys, true, guess) == []


def test_stems_of_the_reference_beside_tracks_of_the_estimate(tmp_path: Path, capsys: Capture) -> None:
    true, guess = write(tmp_path / "true", "vocals"), tmp_path / "guess"
    write(guess / "t1", "vocals")
    assert call(["evaluate", str(true), str(guess)]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert f"{guess}: holds no stem that {true} holds too, only folders such as t1" in line
    assert "compare one folder with one" in line


def test_stems_of_the_estimate_beside_its_tracks(tmp_path: Path, capsys: Capture) -> None:
    true, guess = tmp_path / "true", write(tmp_path / "guess", "vocals", "mixture")
    for side in (true, guess):
        write(side / "t1", "vocals")
    (line,) = unmatched(capsys, true, guess)
    assert line.startswith(f"{guess / 'vocals.wav'} lies beside the tracks: {true} holds a folder a track")


@pytest.mark.parametrize("silent", [False, True])
def test_no_interference_where_nothing_interferes(tmp_path: Path, capsys: Capture, silent: bool) -> None:
    true, guess = write(tmp_path / "true", "vocals"), write(tmp_path / "guess", "vocals", error=0.01)
    if silent:
        soundfile.write(true / "bass.wav", np.zeros((RATE, 2)), RATE)
    assert call(["evaluate", str(true), str(guess), "--metrics", "si_sir,si_sar", "--json"]) == 0
    printed = capsys.readouterr()
    scores = json.loads(printed.out)["stems"]["vocals"]
    assert set(scores) == {"si_sar"}
    assert scores["si_sar"] == pytest.approx(20, abs=1)
    assert f"{true / 'vocals.wav'}: no si_sir: no other stem sounds" in printed.err


def test_interference_is_scored_where_another_stem_sounds(tmp_path: Path, capsys: Capture) -> None:
    true, guess = write(tmp_path / "true", "vocals", "bass"), write(tmp_path / "guess", "vocals", error=0.01)
    assert call(["evaluate", str(true), str(guess), "--metrics", "si_sir", "--json"]) == 0
    assert set(json.loads(capsys.readouterr().out)["stems"]["vocals"]) == {"si_sir"}

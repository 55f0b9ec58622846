"""`demo` and `evaluate` on real files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from schedopt.cli import call
from schedopt.types import STEMS
from tests.models import RATE, noise_excerpt

Capture = pytest.CaptureFixture[str]


def write_stems(folder: Path, seed: int, noise: float = 0.0, seconds: float = 0.5) -> Path:
    folder.mkdir(parents=True)
    excerpt = noise_excerpt(seed, seconds)
    rng = np.random.default_rng(seed)
    for stem, audio in zip(STEMS, excerpt.references.numpy(), strict=True):
        samples = audio.T + noise * rng.standard_normal(audio.T.shape)
        soundfile.write(folder / f"{stem}.wav", samples, RATE, subtype="FLOAT")
    return folder


def test_evaluate_scores_every_stem(tmp_path: Path, capsys: Capture) -> None:
    true = write_stems(tmp_path / "true", 1)
    guess = write_stems(tmp_path / "guess", 1, noise=0.02)
    assert call(["evaluate", str(true), str(guess), "--json"]) == 0
    stems = json.loads(capsys.readouterr().out)["stems"]
    assert set(stems) == set(STEMS)
    for scores in stems.values():
        assert set(scores) == {"sdr", "si_sdr", "snr"}
        # Signal power 0.01 + 0.02, noise power 0.0004: 18.75 dB.
        assert scores["snr"] == pytest.approx(18.75, abs=0.3)
    assert call(["evaluate", str(true), str(guess)]) == 0
    assert "SI-SDR" in capsys.readouterr().out


def test_evaluate_folders_of_tracks(tmp_path: Path, capsys: Capture) -> None:
    for seed in (1, 2):
        write_stems(tmp_path / "true" / f"song {seed}", seed)
        write_stems(tmp_path / "guess" / f"song {seed}", seed, noise=0.01 * seed)
    assert call(["evaluate", str(tmp_path / "true"), str(tmp_path / "guess"), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert set(document["tracks"]) == {"song 1", "song 2"}
    both = [document["tracks"][f"song {seed}"]["bass"]["sdr"] for seed in (1, 2)]
    assert document["stems"]["bass"]["sdr"] == pytest.approx(sum(both) / 2)


def test_silent_references_are_left_out_and_named(tmp_path: Path, capsys: Capture) -> None:
    true, guess = write_stems(tmp_path / "true", 1), write_stems(tmp_path / "guess", 1, 0.1)
    soundfile.write(true / "vocals.wav", np.zeros((RATE // 2, 2)), RATE)
    assert call(["evaluate", str(true), str(guess)]) == 0
    assert "left out, the reference is silent: true: vocals" in capsys.readouterr().out


def test_what_only_one_side_holds_is_named(tmp_path: Path, capsys: Capture) -> None:
    true, guess = tmp_path / "true", tmp_path / "guess"
    for seed, sides in ((1, (true, guess)), (2, (true,)), (3, (guess,))):
        for side in sides:
            write_stems(side / f"song {seed}", seed)
    (true / "song 1" / "drums.wav").unlink()
    (guess / "song 1" / "bass.wav").unlink()
    assert call(["evaluate", str(true), str(guess), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["unmatched"] == [
        f"song 2 is only in {true}",
        f"song 3 is only in {guess}",
        f"song 1: bass is only in {true / 'song 1'}",
        f"song 1: drums is only in {guess / 'song 1'}",
    ]
    assert call(["evaluate", str(true), str(guess)]) == 0
    assert f"left out, song 3 is only in {guess}" in capsys.readouterr().out


def test_a_note_is_said_once(tmp_path: Path, capsys: Capture) -> None:
    true, guess = write_stems(tmp_path / "true", 1), write_stems(tmp_path / "guess", 1)
    samples, _ = soundfile.read(true / "bass.wav")
    soundfile.write(true / "bass.wav", samples[:, 0], RATE)
    assert call(["evaluate", str(true), str(guess)]) == 0
    assert capsys.readouterr().err.count("bass.wav: mono") == 1


def test_evaluate_refuses_what_does_not_fit(tmp_path: Path, capsys: Capture) -> None:
    true = write_stems(tmp_path / "true", 1)
    short = write_stems(tmp_path / "short", 1, seconds=0.4)
    empty = tmp_path / "empty"
    empty.mkdir()
    for estimate, says in ((short, "equally long"), (empty, "holds no stem"), (tmp_path / "none", "none")):
        assert call(["evaluate", str(true), str(estimate)]) == 1
        assert says in capsys.readouterr().err
    assert call(["evaluate", str(empty), str(true)]) == 1


def test_demo_writes_tracks_whose_mixture_is_the_sum(tmp_path: Path, capsys: Capture) -> None:
    assert call(["demo", str(tmp_path), "--tracks", "1"]) == 0
    (folder,) = tmp_path.iterdir()
    assert str(folder) in capsys.readouterr().out
    audio = {path.stem: soundfile.read(path, dtype="float32") for path in folder.iterdir()}
    assert all(rate == RATE for _, rate in audio.values())
    total = sum(audio[stem][0] for stem in STEMS)
    assert np.abs(audio["mixture"][0] - total).max() < 1e-6
    assert audio["mixture"][0].shape == (20 * RATE, 2)

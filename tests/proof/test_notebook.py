"""Item 38: the authors' notebook in full, against its loop written out on a small random Demucs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from torch import Tensor

from schedopt.cli import call
from schedopt.metrics import si_sdr
from schedopt.proof.notebook import FRAME, HOP, Notebook, common_start, first_sound
from schedopt.proof.reproduce import Reproduction, reproduce
from schedopt.separators import save_safetensors
from schedopt.types import STEMS
from tests.models import RATE, noise_excerpt, tiny_hdemucs, tiny_separator
from tests.studies import make_study, write_study

STEPS, SECONDS = 3, 0.4
DELAYS = {"track-0": (0, 4000, 9000, 100), "track-1": (12_000, 0, 300, 0)}
"""Samples before each stem begins."""

Capture = pytest.CaptureFixture[str]


def write_music(folder: Path, *, mixture: bool) -> dict[str, Tensor]:
    """Loud tracks, whose sum exceeds full scale, with a quieter mixture beside the stems; stems by track."""
    made = {}
    for seed, (name, delays) in enumerate(DELAYS.items()):
        references = 2 * noise_excerpt(seed, 1.0).references
        for stem, delay in zip(references, delays, strict=True):
            stem[:, :delay] = 1e-5 * stem[:, :delay]
        place = folder / "held-out" / name
        place.mkdir(parents=True)
        files = dict(zip(STEMS, references, strict=True)) | (
            {"mixture": 0.4 * references.sum(dim=0)} if mixture else {}
        )
        for stem_name, audio in files.items():
            soundfile.write(place / f"{stem_name}.wav", audio.numpy().T, RATE, subtype="FLOAT")
        made[name] = references
    return made


def plain_start(mono: Any) -> int:
    """The first frame within 60 dB of the loudest, frame by frame."""
    padded = np.pad(np.asarray(mono, np.float64), FRAME // 2)
    levels = [np.sqrt(np.mean(padded[i : i + FRAME] ** 2)) for i in range(0, len(padded) - FRAME + 1, HOP)]
    decibels = 20 * np.log10(np.maximum(levels, 1e-5))
    return HOP * next(n for n, level in enumerate(decibels) if level > decibels.max() - 60)


def notebook_loop(
    whole: Tensor, rule: str, target: str, *, mixture: bool | None, normalize: bool, gains: dict[str, float]
) -> np.ndarray[Any, Any]:
    """SI-SDR of all stems after each step of one track: (steps + 1, stems)."""
    start = max(plain_start(stem.mean(dim=0)) for stem in [*whole, whole.sum(dim=0)])
    stems = whole[..., start : start + round(SECONDS * RATE)]
    y = stems.sum(dim=0)
    if mixture is not None:
        y = y * ((0.4 * y).abs().max() if mixture else 1.0) / y.abs().max()
    separator, k = tiny_separator(), STEMS.index(target)
    weights = torch.tensor([gains.get(stem, 1.0) for stem in STEMS])[:, None, None]

    def separate(audio: Tensor) -> Tensor:
        return separator((audio / audio.abs().max() if normalize else audio)[None])[0]

    estimates, scores = separate(y), []
    current = y
    for n in range(STEPS + 1):
        beta = n / STEPS
        if n > 0:
            if rule == "remix":
                new = (1 - beta) * y + beta * estimates[k]
            else:
                # Every estimate holds the mean of its input; a sum is to hold it once (item 35).
                mean = current.mean() / (current.abs().max() if normalize else 1)
                kept = weights * torch.tensor([1.0 if j == k else 1 - beta for j in range(4)])[:, None, None]
                new = (kept * (estimates - mean)).sum(dim=0) + mean
            current = new / new.abs().max().clamp(min=1.0)
            estimates = separate(current)
        scores.append([float(si_sdr(x, x_hat)) for x, x_hat in zip(stems, estimates, strict=True)])
    return np.array(scores)


CASES: dict[str, dict[str, Any]] = {
    "as published": {"rule": "remix", "mixture": True, "normalize": False, "gains": {}},
    "no mixture beside the stems": {"rule": "remix", "mixture": False, "normalize": False, "gains": {}},
    "normalize": {"rule": "remix", "mixture": True, "normalize": True, "gains": {}},
    "add sources": {"rule": "resum", "mixture": True, "normalize": False, "gains": {}},
    "gains at the start": {"rule": "resum", "mixture": True, "normalize": False, "gains": {"vocals": 2.0, "bass": 0.3}},
    "all of it": {"rule": "resum", "mixture": True, "normalize": True, "gains": {"drums": 0.5, "vocals": 1.5}},
}


def replay(folder: Path, music: str, rule: str, target: str, options: Notebook) -> Reproduction:
    config = make_study(
        folder,
        data={"source": f"folder:{music}", "excerpt": SECONDS},
        refinement={"target": target, "rule": rule, "steps": STEPS, "peak_guard": True},
        search={"metric": "si_sdr"},
    )
    return reproduce(config, options)


@pytest.mark.parametrize("name", list(CASES))
def test_all_stems_equal_the_notebooks_loop(tmp_path: Path, name: str) -> None:
    case = dict(CASES[name])
    rule, target = case["rule"], "vocals" if name != "add sources" else "drums"
    music = write_music(tmp_path / "loud", mixture=case["mixture"])
    options = Notebook(case["normalize"], case["gains"])
    done = replay(tmp_path, "loud", rule, target, options)
    by_track = np.stack([notebook_loop(whole, target=target, **case) for whole in music.values()])
    for j, stem in enumerate(STEMS):
        assert done.stems[rule, target][stem] == pytest.approx(by_track[..., j].mean(axis=0), abs=2e-3), stem
    k = STEMS.index(target)
    assert done.rows[rule, target] == done.stems[rule, target][target]
    assert done.ranges[rule, target][0] == pytest.approx(by_track[..., k].min(axis=0), abs=2e-3)
    assert done.ranges[rule, target][1] == pytest.approx(by_track[..., k].max(axis=0), abs=2e-3)


@pytest.mark.parametrize("changed", [{"normalize": True}, {"gains": {"vocals": 2.0, "bass": 0.3}}, {"mixture": None}])
def test_each_option_changes_the_loops_scores(tmp_path: Path, changed: dict[str, Any]) -> None:
    """So that the test above can fail; without rescaling, inputs exceed full scale and the guard divides them."""
    music = write_music(tmp_path / "loud", mixture=True)["track-0"]
    plain: dict[str, Any] = {
        "rule": "resum" if "gains" in changed else "remix",
        "mixture": True,
        "normalize": False,
        "gains": {},
    }
    with_it, without = (notebook_loop(music, target="vocals", **one) for one in (plain | changed, plain))
    assert np.abs(with_it - without).max() > 0.01


@pytest.mark.parametrize(("silence", "level"), [(0, 0.0), (9000, 0.0), (20_000, 1e-4), (20_000, 1e-2)])
def test_the_first_sound_is_that_of_frames_60_db_below_the_loudest(silence: int, level: float) -> None:
    mono = np.random.default_rng(0).standard_normal(44_100)
    mono[:silence] *= level
    assert first_sound(mono) == plain_start(mono)
    assert (first_sound(mono) > 0) == (silence > 0 and level < 1e-2)
    assert first_sound(np.zeros(5000)) == 0


def test_the_latest_stem_decides() -> None:
    audio = noise_excerpt(0, 1.0).references
    audio[2, :, :15_000] = 0
    start = common_start(list(audio))
    assert 15_000 - FRAME <= start <= 15_000


def test_tracks_that_end_too_soon_are_left_out(tmp_path: Path, capsys: Capture) -> None:
    write_music(tmp_path / "music", mixture=False)
    path = write_study(tmp_path, data={"source": "folder:music", "excerpt": 0.8}, refinement={"steps": 1})
    save_safetensors(tiny_hdemucs(), tmp_path / "tiny.safetensors")
    assert call(["reproduce", str(path), "--json"]) == 0
    shown = capsys.readouterr()
    assert json.loads(shown.out)["tracks"] == 1
    assert "track-1: ends less than 0.8 s after all stems have started; left out" in shown.err
    assert call(["reproduce", str(path), "--set", "data.excerpt=0.99"]) == 1
    assert "no held-out track holds 0.99 s after all of its stems have started" in capsys.readouterr().err
    assert call(["reproduce", str(path), "--gains", "vocals=2,banjo=1"]) == 1
    assert "there is no stem 'banjo'" in capsys.readouterr().err
    for wrong in ("vocals", "vocals=loud", "vocals=-1", "vocals=nan"):
        assert call(["reproduce", str(path), "--gains", wrong]) == 2
        assert "is not a list of weights" in capsys.readouterr().err
    assert call(["reproduce", str(path), "--gains", "vocals=2", "--normalize"]) == 0
    assert "estimate of bass" in capsys.readouterr().out

"""Issue 13, items 15, 20, 33, 36 and 39: other stems, the order of checks, what a kill leaves, and figures as labelled.

What a killed process leaves in shared memory: joblib/joblib issue 198.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import secrets
import shutil
import signal
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest
import torch

from schedopt.cli import call
from schedopt.files.scratch import LOCK, PREFIX, scratch_folder
from schedopt.proof.reproduce import PUBLISHED, oracle_line
from schedopt.schedules import line
from schedopt.search import prepared
from schedopt.separators import save_safetensors
from schedopt.types import STEMS
from tests.proof.schedules import write_bench, write_schedule
from tests.separators.networks import demucs
from tests.studies import write_study

Capture = pytest.CaptureFixture[str]
FRESH = multiprocessing.get_context("forkserver")


@pytest.mark.parametrize("stems", [(*STEMS, "guitar"), ("guitar", *STEMS, "kazoo"), ("vocals", "drums")], ids=len)
def test_item_15_all_targets_of_a_model_with_other_stems(
    stems: tuple[str, ...], tmp_path: Path, capsys: Capture
) -> None:
    """The music has the usual four: those that it lacks are left out, and said to be, once."""
    save_safetensors(demucs(sources=list(stems)), tmp_path / "other.safetensors")
    path = write_study(
        tmp_path,
        tracks=2,
        study={"trials": 2},
        separator={"model": "other.safetensors"},
        refinement={"target": "all", "steps": 1},
    )
    code = call(["run", str(path)])
    printed = capsys.readouterr()
    assert "silent in all excerpts" not in printed.err
    assert "Traceback" not in printed.err
    if code == 0:
        (schedules,) = [json.loads(file.read_text())["schedules"] for file in tmp_path.glob("*.schedule.json")]
        assert set(schedules) <= {"all", *stems}
    else:  # stems that the model would have to sum up: one line that names the cure
        (said,) = [text for text in printed.err.splitlines() if text.startswith("schedopt: ")]
        assert "[data.stems]" in said or "data.stems" in said


@pytest.mark.parametrize(
    "source", ["folder:nowhere", "musdb:nowhere", "musdb:music", "folder:small.toml", "folder:empty"], ids=str
)
def test_item_20_the_data_is_looked_at_before_the_model(
    source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    path = write_study(tmp_path, tracks=1)
    (tmp_path / "empty").mkdir()

    def load(*_: Any, **__: Any) -> None:
        raise AssertionError("the model was loaded")

    monkeypatch.setattr(prepared, "load_separator", load)
    assert call(["run", str(path), "--set", f'data.source="{source}"']) == 1
    said = capsys.readouterr().err.splitlines()[-1]
    assert source.partition(":")[2] in said
    assert "the model was loaded" not in said


def hold(entered: Connection, place: Path) -> None:
    with scratch_folder(place, secrets.token_hex()) as folder:
        (folder / "excerpts.pt").write_bytes(bytes(1000))
        entered.send(str(folder))
        signal.pause()


def test_item_33_what_a_killed_run_left_is_removed_by_the_next(tmp_path: Path) -> None:
    receiver, sender = FRESH.Pipe()
    killed, alive = (FRESH.Process(target=hold, args=(sender, tmp_path)) for _ in range(2))
    left = []
    for process in (killed, alive):
        process.start()
        left.append(Path(receiver.recv()))
    assert killed.pid is not None
    os.kill(killed.pid, signal.SIGKILL)
    killed.join()
    theirs = tmp_path / "theirs"
    shutil.copytree(left[0], theirs)
    (left[0].parent / f"{PREFIX}link").symlink_to(theirs)
    with scratch_folder(tmp_path, "next"):
        assert not left[0].exists()
        assert left[1].exists()
        assert (theirs / LOCK).exists()
    alive.kill()
    alive.join()


@pytest.mark.parametrize("steps", [3, 10])
def test_item_36_the_oracle_row_is_the_sum_that_its_cell_makes(steps: int) -> None:
    """x_k + (1−b)·(Σ others + 2·mixture), up to its scale, is the oracle's input at β/(3−2β)."""
    target, others = torch.rand(2, 1000, dtype=torch.float64)
    for b, beta in zip(line(steps), oracle_line(steps), strict=True):
        cell = target + (1 - b) * (others + 2 * (target + others))
        ours = target + (1 - beta) * others
        torch.testing.assert_close(cell / cell.norm(), ours / ours.norm())


def test_item_38_every_published_row_is_there() -> None:
    """Of all four stems, and the oracle's; what they are at best stands in the report."""
    assert set(PUBLISHED) == {*(("remix", stem) for stem in STEMS), ("oracle", "vocals")}
    gains = {row: max(values) - values[0] for row, values in PUBLISHED.items() if row[0] == "remix"}
    expected = {"vocals": 0.041, "drums": 0.0, "bass": 0.253, "other": 0.037}
    assert {stem: round(gain, 3) for (_, stem), gain in gains.items()} == expected


@pytest.mark.parametrize("tracks", [5, 7])
def test_item_39_where_few_tracks_make_a_verdict_doubtful_it_is_said(
    tracks: int, tmp_path: Path, capsys: Capture
) -> None:
    path = write_schedule(write_bench(tmp_path, tracks), "a", bass={"betas": [0.5]})
    assert call(["benchmark", str(path), "--against", "none"]) == 0
    assert ("verdicts from fewer than 50 tracks" in capsys.readouterr().out) == (tracks >= 6)

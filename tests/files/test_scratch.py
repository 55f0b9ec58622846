"""The hidden folder of a song: private, unforeseeable, cleared without following links."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from schedopt.errors import DataError
from schedopt.files.scratch import HEADER, JOB, LOCK, scratch_folder


def left_behind(folder: Path, name: str = ".schedopt-dead", job: str = "j") -> Path:
    """What a killed run leaves."""
    scratch = folder / name
    scratch.mkdir(mode=0o700, parents=True)
    (scratch / LOCK).touch()
    (scratch / JOB).write_text(HEADER + job)
    (scratch / "0.wav").write_bytes(bytes(8))
    return scratch


def test_it_is_private_and_gone_afterwards(tmp_path: Path) -> None:
    with scratch_folder(tmp_path / "out", "j") as one, scratch_folder(tmp_path / "out", "k") as other:
        assert one.name != other.name
        assert stat.S_IMODE(one.stat().st_mode) == 0o700
        (one / "0.wav").touch()
    assert list((tmp_path / "out").iterdir()) == []


def test_one_job_is_done_by_one_process(tmp_path: Path) -> None:
    with scratch_folder(tmp_path, "j") as scratch:
        with pytest.raises(DataError, match="another process"), scratch_folder(tmp_path, "j"):
            raise AssertionError("it was made twice")
        assert (scratch / JOB).exists()


def test_what_a_killed_run_left_is_removed(tmp_path: Path) -> None:
    left_behind(tmp_path)
    with scratch_folder(tmp_path, "other"):
        assert not (tmp_path / ".schedopt-dead").exists()


def test_files_of_others_and_links_stay(tmp_path: Path) -> None:
    music = left_behind(tmp_path / "music", "mine")
    (music / "notes.txt").write_text("mine")
    out = tmp_path / "out"
    kept = left_behind(out)
    (kept / "notes.txt").write_text("mine")
    (out / ".schedopt-link").symlink_to(music)
    (out / ".schedopt-mine").mkdir()
    (out / ".schedopt-mine" / "a.wav").touch()
    shared = left_behind(out, ".schedopt-shared")
    shared.chmod(0o777)
    linked = left_behind(out, ".schedopt-linked")
    (linked / LOCK).unlink()
    (linked / LOCK).symlink_to(music / "notes.txt")
    with scratch_folder(out, "j"):
        pass
    assert sorted(path.name for path in music.iterdir()) == sorted([LOCK, JOB, "0.wav", "notes.txt"])
    assert (music / "notes.txt").read_text() == "mine"
    assert [path.name for path in kept.iterdir()] == ["notes.txt"]
    assert (out / ".schedopt-mine" / "a.wav").exists()
    assert len(list(shared.iterdir())) == len(list(linked.iterdir())) == 3


def test_a_folder_of_another_user_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scratch = left_behind(tmp_path)
    monkeypatch.setattr(os, "getuid", lambda: scratch.stat().st_uid + 1)
    with scratch_folder(tmp_path, "j"):
        pass
    assert (scratch / "0.wav").exists()

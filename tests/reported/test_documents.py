"""Issue 13, items 26, 29, 31 and 34: documents that are bombs, pipes, floods, or begin with a byte order mark.

Bombs of YAML aliases are the "billion laughs" of PyYAML (yaml/pyyaml issue 235); a byte order mark is what Windows'
Notepad writes before UTF-8 (uiri/toml issue 159).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from schedopt.cli import call
from schedopt.errors import LONGEST
from schedopt.separators import load_separator, save_safetensors
from tests.files.test_schedule_file import MINIMAL
from tests.models import tiny_hdemucs

Capture = pytest.CaptureFixture[str]

SECONDS = 10
"""Of a refusal, the import of torch included; the cases took minutes."""


def refused(argv: list[str], capsys: Capture) -> str:
    """The one line with which a command ends."""
    began = time.monotonic()
    assert call(argv) == 1
    assert time.monotonic() - began < SECONDS
    printed = capsys.readouterr()
    lines = [line for line in printed.err.splitlines() if not line.startswith("note: ")]
    assert (printed.out, len(lines)) == ("", 1)
    assert len(lines[0]) < LONGEST + 100
    return lines[0]


def nested(levels: int) -> str:
    """A bag whose list of models is ten times ten times … names, by aliases."""
    rows = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    rows += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, levels)]
    return "\n".join([*rows, f"models: [*a{levels - 1}]"])


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (nested(7), "it holds an alias"),
        (nested(40), "it holds an alias"),
        ("base: &b {x: 1}\nmodels:\n  <<: *b", "it holds an alias"),
        ("models: [" + "x" * 60_000 + "]", "is not a plain name"),
        ("models: [[" + ", ".join(["x"] * 10_000) + "]]", "is not a plain name"),
        ("models: " + "[" * 5000, "not a readable YAML file"),
        ("models: [a]\nsegment: 1" + "0" * 5000, "not a readable YAML file"),
        ("models: [a]\nsegment: 2026-99-99", "not a readable YAML file"),
    ],
    ids=["aliases", "deep aliases", "merge", "long name", "long list", "nesting", "digits", "date"],
)
def test_item_26_a_bag_file_that_is_a_bomb(tmp_path: Path, content: str, says: str, capsys: Capture) -> None:
    (tmp_path / "bag.yaml").write_text(content)
    study = tmp_path / "s.toml"
    study.write_text(f'[study]\nname = "s"\nstorage = "sqlite:///{tmp_path}/s.db"\n[separator]\nmodel = "."\n')
    assert says in refused(["run", str(study)], capsys)


def test_item_26_a_plain_bag_file_is_still_read(tmp_path: Path) -> None:
    save_safetensors(tiny_hdemucs(), tmp_path / "abc.safetensors")
    (tmp_path / "bag.yaml").write_bytes(b"\xef\xbb\xbfmodels: [abc]\n")
    assert load_separator(str(tmp_path), device="cpu").stems


@pytest.mark.parametrize("command", ["run", "dashboard"])
def test_item_29_a_study_file_that_is_a_pipe(command: str, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.toml")
    argv = [sys.executable, "-m", "schedopt", command, str(tmp_path / "pipe.toml")]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines()[-1].endswith("pipe.toml: is not a regular file; name a study file")


@pytest.mark.parametrize("command", ["benchmark", "separate"])
def test_item_29_a_schedule_file_that_is_a_pipe(command: str, tmp_path: Path, capsys: Capture) -> None:
    os.mkfifo(tmp_path / "pipe")
    path = str(tmp_path / "pipe")
    argv = ["benchmark", path] if command == "benchmark" else ["separate", "a.wav", "--schedule", path]
    assert "pipe: is not a regular file" in refused(argv, capsys)


def test_item_29_a_study_file_of_a_million_keys(tmp_path: Path, capsys: Capture) -> None:
    path = tmp_path / "s.toml"
    path.write_text("".join(f"k{n} = 1\n" for n in range(10**6)))
    assert "larger than 64 KiB, so it is no study file" in refused(["status", str(path)], capsys)
    path.write_text("".join(f"k{n} = 1\n" for n in range(5000)) + '[study]\nname = "s"\n')
    assert "unknown key k0" in refused(["status", str(path)], capsys)


@pytest.mark.parametrize("text", ["[{long}]", '[study]\nname = "{long}"', '[study]\n"{long}" = 1', "{long}"])
def test_item_29_long_values_are_cut_where_they_are_quoted(text: str, tmp_path: Path, capsys: Capture) -> None:
    path = tmp_path / "s.toml"
    path.write_text(text.format(long="x" * 60_000))
    refused(["status", str(path)], capsys)
    path.write_text('[study]\nname = "s"\n')
    refused(["status", str(path), "--set", f"study.{'x' * 100_000}=1"], capsys)
    refused(["status", str(path), "--storage", "x" * 100_000], capsys)
    refused(["status", "x" * 100_000], capsys)


def test_item_29_long_words_of_wrong_usage_are_cut(capsys: Capture) -> None:
    long = "x" * 100_000
    for argv in (["run", "s.toml", "--trials", long], [long], ["run", f"--{long}"], ["sweep", "s", "--gains", long]):
        assert call(argv) == 2
        assert len(capsys.readouterr().err) < LONGEST + 500


def test_item_31_files_of_results_follow_the_umask(tmp_path: Path) -> None:
    study = tmp_path / "s.toml"
    settings = "[data]\ntracks = 1\nexcerpt = 1.0\n[refinement]\nsteps = 1\n[store]\ndisk = 0\n"
    study.write_text(f'[study]\nname = "s"\ntrials = 2\nstorage = "sqlite:///{tmp_path}/s.db"\n{settings}')
    before = os.umask(0o077)
    try:
        for argv in (
            ["run", str(study)],
            ["export", str(study), "--format", "csv", "-o", str(tmp_path / "s.csv")],
            ["report", str(study), "--audio", "0", "--figures", str(tmp_path / "figures")],
        ):
            assert call(argv) == 0
    finally:
        os.umask(before)
    made = [tmp_path / name for name in ("s.schedule.json", "s.csv", "s.report.html")]
    made += list((tmp_path / "figures").iterdir())
    assert len(made) > 3
    assert {path.stat().st_mode & 0o777 for path in made} == {0o600}


def test_item_34_a_byte_order_mark_is_accepted_everywhere(tmp_path: Path, capsys: Capture) -> None:
    study = tmp_path / "s.toml"
    study.write_bytes(b"\xef\xbb\xbf" + f'[study]\nname = "s"\nstorage = "sqlite:///{tmp_path}/s.db"\n'.encode())
    assert "s.db" in refused(["status", str(study)], capsys)
    for name in ("a.schedule.json", "b.json"):
        document = {**MINIMAL, "kind": "schedopt benchmark"} if name == "b.json" else MINIMAL
        (tmp_path / name).write_bytes(b"\xef\xbb\xbf" + json.dumps(document).encode())
    assert "no-song.wav" in refused(
        ["separate", str(tmp_path / "no-song.wav"), "--schedule", str(tmp_path / "a.schedule.json")], capsys
    )
    assert "this schedopt reads format 2" in refused(["report", str(tmp_path / "b.json")], capsys)

"""Packages that only some need: without them the rest works, and one line names the extra; and the citation file."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import schedopt
from tests.studies import write_study

ROOT = Path(__file__).parents[1]
BLOCKED = """
import sys
sys.modules.update(dict.fromkeys({packages!r}))
from schedopt.cli import call
sys.exit(call(sys.argv[1:]))
"""
OPTIONAL = ("plotly", "optuna_dashboard", "kaleido", "distributed", "psycopg")


def without(packages: tuple[str, ...], *argv: str) -> subprocess.CompletedProcess[str]:
    """A command where `packages` cannot be imported."""
    command = [sys.executable, "-c", BLOCKED.format(packages=packages), *argv]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_a_study_runs_without_any_of_them(tmp_path: Path) -> None:
    path = write_study(tmp_path, tracks=2, study={"trials": 2}, refinement={"steps": 1})
    for argv in (["run", str(path)], ["status", str(path)], ["export", str(path)], ["--help"], ["run", "--help"]):
        done = without(OPTIONAL, *argv)
        assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("package", "argv", "extra"),
    [
        ("plotly", ["report", "{study}"], "report"),
        ("plotly", ["dashboard", "{study}"], "report"),
        ("plotly", ["sweep", "{study}", "--figures", "{folder}"], "report"),
        ("optuna_dashboard", ["dashboard", "{study}"], "dashboard"),
        ("distributed", ["run", "{study}", "--dask", "tcp://127.0.0.1:1"], "dask"),
        ("psycopg", ["run", "{study}", "--storage", "postgresql+psycopg://me@127.0.0.1:1/db"], "postgresql"),
        ("kaleido", ["report", "{study}", "--figures", "{folder}", "--figure-format", "png"], "images"),
    ],
)
def test_one_line_names_the_extra(package: str, argv: list[str], extra: str, tmp_path: Path) -> None:
    path = write_study(tmp_path, tracks=1, study={"trials": 1}, refinement={"steps": 1})
    done = without((package,), *(word.format(study=path, folder=tmp_path / "figures") for word in argv))
    lines = [line for line in done.stderr.splitlines() if not line.startswith(("note: ", "row "))]
    assert (done.returncode, len(lines)) == (1, 1), done.stderr
    assert f"pip install '.[{extra}]'" in lines[0]
    settings = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert re.search(rf'^{extra} = \[.*"{package.replace("_", "-")}', settings, re.MULTILINE)


def test_the_citation_names_the_paper_and_demucs() -> None:
    text = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    cited = yaml.safe_load(text)
    assert (cited["cff-version"], cited["version"], cited["license"]) == ("1.2.0", schedopt.__version__, "MIT")
    paper, *demucs = cited["references"]
    assert paper["title"] == "Progressive Inference for Music Demixing"
    assert [author["family-names"] for author in paper["authors"]] == ["Magalini", "Manattini", "Marri"]
    assert {one.get("url", "") for one in demucs} >= {"https://github.com/adefossez/demucs"}

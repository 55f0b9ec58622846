"""Packages that only some need: without them the rest works, and one line names the extra; and the citation file."""

from __future__ import annotations

import itertools
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
import tomli
import yaml
from packaging.requirements import Requirement

import schedopt
from tests.studies import write_study

ROOT = Path(__file__).parents[1]
BLOCKED = """
import sys
sys.modules.update(dict.fromkeys({packages!r}))
from schedopt.cli import call
sys.exit(max(call(command.split()) for command in sys.argv[1:]))
"""
OPTIONAL = ("plotly", "optuna_dashboard", "kaleido", "distributed", "psycopg", "optunahub")


def without(packages: tuple[str, ...], *commands: str) -> subprocess.CompletedProcess[str]:
    """Commands where `packages` cannot be imported, in one process."""
    command = [sys.executable, "-c", BLOCKED.format(packages=packages), *commands]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_a_study_runs_without_any_of_them(tmp_path: Path) -> None:
    path = write_study(tmp_path, tracks=2, study={"trials": 2}, refinement={"steps": 1})
    done = without(OPTIONAL, f"run {path}", f"status {path}", f"export {path}", "--help", "run --help")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("package", "command", "extra"),
    [
        ("plotly", "report {study}", "report"),
        ("plotly", "dashboard {study}", "report"),
        ("plotly", "sweep {study} --figures {folder}", "report"),
        ("optuna_dashboard", "dashboard {study}", "dashboard"),
        ("distributed", "run {study} --dask tcp://127.0.0.1:1", "dask"),
        ("psycopg", "run {study} --storage postgresql+psycopg://me@127.0.0.1:1/db", "postgresql"),
        ("kaleido", "report {study} --figures {folder} --figure-format png", "images"),
    ],
)
def test_one_line_names_the_extra(package: str, command: str, extra: str, tmp_path: Path) -> None:
    path = write_study(tmp_path, tracks=1, study={"trials": 1}, refinement={"steps": 1})
    done = without((package,), command.format(study=path, folder=tmp_path / "figures"))
    lines = [line for line in done.stderr.splitlines() if not line.startswith(("note: ", "row "))]
    assert (done.returncode, len(lines)) == (1, 1), done.stderr
    assert f"pip install '.[{extra}]'" in lines[0]
    settings = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert re.search(rf'^{extra} = \[.*"{package.replace("_", "-")}', settings, re.MULTILINE)


def direct_dependencies() -> set[str]:
    project = tomli.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    listed = [*project["dependencies"], *itertools.chain(*project["optional-dependencies"].values())]
    return {Requirement(line).name for line in listed} - {"schedopt"}


def test_every_package_that_is_named_has_the_version_that_the_checks_run_on() -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pinned = {one.name: one for one in map(Requirement, (line for line in lines if not line.startswith("#")))}
    assert pinned.keys() == direct_dependencies()
    assert all(str(one.specifier).startswith("==") for one in pinned.values())
    other = {
        f"{name} is {version(name)}, not {one.specifier}"
        for name, one in pinned.items()
        if (one.marker is None or one.marker.evaluate()) and version(name).partition("+")[0] not in one.specifier
    }
    assert not other


def test_the_version_has_one_source_and_a_section_in_the_changelog() -> None:
    settings = tomli.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert "version" not in settings["project"]
    assert settings["tool"]["setuptools"]["dynamic"]["version"] == {"attr": "schedopt.__version__"}
    headings = re.findall(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert headings[0] == schedopt.__version__


def test_the_citation_names_the_paper_and_demucs() -> None:
    text = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    cited = yaml.safe_load(text)
    assert (cited["cff-version"], cited["version"], cited["license"]) == ("1.2.0", schedopt.__version__, "MIT")
    paper, *demucs = cited["references"]
    assert paper["title"] == "Progressive Inference for Music Demixing"
    assert [author["family-names"] for author in paper["authors"]] == ["Magalini", "Manattini", "Marri"]
    assert {one.get("url", "") for one in demucs} >= {"https://github.com/adefossez/demucs"}

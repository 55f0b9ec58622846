"""Adding a family and a rule, done exactly as `schedopt/README.md` says, in a copy of the package."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.studies import write_study

ROOT = Path(__file__).parents[1]
LONGEST = 30
"""Lines that a new family or rule may take."""


def block(name: str) -> str:
    """The code block of this name in the README."""
    text = (ROOT / "schedopt" / "README.md").read_text(encoding="utf-8")
    (found,) = re.findall(rf"^```python {name}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    return str(found)


def add(path: Path, table: str, what: str) -> None:
    """The README's words: a function above the table, a line into it."""
    text = path.read_text(encoding="utf-8")
    (head,) = re.findall(rf"^{table}: .*{{$", text, re.MULTILINE)
    path.write_text(text.replace(head, f"{block(what)}\n\n{head}\n{block(f'{what} line').rstrip()}"), encoding="utf-8")


@pytest.fixture(scope="module")
def extended(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of package and tests in which the family `power` and the rule `boost` were added."""
    tree = tmp_path_factory.mktemp("tree")
    for folder in ("schedopt", "tests"):
        shutil.copytree(ROOT / folder, tree / folder, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tree)
    add(tree / "schedopt" / "schedules.py", "FAMILIES", "family")
    add(tree / "schedopt" / "rules.py", "RULES", "rule")
    return tree


def python(tree: Path, *arguments: str) -> str:
    environment = {**os.environ, "PYTHONPATH": str(tree)}
    done = subprocess.run(
        [sys.executable, *arguments], cwd=tree, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_family_and_a_rule_are_short() -> None:
    for name in ("family", "rule"):
        assert len((block(name) + block(f"{name} line")).splitlines()) < LONGEST


def test_the_new_family_and_rule_are_searched_and_exported(extended: Path) -> None:
    refinement = {"rule": "boost", "steps": 2}
    study = write_study(extended, tracks=1, schedule={"family": "power"}, refinement=refinement, study={"trials": 3})
    python(extended, "-m", "schedopt", "run", str(study))
    entry = json.loads((extended / "small.schedule.json").read_text())["schedules"]["vocals"]
    assert (entry["rule"], entry["family"], set(entry["params"])) == ("boost", "power", {"peak", "exponent"})


def test_the_contract_tests_run_over_them(extended: Path) -> None:
    tests = ["tests/test_schedules.py", "tests/test_rules.py"]
    told = python(extended, "-m", "pytest", "-n", "0", "-v", *tests, "-k", "every and (power or boost)")
    assert "test_every_family_holds_the_baseline[power-False] PASSED" in told
    assert re.search(r"test_every_rule_keeps_shape_and_inputs\[.*boost.*\] PASSED", told)

"""What the documentation says works: its commands, study files, snippets, links, and the errors that it explains.

Every `schedopt …` and `python -m …` in a README is run, in code blocks and in the text, in a copy of `studies/` with
small models and short music. A command that cannot be run here stands in `NOT_RUN` with the reason; any other fails.
"""

from __future__ import annotations

import re
import runpy
import shlex
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile

from benchmarks.tables import generated
from schedopt.cli import COMMANDS, call
from schedopt.config import load_config
from tests.models import RATE
from tests.proof.schedules import write_bench
from tests.studies import write_study, write_tracks

ROOT = Path(__file__).parents[1]
DOCUMENTS = sorted(
    path.relative_to(ROOT).as_posix()
    for path in (*ROOT.glob("*.md"), *ROOT.glob("[!.]*/*.md"), *ROOT.glob("schedopt/*/*.md"))
)

NOT_RUN = {
    r"python3 -m venv": "makes an environment; .ci/run does it with the README's very words",
    r"pip install": "as above",
    r"python3 tests/system_parts\.py": "as above",
    r"(SCHEDOPT_FUZZ=\d+ )?python -m pytest": "this is it",
    r"make": "the Makefile's targets are the commands that are run here",
    r"schedopt dashboard STUDY": "serves until Ctrl-C; tests/view/dashboard/test_server.py runs it",
    r"schedopt run .*--dask": "needs a Dask cluster; tests/workers/test_dask.py runs it",
    r"srun|sbatch": "needs Slurm",
    r"kubectl|helm": "needs Kubernetes",
    r"docker": "needs Docker",
    r"python -m tests\.tour": "tests/test_notebook.py runs a short version of it",
}
"""Beginnings of commands (regular expressions) that are not run here, and why."""

WORDS = {
    "URL": "sqlite:///studies.db",
    "postgresql+psycopg://me@db.example.org/studies": "sqlite:///studies.db",
    "FILE": "small.schedule.json",
    "FILE...": "small.schedule.json",
    "REFERENCE_DIR": "music/held-out",
    "ESTIMATE_DIR": "music/held-out",
    "STUDY.toml": "small.toml",
    "STUDY": "small",
    "DIR": "listen",
    "RESULT.json": "result.json",
    "SONG": "song.wav",
}
"""Placeholders of the documentation, and what stands for them here; an output FILE is new.json."""

QUICK = ["--set", "data.tracks=1", "--set", "data.excerpt=0.5", "--set", "refinement.steps=1"]
DEMO = ["--set", "data.source=demo", "--set", "separator.model=demo"]

LESS = {
    r"run small\.toml": ["--trials", "3"],
    r"run studies/demo": ["--trials", "2", *QUICK],
    r"(run|status) studies/musdb18": [*DEMO, *QUICK, "--set", "refinement.target=vocals"],
    r"run studies/musdb18": ["--trials", "1"],
    r"reproduce": [*DEMO, *QUICK],
    r"benchmark": ["--tracks", "1", "--excerpt", "0.3"],
    r"demo": ["--tracks", "1"],
}
"""Beginnings of schedopt's commands, and what is added so that they take a second instead of hours."""

Command = tuple[str, ...]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of `studies/`, and small.toml, whose study has run."""
    folder = tmp_path_factory.mktemp("tree")
    shutil.copytree(ROOT / "studies", folder / "studies", ignore=shutil.ignore_patterns("*.db*", "*.json", "cache"))
    write_bench(folder, tracks=2)
    write_tracks(folder / "music", 2)
    study = write_study(folder, study={"trials": 2}, refinement={"steps": 1})
    soundfile.write(folder / "song.wav", 0.1 * np.random.default_rng(0).standard_normal((RATE // 2, 2)), RATE)
    assert call(["run", str(study)]) == 0
    bench = ["benchmark", str(folder / "small.schedule.json"), "--against", "none", "--tracks", "1", "--excerpt", "0.3"]
    assert call([*bench, "-o", str(folder / "result.json")]) == 0
    return folder


def blocks(text: str, language: str) -> list[str]:
    """The fenced code blocks of one language, indented ones too."""
    found = re.findall(rf"^( *)```{language}\n(.*?)^\1```", text, re.MULTILINE | re.DOTALL)
    return [re.sub(rf"^{indent}", "", body, flags=re.MULTILINE) for indent, body in found]


def commands(text: str) -> Iterator[Command]:
    """The commands of a document, in its order: blocks of shell first, then those within sentences."""
    for block in blocks(text, "sh"):
        yield from _shell(block)
    prose = re.sub(r"^ *```.*?^ *```", "", text, flags=re.MULTILINE | re.DOTALL)
    for span in re.findall(r"(?<!`)`([^`\n]+)`(?!`)", prose):
        if re.match(r"([A-Z_]+=\S+ )*(schedopt|python -m|make) ", span):
            yield from _shell(span.replace("…", ""))


def _shell(block: str) -> Iterator[Command]:
    waiting = ""
    for line in block.splitlines():
        waiting += line.rstrip().removesuffix("\\") + "\n"
        if line.rstrip().endswith(("\\", "|")):
            continue
        try:
            words = shlex.split(waiting, comments=True)
        except ValueError:  # a quotation that goes on
            continue
        waiting = ""
        while "&&" in words:
            yield tuple(words[: words.index("&&")])
            words = words[words.index("&&") + 1 :]
        if words:
            yield tuple(words)
    assert not waiting.strip(), waiting


def _here(command: Command) -> Command:
    """A command with the placeholders replaced."""
    words = [WORDS.get(word, word) for word in command]
    words[0] = words[0].removeprefix(".venv/bin/")
    return tuple(
        "new.json" if before in ("-o", "--output") and words[1] != "separate" else word
        for before, word in zip(("", *words[:-1]), words, strict=True)
    )


def _is_left_out(command: Command) -> bool:
    line = " ".join(command).replace(".venv/bin/", "")
    return any(re.match(pattern, line) for pattern in NOT_RUN)


def _run(command: Command, monkeypatch: pytest.MonkeyPatch) -> int | str | None:
    """Exit code of a command, run in this process."""
    if command[0] == "schedopt" and len(command) == 2:
        # Only the command's name, in a sentence.
        return call([command[1], "--help"])
    if command[0] == "schedopt":
        rest = " ".join(command[1:])
        less = [word for pattern, words in LESS.items() if re.match(pattern, rest) for word in words]
        return call([*command[1:], *less])
    assert command[:2] == ("python", "-m"), f"neither run nor listed in NOT_RUN: {' '.join(command)}"
    # Benchmarks take minutes; that they are there and answer is what the documentation promises.
    monkeypatch.setattr(sys, "argv", [*command[2:], "--help"])
    # A module that a test has imported is not run under another name.
    monkeypatch.delitem(sys.modules, command[2], raising=False)
    with pytest.raises(SystemExit) as ended:
        runpy.run_module(command[2], run_name="__main__")
    return ended.value.code


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_command_runs(
    document: str, place: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(place)
    monkeypatch.syspath_prepend(str(ROOT))
    seen: set[Command] = set()
    for command in commands((ROOT / document).read_text(encoding="utf-8")):
        here = _here(command)
        if _is_left_out(command) or here in seen:
            continue
        seen.add(here)
        # Each command writes its own kind of file, and replaces no other.
        (place / "new.json").unlink(missing_ok=True)
        code = _run(here, monkeypatch)
        assert not code, f"{' '.join(command)}\n{capfd.readouterr().err}"


def test_a_command_that_nobody_knows_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    text = (
        "```sh\n# a comment\nmake x && frobnicate --all \\\n  x\n```\n`schedopt run STUDY.toml`, `python -m pytest`\n"
    )
    found = list(commands(text))
    assert found == [
        ("make", "x"),
        ("frobnicate", "--all", "x"),
        ("schedopt", "run", "STUDY.toml"),
        ("python", "-m", "pytest"),
    ]
    assert [_is_left_out(command) for command in found] == [True, False, False, True]
    with pytest.raises(AssertionError, match="neither run nor listed in NOT_RUN: frobnicate"):
        _run(found[1], monkeypatch)


def test_every_reason_is_needed() -> None:
    lines = [
        " ".join(command).replace(".venv/bin/", "")
        for document in DOCUMENTS
        for command in commands((ROOT / document).read_text(encoding="utf-8"))
    ]
    idle = [pattern for pattern in NOT_RUN if not any(re.match(pattern, line) for line in lines)]
    assert not idle, f"no document has such a command any more: {idle}"


def test_the_readme_names_every_command() -> None:
    named = {command[1] for command in commands((ROOT / "README.md").read_text(encoding="utf-8")) if len(command) > 1}
    assert set(COMMANDS) <= named


def test_study_files_in_the_text_are_valid(tmp_path: Path) -> None:
    texts = [text for document in DOCUMENTS for text in blocks((ROOT / document).read_text(encoding="utf-8"), "toml")]
    assert texts
    for text in texts:
        (tmp_path / "study.toml").write_text(text, encoding="utf-8")
        load_config(tmp_path / "study.toml")


def test_every_shipped_study_is_in_the_table() -> None:
    table = (ROOT / "studies" / "README.md").read_text(encoding="utf-8")
    assert all(f"| `{path.name}` |" in table for path in (ROOT / "studies").glob("*.toml"))


@pytest.mark.parametrize("document", DOCUMENTS)
def test_python_in_the_text_runs(document: str, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    for code in blocks((ROOT / document).read_text(encoding="utf-8"), "python"):
        exec(compile(code.replace("studies/demo-vocals-linear.toml", "small.toml"), document, "exec"), {})


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_lead_somewhere(document: str) -> None:
    path = ROOT / document
    for target in re.findall(r"\]\(([^)#\s]+)", path.read_text(encoding="utf-8")):
        assert "://" in target or (path.parent / target).exists(), target


def test_the_errors_that_are_explained_are_said() -> None:
    """Each message of the FAQ stands in the source, with … for what changes."""
    source = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "schedopt").rglob("*.py"))
    source = re.sub(r'"\s*\n\s*f?"', "", source)
    quoted = re.findall(r"^\*\*`(.+?)`\*\*", (ROOT / "studies" / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert quoted
    for message in quoted:
        pattern = r"[^\n]{0,90}?".join(re.escape(part) for part in message.strip("… ").split("…"))
        assert re.search(pattern, source), message


def test_the_tables_of_the_benchmarks_are_those_of_their_results() -> None:
    text = (ROOT / "benchmarks" / "README.md").read_text(encoding="utf-8")
    assert "<!-- result: study -->" in text
    assert generated(text) == text, "run: python -m benchmarks.tables"

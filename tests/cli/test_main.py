"""The command as such: help, exit codes, one line a mistake."""

from __future__ import annotations

import os
import re
import resource
import subprocess
import sys
from pathlib import Path

import optuna
import pytest

from schedopt.cli import COMMANDS, call, main
from tests.servers import environment
from tests.studies import write_study

Capture = pytest.CaptureFixture[str]


def test_help_is_quick_and_lists_every_command() -> None:
    command = [sys.executable, "-X", "importtime", "-m", "schedopt", "--help"]
    shown = subprocess.run(command, capture_output=True, text=True, check=True)
    imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in shown.stderr.splitlines()}
    assert "click" in imported
    # Each of these takes longer than all the rest, which takes a tenth of a second.
    assert not imported & {"torch", "optuna", "scipy", "pydantic", "numpy", "plotly", "demucs", "rich", "sqlalchemy"}
    assert all(f"  {name} " in shown.stdout for name in COMMANDS)


def test_a_run_tells_at_once_that_it_begins(tmp_path: Path) -> None:
    path = write_study(tmp_path, tracks=1, study={"trials": 1}, refinement={"steps": 1})
    argv = [sys.executable, "-m", "schedopt", "run", str(path)]
    first = "import sys, schedopt.cli as c; c.LazyGroup.get_command = lambda *a: sys.exit('torch' in sys.modules)"
    shown = subprocess.run(
        [sys.executable, "-c", f"{first}; c.main()", "run", "x"], capture_output=True, text=True, check=True
    )
    assert shown.stderr == "note: schedopt run: loading PyTorch\n"  # torch was not loaded before it
    done = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=120)
    assert done.stderr.splitlines()[0] == "note: schedopt run: loading PyTorch"
    done = subprocess.run([*argv, "--quiet"], capture_output=True, text=True, check=True, timeout=120)
    assert done.stderr == ""


INTERRUPTED = """
import schedopt.cli as cli

def main(**_):
    exec("raise KeyboardInterrupt")

cli.schedopt.main = main
cli.main(["status"])
"""


def test_an_interrupt_that_comes_while_a_string_is_run_as_code_is_130(tmp_path: Path) -> None:
    """Not the death by a signal that Python makes of it, which a shell shows as 130 too, but other programs do not."""
    (tmp_path / "interrupted.py").write_text(INTERRUPTED)
    command = [sys.executable, "-m", "interrupted"]
    done = subprocess.run(command, cwd=tmp_path, env=environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 130
    assert done.stderr.splitlines()[-1] == "schedopt: interrupted; the same command carries on"


def test_a_run_begins_without_what_its_first_pass_does_not_need() -> None:
    """scipy.stats takes half a second, the other two a quarter; samplers, pruners and proofs look at them later."""
    run = "schedopt.cli.study, schedopt.workers.run, schedopt.search.prepared, schedopt.separators.demucs.load"
    program = f"import sys, {run}; print(*sys.modules)"
    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "schedopt.search.surface" in shown.stdout.split()
    assert not {"scipy.stats", "scipy.special", "scipy.linalg"} & {*shown.stdout.split()}


@pytest.mark.parametrize("name", list(COMMANDS))
def test_at_a_terminal_every_command_tells_at_once_that_it_begins(name: str) -> None:
    ours, theirs = os.openpty()
    program = "import sys, schedopt.cli as c; c.LazyGroup.get_command = lambda *a: sys.exit('torch' in sys.modules)"
    command = [sys.executable, "-c", f"{program}; c.main()", name]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=theirs)
    assert os.read(ours, 1000).decode().strip() == f"note: schedopt {name}: loading PyTorch"
    os.close(ours)
    os.close(theirs)


@pytest.mark.parametrize("name", list(COMMANDS))
def test_every_command_has_help(name: str, capsys: Capture) -> None:
    assert call([name, "--help"]) == 0
    assert "Usage: schedopt" in capsys.readouterr().out


def test_run_help_documents_the_study_file(capsys: Capture) -> None:
    assert call(["run", "--help"]) == 0
    out = capsys.readouterr().out
    assert "[refinement]" in out
    assert "choose_steps = true" in out


@pytest.mark.parametrize("argv", [["runn"], ["run"], ["run", "x.toml", "--trials", "0"], ["status"], ["run", "--nope"]])
def test_wrong_usage_is_2(argv: list[str], capsys: Capture) -> None:
    assert call(argv) == 2
    assert "Usage" in capsys.readouterr().err


BAD: list[tuple[dict[str, dict[str, object]], str]] = [
    ({"separator": {"model": "htdemucz"}}, "htdemucz"),
    ({"separator": {"model": "nothing.safetensors"}}, "nothing.safetensors"),
    ({"separator": {"model": "htdemucs"}}, "htdemucs"),
    ({"separator": {"device": "cuda:7"}}, "cuda"),
    ({"data": {"source": "folder:nowhere"}}, "nowhere"),
    ({"data": {"source": "mus:x"}}, "mus:x"),
    ({"data": {"excerpt": 30.0}}, "30"),
    ({"study": {"storage": "sqlite:////proc/none/s.db"}}, "/proc/none/s.db"),
    ({"study": {"storage": "nonsense"}}, "storage"),
    ({"refinement": {"rule": "remxi"}}, "did you mean remix?"),
]


@pytest.mark.parametrize(("sections", "says"), BAD)
def test_a_users_mistake_is_one_line_and_1(
    sections: dict[str, dict[str, object]], says: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = write_study(tmp_path, tracks=1, **sections)  # type: ignore[arg-type]
    assert call(["run", str(path)]) == 1
    errors = [line for line in capfd.readouterr().err.splitlines() if not line.startswith("note: ")]
    assert len(errors) == 1, errors
    assert errors[0].startswith("schedopt: ")
    assert says in errors[0]


@pytest.mark.parametrize(
    "override",
    [
        "storage=postgresql://me:s3cret@h/db",
        "study.storage.x=postgresql://me:s3@cret@h/db",
        "data.source=x://u:s3cret@h",
    ],
)
def test_no_password_is_echoed(override: str, tmp_path: Path, capsys: Capture) -> None:
    path = write_study(tmp_path, tracks=1)
    assert call(["run", str(path), "--set", override]) == 1
    assert "cret" not in capsys.readouterr().err


def test_a_study_of_another_program_is_one_line(tmp_path: Path, capsys: Capture) -> None:
    path = write_study(tmp_path, tracks=1)
    optuna.create_study(study_name="small", storage=f"sqlite:///{tmp_path}/studies.db").add_trial(
        optuna.trial.create_trial(value=1.0)
    )
    for command in (["export"], ["run"]):
        assert call([*command, str(path)]) == 1
        assert "not made by schedopt" in capsys.readouterr().err


def test_an_output_that_is_no_file_is_left_alone(tmp_path: Path, capsys: Capture) -> None:
    path = write_study(tmp_path, tracks=1, study={"trials": 1}, refinement={"steps": 1})
    assert call(["run", str(path)]) == 0
    assert call(["export", str(path), "-o", "/dev/full"]) == 1
    assert "not a regular file" in capsys.readouterr().err


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shells_complete_commands_and_options(
    shell: str, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the documentation says: the script, and what it asks for."""

    def answer(**variables: str) -> str:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        with pytest.raises(SystemExit) as ended:
            main()
        assert ended.value.code == 0
        return capfd.readouterr().out

    assert f"_SCHEDOPT_COMPLETE={shell}_complete" in answer(_SCHEDOPT_COMPLETE=f"{shell}_source")
    for words, found in (("schedopt re", {"report", "reproduce"}), ("schedopt run --dry", {"--dry-run"})):
        incomplete = words.split()[-1]
        place = incomplete if shell == "fish" else str(len(words.split()) - 1)
        shown = answer(_SCHEDOPT_COMPLETE=f"{shell}_complete", COMP_WORDS=words, COMP_CWORD=place)
        assert {word for word in re.findall(r"[\w-]+", shown) if word.startswith(incomplete)} >= found


def test_help_takes_less_than_three_tenths_of_a_second_of_processor_time() -> None:
    """Processor time, since a busy machine makes everything late: 0.06 s on a 2.5 GHz Xeon."""
    spent = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, "-m", "schedopt", "--help"], capture_output=True, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        spent.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert min(spent) < 0.3

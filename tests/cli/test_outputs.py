"""Results are written where they were asked for, and a place that cannot be written is refused before the work."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import optuna
import pytest
from rich.console import Console

import schedopt
from schedopt.cli import call
from schedopt.cli._show import print_table
from schedopt.metrics import METRICS
from tests.proof.schedules import write_bench, write_schedule
from tests.studies import make_study, write_study, write_tracks

Capture = pytest.CaptureFixture[str]


def refused_at_once(argv: list[str], capsys: Capture) -> str:
    """The one line on stderr: no table, no progress, no note came before it."""
    assert call(argv) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert len(printed.err.splitlines()) == 1
    return printed.err


@pytest.mark.parametrize("command", ["sweep", "benchmark"])
def test_an_output_that_cannot_be_written_costs_no_work(command: str, tmp_path: Path, capsys: Capture) -> None:
    if command == "sweep":
        argument = write_study(tmp_path, tracks=1)
    else:
        argument = write_schedule(write_bench(tmp_path), "a", vocals={"betas": [0.5]})
    (tmp_path / "file").write_text("")
    for output, says in (("/proc/x", "cannot be written"), (str(tmp_path), "not a regular file")):
        assert f"{output}: " in refused_at_once([command, str(argument), "-o", output], capsys)
        assert says in refused_at_once([command, str(argument), "-o", output], capsys)
    assert "file/x.json: cannot be written" in refused_at_once(
        [command, str(argument), "-o", str(tmp_path / "file" / "x.json")], capsys
    )


def test_a_folder_of_figures_that_cannot_be_written_costs_no_work(tmp_path: Path, capsys: Capture) -> None:
    study = write_study(tmp_path, tracks=1)
    for command in ("sweep", "report", "reproduce"):
        assert "/proc/x/figure: cannot be written" in refused_at_once(
            [command, str(study), "--figures", "/proc/x"], capsys
        )
    assert "/proc/x: cannot be written" in refused_at_once(["report", str(study), "-o", "/proc/x"], capsys)


def test_a_run_whose_schedule_file_cannot_be_written_runs_no_trial(tmp_path: Path, capsys: Capture) -> None:
    path = write_study(tmp_path, tracks=1)
    (tmp_path / "small.schedule.json").mkdir()
    assert "small.schedule.json: is not a regular file" in refused_at_once(["run", str(path)], capsys)
    assert call(["status", str(path)]) == 1
    assert "has not been started" in capsys.readouterr().err


@pytest.mark.parametrize("argv", [["export", "s.toml", "-o", ""], ["run", ""], ["evaluate", "", "x"], ["demo", ""]])
def test_an_empty_name_is_wrong_usage(argv: list[str], capsys: Capture) -> None:
    assert call(argv) == 2
    assert "it is empty; name a file or folder" in capsys.readouterr().err


@pytest.mark.parametrize(("columns", "note"), [(200, False), (60, True), (100, False)])
def test_a_table_that_is_wider_than_the_terminal_says_how_to_widen(
    columns: int, note: bool, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setattr("rich.console.Console.is_terminal", True)
    print_table(["study", *"abc"], [["x" * 20] * 4])
    printed = capsys.readouterr()
    assert max(map(len, click.unstyle(printed.out).splitlines())) <= columns
    said = "note: this table has 86 columns and the terminal 60: widen it, or scroll sideways with | less -S\n"
    assert printed.err == (said if note else "")
    monkeypatch.setattr("rich.console.Console.is_terminal", False)
    print_table(["study", *"abc"], [["x" * 20] * 4])
    printed = capsys.readouterr()
    assert (len(printed.out.splitlines()), printed.err) == (2, "")


@pytest.mark.parametrize("width", [100])
def test_status_and_summary_fit_into_a_hundred_columns(
    width: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    path = write_study(tmp_path, tracks=2, study={"trials": 3}, refinement={"steps": 5})
    assert call(["run", str(path)]) == 0
    assert max(map(len, capsys.readouterr().out.splitlines()[:-1])) <= width
    monkeypatch.setattr("rich.console.Console.is_terminal", True)
    assert call(["status", str(path)]) == 0
    printed = capsys.readouterr()
    assert max(map(len, click.unstyle(printed.out).splitlines())) <= width
    assert printed.err == ""


WIDE = "note: this table has "
HINT = "widen it, or scroll sideways with | less -S"


@pytest.fixture(scope="module")
def music(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study file with its tracks, a schedule file, its benchmark, and two folders of stems."""
    folder = tmp_path_factory.mktemp("music")
    write_bench(folder, tracks=7)
    write_tracks(folder / "music", 2)
    write_study(folder, tracks=2, refinement={"target": "vocals", "steps": 9})
    made = write_schedule(folder, "a", vocals={"betas": [0.5]}, bass={"betas": [0.5, 0.2]})
    command = ["benchmark", str(made), "--against", "shift,line", "-o", str(folder / "result.json")]
    assert call([*command, "--excerpt", "0.2"]) == 0
    return folder


@pytest.mark.parametrize(
    ("argv", "wide"),
    [
        (["benchmark", "{}/a.schedule.json", "--against", "shift", "--excerpt", "0.2"], True),
        (["verify", "{}/result.json"], False),
        (["sweep", "{}/small.toml"], False),
        (["reproduce", "{}/small.toml"], True),
        (["evaluate", "{}/music/search", "{}/music/search"], False),
        (["evaluate", "{}/music/search", "{}/music/search", "--metrics", ",".join(METRICS)], True),
        (["separate", "--list-models"], False),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_tables_fit_into_a_hundred_columns_or_say_how_to_widen(
    argv: list[str], wide: bool, music: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setattr("rich.console.Console.is_terminal", True)
    tables: list[str] = []
    printed_by = Console.print

    def watched(console: Console, *args: Any, **kwargs: Any) -> None:
        with console.capture() as captured:
            printed_by(console, *args, **kwargs)
        tables.append(captured.get())

    monkeypatch.setattr(Console, "print", watched)
    assert call([word.format(music) for word in argv]) == 0
    printed = capsys.readouterr()
    assert bool(tables) == (argv[0] not in ("verify", "separate"))
    assert all(len(click.unstyle(line)) <= 100 for table in tables for line in table.splitlines())
    notes = [line for line in printed.err.splitlines() if line.startswith(WIDE)]
    assert bool(notes) == wide, printed.err
    assert all(line.endswith(HINT) for line in notes)
    if argv[0] in ("verify", "separate"):
        assert all(len(line.replace(str(music), "")) <= 100 for line in printed.out.splitlines())


def test_a_report_by_name_needs_no_study_file(tmp_path: Path, capsys: Capture) -> None:
    path = write_study(tmp_path, tracks=2, study={"trials": 2}, refinement={"target": ["bass", "drums"], "steps": 1})
    assert call(["run", str(path)]) == 0
    url = f"sqlite:///{tmp_path}/studies.db"
    path.unlink()
    capsys.readouterr()
    assert call(["report", "--storage", url, "--study", "small-bass"]) == 0
    printed = capsys.readouterr()
    assert printed.out.startswith(f"{tmp_path}/small-bass.report.html (")
    text = (tmp_path / "small-bass.report.html").read_text(encoding="utf-8")
    assert "small-bass" in text
    assert "small-drums" not in text
    assert text.count("<audio") > 0, printed.err
    assert call(["report", "--storage", url, "--study", "smal"]) == 1
    assert "there is no study 'smal' (there: small-bass, small-drums)" in capsys.readouterr().err
    for argv in ([], ["--study", "small-bass"], ["--storage", url], ["x.toml", "--storage", url, "--study", "x"]):
        assert call(["report", *argv]) == 2
        assert "give a study file or a benchmark, or --storage URL and --study NAME" in capsys.readouterr().err


def test_the_report_and_the_schedule_of_a_study_that_a_program_made(tmp_path: Path, capsys: Capture) -> None:
    url = f"sqlite:///{tmp_path}/mine.db"
    study = optuna.create_study(study_name="mine", storage=url, direction="maximize")
    study.optimize(schedopt.objective(make_study(tmp_path, refinement={"steps": 1})), n_trials=4)
    for argv in (["report", "--audio", "0", "-o", str(tmp_path / "x.html")], ["export"]):
        assert call([*argv, "--storage", url, "--study", "mine"]) == 0, capsys.readouterr().err
    assert call(["status", "--storage", url]) == 0
    assert "mine" in capsys.readouterr().out

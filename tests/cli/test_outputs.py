"""Results are written where they were asked for, and a place that cannot be written is refused before the work."""

from __future__ import annotations

from pathlib import Path

import pytest

from schedopt.cli import call
from tests.proof.schedules import write_bench, write_schedule
from tests.studies import write_study

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

"""`export --schema`: the JSON schema of schedule files on stdout, or in the file of `-o`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from schedopt.cli import call
from schedopt.files.schedule_file import json_schema


def test_the_schema_goes_to_the_file_asked_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(["export", "--schema"]) == 0
    text = capsys.readouterr().out
    path = tmp_path / "new" / "schedule.schema.json"
    assert call(["export", "--schema", "-o", str(path)]) == 0
    assert capsys.readouterr().out == f"{path}\n"
    assert path.read_text(encoding="utf-8") == text
    assert json.loads(text) == json_schema()


@pytest.mark.parametrize("order", [("-o", "{}", "--schema"), ("--schema", "-o", "{}")])
def test_a_file_that_cannot_be_written(tmp_path: Path, capsys: pytest.CaptureFixture[str], order: list[str]) -> None:
    assert call(["export", *(word.format(tmp_path) for word in order)]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert str(tmp_path) in line


def test_the_study_file_is_not_replaced(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study = tmp_path / "study.toml"
    study.write_text("kept")
    assert call(["export", str(study), "--schema", "-o", str(study)]) == 1
    assert "name another file" in capsys.readouterr().err
    assert study.read_text() == "kept"

"""The dashboard of a study in a real PostgreSQL server: figures, notes, audio in a named folder, no password shown."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from schedopt.cli import call
from schedopt.config import load_config
from schedopt.workers.run import run
from tests.servers import PASSWORD, Postgres, wait_for
from tests.studies import write_study
from tests.view.dashboard.serving import FIGURES, serving

Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    made = Postgres()
    yield made
    made.remove()


def test_a_postgresql_study_is_shown_without_its_password(
    server: Postgres, tmp_path: Path, capsys: Capture, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    url = server.new_database("shown")
    path = write_study(
        tmp_path,
        tracks=2,
        study={"storage": url, "trials": 3},
        refinement={"steps": 1},
        search={"pruner": "none", "choose": "highest"},
        store={"audio": 0.1, "artifacts": str(tmp_path / "shared")},
    )
    run(load_config(path))
    with serving(url, artifacts=str(tmp_path / "shared")) as answers:
        wait_for(lambda: answers.figures() == FIGURES and answers.study()["note"]["body"])
        study = answers.study()
        best = study["trials"][study["best_trials"][0]["number"]]
        assert len(best["artifacts"]) == 4
        for artifact in best["artifacts"]:
            assert answers.get(f"/artifacts/1/{best['trial_id']}/{artifact['artifact_id']}")[0] == 200
        assert f"me:***@127.0.0.1:{server.port}/shown" in study["note"]["body"]
        assert PASSWORD not in json.dumps(study)
    assert call(["dashboard", "--storage", url.replace("/shown", "/missing")]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert 'database "missing" does not exist' in line
    assert PASSWORD not in line + caplog.text

"""The dashboard over HTTP: optuna-dashboard's own app with figures, notes and audio; refusals in one line."""

from __future__ import annotations

import contextlib
import http.client
import json
import logging
import re
import shlex
import signal
import socket
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import optuna
import pytest
from optuna_dashboard import get_note, save_note

from schedopt.cli import call
from schedopt.config import load_config
from schedopt.storage.opening import open_storage
from schedopt.view.dashboard.notes import write_notes
from schedopt.view.dashboard.refresh import Refresher
from schedopt.view.figures import study_figures
from schedopt.view.trials import named_trials
from schedopt.workers.run import run
from tests.servers import environment, wait_for
from tests.studies import write_study
from tests.view.dashboard.serving import FIGURES, serving

Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A storage with the study `small`, which has six trials."""
    folder = tmp_path_factory.mktemp("dashboard")
    path = write_study(
        folder, search={"sampler": "random", "pruner": "none", "choose": "highest"}, store={"audio": 0.2}
    )
    run(load_config(path))
    return f"sqlite:///{folder}/studies.db"


def test_the_page_the_figures_the_notes_and_the_audio_are_served(url: str) -> None:
    with serving(url, studies=["small"]) as answers:
        assert urlsplit(answers.server.address).path == "/dashboard/studies/1"
        assert answers.get("/dashboard/studies/1")[:2] == (200, "text/html")
        wait_for(lambda: answers.figures() == FIGURES)
        study = answers.study()
        assert study["objective_names"] == ["SDR, dB"]
        best = study["trials"][study["best_trials"][0]["number"]]
        wait_for(lambda: best["note"]["body"] or best.update(answers.study()["trials"][best["number"]]))
        assert "uniform baseline" in study["note"]["body"]
        assert "schedopt export" in study["note"]["body"]
        assert "| refinement.steps | `" in study["note"]["body"]
        assert f"- selected and highest trial ({best['number']}): " in study["note"]["body"]
        assert f"The selected and highest trial ({best['number']}) of `small`" in best["note"]["body"]
        assert "(/listen/1)" in best["note"]["body"]
        notes = [trial["note"]["body"] for trial in study["trials"]]
        assert len([note for note in notes if note]) == 1
        assert len(best["artifacts"]) == 4
        for artifact in best["artifacts"]:
            status, kind, body = answers.get(f"/artifacts/1/{best['trial_id']}/{artifact['artifact_id']}")
            assert (status, kind, body[:4]) == (200, "audio/flac", b"fLaC")


def test_what_a_page_fetches_stays_small(url: str) -> None:
    with serving(url) as answers:
        wait_for(lambda: answers.figures() == FIGURES)
        study = answers.study()
        assert all(len(figure["graph_object"]) < 20_000 for figure in study["plotly_graph_objects"])
        assert all(len(attr["value"]) <= 2045 for trial in study["trials"] for attr in trial["user_attrs"])


def test_figures_and_notes_follow_a_study_and_rest_while_it_rests(url: str, tmp_path: Path) -> None:
    path = write_study(tmp_path, tracks=2, refinement={"steps": 1}, study={"trials": 2})
    config = load_config(path)
    run(config)
    storage = open_storage(config.study.storage, create=False)
    refresher = Refresher(config.study.storage)

    def shown_trials() -> tuple[int, str]:
        refresher.turn(storage)
        study = optuna.load_study(study_name="small", storage=storage)
        attrs = storage.get_study_system_attrs(study._study_id)
        pieces = sorted(key for key in attrs if key.startswith("dashboard:plot_data:schedopt-progress:"))
        figure = json.loads("".join(attrs[key] for key in pieces))
        return len(next(trace for trace in figure["data"] if trace["name"] == "trial")["x"]), get_note(study)

    assert shown_trials()[0] == 2
    with storage.engine.connect() as connection:
        # SQLite says whether any other connection has written.
        before = connection.exec_driver_sql("PRAGMA data_version").scalar()
        refresher.turn(storage)
        assert connection.exec_driver_sql("PRAGMA data_version").scalar() == before
    run(load_config(path, ["study.trials=5"]))
    count, note = shown_trials()
    assert count == 5
    assert "highest trial (" in note


def test_the_best_trials_note_moves_on_and_an_edited_note_is_left_alone(tmp_path: Path) -> None:
    path = write_study(tmp_path, tracks=1, refinement={"steps": 1}, study={"trials": 3}, search={"pruner": "none"})
    config = load_config(path)
    run(config)
    storage = open_storage(config.study.storage)
    study = optuna.load_study(study_name="small", storage=storage)
    write_notes(study, {}, "a storage")
    assert "a storage" in get_note(study)
    for trial in study.get_trials():
        write_notes(study, {"highest trial": trial}, "another storage")
        attrs = storage.get_study_system_attrs(study._study_id)
        noted = {key for key, text in attrs.items() if ":note_str:" in key and text}
        assert noted == {"dashboard:note_str:0", f"dashboard:{trial._trial_id}:note_str:0"}
    assert "another storage" in get_note(study)
    save_note(study, "my own words")
    write_notes(study, {"highest trial": trial}, "a third storage")
    assert get_note(study) == "my own words"


def test_commands_in_the_note_carry_the_overrides_but_no_secret(tmp_path: Path) -> None:
    """Copied from the note, the command resumes the same study; where it is stored is said by --storage alone."""
    path = write_study(tmp_path, tracks=1, study={"trials": 3}, name="carry")
    url = f"sqlite:///{tmp_path}/other.db"
    overrides = [
        "refinement.steps=1",
        'study.name = "it\'s mine"',
        f"study . storage={url}",
        "study.trials=2",
        "store.memory=1",
        "schedule.family=cosine",
    ]
    run(load_config(path, overrides))
    study = optuna.load_study(study_name="it's mine", storage=url)
    trials = study.get_trials(deepcopy=False)
    write_notes(study, named_trials(study, trials), url)
    note = get_note(study)
    (line,) = [line for line in note.splitlines() if line.startswith("| resume |")]
    command = line.split("`")[1]
    words = shlex.split(command)
    assert words[:5] == ["schedopt", "run", "STUDY.toml", "--storage", url]
    assert words[5:] == ["--set", overrides[0], "--set", overrides[1], "--set", overrides[5]]
    assert call([str(path) if word == "STUDY.toml" else word for word in words[1:]]) == 0
    assert optuna.get_all_study_names(url) == ["it's mine"]
    assert len(optuna.load_study(study_name="it's mine", storage=url).trials) > len(trials)


def test_importance_is_the_same_number_as_in_the_report(tmp_path: Path) -> None:
    path = write_study(
        tmp_path,
        tracks=1,
        refinement={"steps": 2},
        study={"trials": 16},
        search={"sampler": "random", "pruner": "none"},
    )
    config = load_config(path)
    run(config)
    study = optuna.load_study(study_name="small", storage=config.study.storage)
    figure = study_figures(study)["importance"]
    with serving(config.study.storage) as answers:
        status, _, body = answers.get("/api/studies/1/param_importances")
    assert status == 200
    (theirs,) = json.loads(body)["param_importances"]
    shown = dict(zip(figure.layout.yaxis.ticktext, figure.data[0].x, strict=True))
    assert shown == pytest.approx({one["name"]: one["importance"] for one in theirs}, abs=1e-6)
    assert len(shown) >= 2


def test_a_study_of_an_earlier_version_gets_the_metrics_name(tmp_path: Path) -> None:
    path = write_study(tmp_path, tracks=1, refinement={"steps": 1}, study={"trials": 1}, search={"metric": "si_sdr"})
    config = load_config(path)
    run(config)
    storage = open_storage(config.study.storage)
    study = optuna.load_study(study_name="small", storage=storage)
    assert study.metric_names == ["SI-SDR, dB"]
    with storage.engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM study_system_attributes WHERE key = 'study:metric_names'")
    assert not study._storage.get_study_system_attrs(study._study_id).get("study:metric_names")
    Refresher(config.study.storage).turn(storage)
    assert study.metric_names == ["SI-SDR, dB"]
    study._storage.set_study_system_attr(study._study_id, "study:metric_names", ["a name of my own"])
    run(load_config(path, ["study.trials=2"]))
    Refresher(config.study.storage).turn(storage)
    assert study.metric_names == ["a name of my own"]


def test_the_page_of_sounds(url: str, tmp_path: Path) -> None:
    with serving(url) as answers:
        status, kind, body = answers.get("/listen/1")
        assert (status, kind) == (200, "text/html")
        page = body.decode()
        assert "Selected and highest trial (" in page
        sources = re.findall(r'<audio[^>]* src="([^"]+)" title="([^"]+)"', page)
        assert {title.rstrip("123456789 ").removesuffix(" steps") for _, title in sources} >= {"mixture", "one pass"}
        for source, _ in sources:
            assert answers.get(source)[1:][0] == "audio/flac"
        assert answers.get("/listen/99")[0] == 404
        assert answers.get("/listen/x")[0] == 404
        assert answers.get("/listen/1", "evil.example")[0] == 403


def test_audio_that_lies_elsewhere_is_not_found_and_a_study_without_it_can_be_deleted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = write_study(tmp_path, tracks=1, refinement={"steps": 1}, study={"trials": 1})
    url = load_config(path).study.storage
    run(load_config(path))
    for file in (tmp_path / "studies.db.artifacts").iterdir():
        file.unlink()
    caplog.set_level(logging.WARNING, "schedopt")
    with serving(url) as answers:
        trial = answers.study()["trials"][0]
        for artifact in trial["artifacts"]:
            assert answers.get(f"/artifacts/1/{trial['trial_id']}/{artifact['artifact_id']}")[0] == 404
        connection = http.client.HTTPConnection("127.0.0.1", answers.server.server_port, timeout=60)
        with contextlib.closing(connection):
            connection.request("DELETE", "/api/studies/1", body="{}", headers={"Content-Type": "application/json"})
            assert connection.getresponse().status == 204
        assert json.loads(answers.get("/api/studies")[2]) == {"study_summaries": []}
    assert not caplog.records


def test_another_sites_page_cannot_use_it(url: str) -> None:
    """DNS rebinding: a foreign name that was made to point to this machine."""
    with serving(url) as answers:
        for host in ("localhost:1234", "127.0.0.1", "[::1]:8080", "LOCALHOST"):
            assert answers.get("/api/studies", host)[0] == 200
        for host in ("evil.example", "evil.example:8080", "localhost.evil.example", ""):
            assert answers.get("/api/studies", host)[0] == 403


def test_a_fault_is_one_line_and_not_a_traceback(url: str, caplog: pytest.LogCaptureFixture, capsys: Capture) -> None:
    caplog.set_level(logging.WARNING, "schedopt")
    with serving(url) as answers:
        for _ in range(2):
            assert answers.get("/api/studies/1?after=word")[0] == 500
    (line,) = [record.getMessage() for record in caplog.records]
    assert "a page could not be shown" in line
    assert "\n" not in line
    assert "Traceback" not in capsys.readouterr().err


def test_another_host_is_warned_about(url: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "schedopt")
    with serving(url, host="0.0.0.0") as answers:
        assert "there is no login" in caplog.text
        assert answers.get("/api/studies", "some.host")[0] == 200


def refusal(arguments: list[str], capsys: Capture) -> str:
    """The one line with which the command is refused."""
    assert call(["dashboard", *arguments]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    return line


def test_refusals_are_one_line(url: str, tmp_path: Path, capsys: Capture) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        line = refusal(["--storage", url, "--port", port], capsys)
    assert f"--port {port}: cannot listen there: Address already in use; choose another --port" in line
    line = refusal(["--storage", url, "--host", "no.such.host.invalid", "--port", "0"], capsys)
    assert "no.such.host.invalid" in line
    line = refusal(["--storage", url, "--study", "other"], capsys)
    assert "study 'other' has not been started (there: small)" in line
    line = refusal(["--storage", f"sqlite:///{tmp_path}/none.db"], capsys)
    assert "there is no such database" in line
    assert not (tmp_path / "none.db").exists()
    (tmp_path / "text.db").write_text("not a database at all")
    assert "this is not a SQLite database" in refusal(["--storage", f"sqlite:///{tmp_path}/text.db"], capsys)
    whole = Path(url.removeprefix("sqlite:///")).read_bytes()
    (tmp_path / "half.db").write_bytes(whole[: len(whole) // 3])
    assert "half.db" in refusal(["--storage", f"sqlite:///{tmp_path}/half.db"], capsys)
    assert "no such study file" in refusal([str(tmp_path / "none.toml")], capsys)
    path = write_study(tmp_path, tracks=1, name="unborn", study={"storage": url})
    assert "study 'unborn' has not been started" in refusal([str(path)], capsys)
    assert call(["dashboard"]) == 2
    assert call(["dashboard", "--storage", url, "--port", "66000"]) == 2


def test_the_command_serves_until_it_is_interrupted(url: str) -> None:
    command = [sys.executable, "-m", "schedopt", "dashboard", "--storage", url, "--port", "0"]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment(), bufsize=1
    )
    assert process.stdout is not None
    address = urlsplit(process.stdout.readline().split()[1])
    assert address.path == "/dashboard/studies/1"
    assert address.port is not None
    connection = http.client.HTTPConnection("127.0.0.1", address.port, timeout=60)
    with contextlib.closing(connection):
        connection.request("GET", "/api/studies")
        assert connection.getresponse().status == 200
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 0
    assert errors == ""

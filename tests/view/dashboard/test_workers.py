"""Eight workers on one SQLite study while a dashboard is polled: nothing fails, nothing is lost, nothing is doubled."""

from __future__ import annotations

import http.client
import json
import multiprocessing
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from optuna.artifacts import get_all_artifact_meta
from optuna.trial import TrialState

from schedopt.config import load_config
from schedopt.registry import pickled_parts
from schedopt.search.audio import make_folder
from schedopt.search.prepared import PreparedSearch
from schedopt.storage.opening import open_storage
from schedopt.workers.pool import Job, run_worker
from schedopt.workers.run import open_study
from tests.servers import environment
from tests.studies import write_study

TRIALS, WORKERS = 240, 8


def never() -> bool:
    return False


def poll(connection: http.client.HTTPConnection, path: str) -> Any:
    connection.request("GET", path)
    answer = connection.getresponse()
    body = answer.read()
    assert answer.status == 200, body
    return json.loads(body)


def test_eight_workers_and_a_polled_dashboard(tmp_path: Path) -> None:
    path = write_study(
        tmp_path,
        tracks=1,
        study={"trials": TRIALS},
        data={"excerpt": 0.2},
        refinement={"steps": 1},
        schedule={"resolution": 0.0},  # no two random schedules are then equal
        search={"sampler": "random", "pruner": "none"},
        store={"audio": 0.1, "disk": 0},
    )
    config = load_config(path)
    storage = open_storage(config.study.storage)
    make_folder(config)
    prepared = PreparedSearch.prepare(config)
    study = open_study(prepared, prepared.objective("vocals"), storage, "vocals")
    server = subprocess.Popen(
        [sys.executable, "-m", "schedopt", "dashboard", str(path), "--port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
    )
    # Processes of their own that need not import everything anew, doing what `--workers 8` lets them do.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["schedopt.workers.pool"])
    job = Job("vocals", "cpu", 1, False, config.model_dump_json(), pickled_parts())
    workers = [context.Process(target=run_worker, args=(job, never)) for _ in range(WORKERS)]
    for worker in workers:
        worker.start()
    assert server.stdout is not None
    port = urlsplit(server.stdout.readline().split()[1]).port
    assert port is not None
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    seen = []
    while any(worker.is_alive() for worker in workers):
        trials = poll(connection, "/api/studies/1")["trials"]
        seen.append(len(trials))
        workers[0].join(0.1)
    assert [worker.exitcode for worker in workers] == [0] * WORKERS
    assert len(seen) > 10
    # The dashboard reads the trials every few seconds only; a start, a middle and an end show that it grows.
    assert len(set(seen)) > 2, "the dashboard did not see the study grow"

    trials = study.get_trials()
    assert [trial.number for trial in trials] == list(range(TRIALS))
    assert Counter(trial.state for trial in trials) == {TrialState.COMPLETE: TRIALS}
    assert not [trial.number for trial in trials if {"failure", "retry_of"} & trial.user_attrs.keys()]
    assert len({tuple(trial.params.items()) for trial in trials if "role" not in trial.user_attrs}) == TRIALS - 2
    assert len({trial.user_attrs["owner"] for trial in trials}) == WORKERS
    assert len(get_all_artifact_meta(study.best_trial, storage=storage)) == 4

    final = poll(connection, "/api/studies/1")
    connection.close()
    server.terminate()
    _, errors = server.communicate(timeout=60)
    assert (server.returncode, errors) == (0, "")
    assert {figure["id"] for figure in final["plotly_graph_objects"]} >= {"schedopt-schedules", "schedopt-progress"}

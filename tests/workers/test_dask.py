"""Studies on a real Dask scheduler with two worker processes on loopback."""

from __future__ import annotations

import gc
import importlib
import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState

from schedopt.cli import call
from schedopt.config import StudyConfig, StudySection
from schedopt.errors import StudyError
from schedopt.workers import dask
from schedopt.workers.dask import cancelled_check, connect
from schedopt.workers.pool import Job, materials
from tests.servers import Dask, environment, free_port, wait_for
from tests.studies import write_study

Capture = pytest.CaptureFixture[str]
CONFIG = StudyConfig(study=StudySection(name="any"))
FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dask]:
    made = Dask(tmp_path_factory.mktemp("dask"))
    yield made
    made.close()


def loads() -> int:
    """How often this process has loaded a model and excerpts."""
    return materials.cache_info().misses


def test_both_processes_search_and_each_loads_model_and_excerpts_once(
    cluster: Dask, tmp_path: Path, capsys: Capture
) -> None:
    """Two studies (one a target), 8 trials each."""
    path = write_study(
        tmp_path,
        tracks=2,
        refinement={"steps": 1, "target": ["vocals", "drums"]},
        search={"pruner": "none"},
        study={"trials": 8},
    )
    assert call(["run", str(path), "--dask", cluster.address, "--json"]) == 0
    captured = capsys.readouterr()
    assert [s["trials"]["complete"] for s in json.loads(captured.out)["studies"]] == [8, 8]
    assert "workers on other machines need this very file" in captured.err
    owners = set()
    for name in ("small-vocals", "small-drums"):
        study = optuna.load_study(study_name=name, storage=f"sqlite:///{tmp_path}/studies.db")
        assert [t.state for t in study.trials] == [TrialState.COMPLETE] * 8
        owners |= {t.user_attrs["owner"].split("|")[1] for t in study.trials}
    assert owners == {str(process.pid) for process in cluster.workers}
    with connect(cluster.address, CONFIG) as connected:
        assert list(connected.client.run(loads).values()) == [1, 1]
    assert call(["run", str(path), "--dask", cluster.address]) == 0
    assert "is complete" in capsys.readouterr().out


def start_run(path: Path, address: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "schedopt", "run", str(path), "--dask", address],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_ctrl_c_stops_the_workers_and_a_dead_one_is_made_up_for(cluster: Dask, tmp_path: Path) -> None:
    """First an interrupt, then kill −9 of one of the two processes under the resumed run: still an exact count."""
    path = write_study(
        tmp_path,
        tracks=2,
        refinement={"steps": 1},
        schedule={"resolution": 0.001},  # so that the family holds more schedules than trials
        search={"pruner": "none"},
        study={"trials": 400},
    )
    run = start_run(path, cluster.address)
    url = f"sqlite:///{tmp_path}/studies.db"
    wait_for(lambda: run.poll() is not None or _finished(url) >= 4, 240, every=0.2)
    run.send_signal(signal.SIGINT)
    _, error = run.communicate(timeout=60)
    assert run.returncode == 130, error
    assert error.splitlines()[-1] == "schedopt: interrupted; the same command carries on"
    assert "Traceback" not in error
    study = optuna.load_study(study_name="small", storage=url)
    wait_for(lambda: not study.get_trials(states=(TrialState.RUNNING,)))
    done = _finished(url)
    assert 4 <= done < 400
    target = done + 20
    path.write_text(path.read_text().replace("trials = 400", f"trials = {target}"))
    run = start_run(path, cluster.address)
    wait_for(lambda: run.poll() is not None or _finished(url) >= done + 3, 240, every=0.2)
    cluster.kill_worker()
    _, error = run.communicate(timeout=300)
    assert run.returncode == 0, error
    states = [t.state for t in study.get_trials()]
    assert sum(state in FINISHED for state in states) == target
    assert TrialState.RUNNING not in states
    # The next test finds two workers again.
    cluster.add_worker()


def _finished(url: str) -> int:
    try:
        return len(optuna.load_study(study_name="small", storage=url).get_trials(states=FINISHED))
    except (KeyError, optuna.exceptions.StorageInternalError, RuntimeError):
        return 0


def test_what_no_worker_can_read_is_its_one_line(
    cluster: Dask, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_study(tmp_path, tracks=1, refinement={"steps": 1}, study={"trials": 9})
    fan_out = dask.Cluster.work

    def without_model(self: dask.Cluster, *args: Any, **kwargs: Any) -> None:
        (tmp_path / "tiny.safetensors").unlink()
        fan_out(self, *args, **kwargs)

    monkeypatch.setattr(dask.Cluster, "work", without_model)
    assert call(["run", str(path), "--dask", cluster.address]) == 1
    error = capsys.readouterr().err.splitlines()
    assert "no worker could go on" in error[-1]
    assert "tiny.safetensors" in error[-1]


def test_an_address_where_nothing_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dask, "CONNECT_SECONDS", 0.5)
    for address in (f"tcp://127.0.0.1:{free_port()}", "nonsense://x", "tcp://127.0.0.1:port"):
        with pytest.raises(StudyError, match="no Dask scheduler answers") as caught, connect(address, CONFIG):
            pass
        assert "\n" not in str(caught.value)


def test_no_dead_client_is_collected_while_another_one_starts() -> None:
    """Its end takes the lock that the new one holds while it starts: collected then, it waits for ever."""
    collected: list[bool] = []

    class Client:
        def __init__(self, *_: Any, **__: Any) -> None:
            collected.append(gc.isenabled())
            assert len(collected) > 1, "the loop did not start"

    assert isinstance(dask._client(SimpleNamespace(Client=Client), "tcp://127.0.0.1:1"), Client)
    assert collected == [False, False]
    assert gc.isenabled()


def test_without_the_package_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(StudyError, match=r"pip install '\.\[dask\]'"), connect("tcp://127.0.0.1:1", CONFIG):
        pass


def until_cancelled(begun: Path, ended: Path) -> None:
    """A task that runs until it is cancelled, as a worker does."""
    is_cancelled = cancelled_check()
    begun.touch()
    while not is_cancelled():
        time.sleep(0.05)
    ended.touch()


@pytest.mark.parametrize("end", ["cancel", "close", "kill"])
def test_workers_stop_when_told_to_or_when_the_command_is_gone(cluster: Dask, tmp_path: Path, end: str) -> None:
    begun, ended = tmp_path / "begun", tmp_path / "ended"
    if end == "kill":
        code = (
            "import sys, time; from distributed import Client; from pathlib import Path; from tests.workers.test_dask"
            " import until_cancelled; client = Client(sys.argv[1]); future = client.submit(until_cancelled,"
            " *map(Path, sys.argv[2:])); time.sleep(100)"
        )
        command = [sys.executable, "-c", code, cluster.address, str(begun), str(ended)]
        with subprocess.Popen(command, env=environment()) as process:
            wait_for(begun.exists, 60)
            assert not ended.exists()
            process.kill()
    else:
        with connect(cluster.address, CONFIG) as connected:
            future = connected.client.submit(until_cancelled, begun, ended)
            wait_for(begun.exists, 60)
            assert not ended.exists()
            if end == "cancel":
                connected.client.cancel([future])
    wait_for(ended.exists, 60)


def test_a_cluster_that_is_gone_is_one_line(tmp_path: Path) -> None:
    """Its scheduler and workers are killed under a run."""
    path = write_study(tmp_path, tracks=2, refinement={"steps": 1}, search={"pruner": "none"}, study={"trials": 9999})
    made = Dask(tmp_path)
    try:
        run = start_run(path, made.address)
        wait_for(lambda: run.poll() is not None or _finished(f"sqlite:///{tmp_path}/studies.db") >= 3, 240, every=0.2)
    finally:
        made.close()
    _, error = run.communicate(timeout=120)
    assert run.returncode == 1, error
    assert "the cluster is gone. Finished trials are kept" in error.splitlines()[-1]
    assert "Traceback" not in error


def test_a_cluster_writes_no_password() -> None:
    """Dask shows the arguments of tasks in its logs and pages."""
    job = Job("vocals", "cpu", 1, False, '{"study": {"storage": "postgresql://me:secret@host/db"}}', b"")
    assert "secret" not in repr(job)

"""Several workers of one machine on one study: exact counts, the values of one worker, killed and failing workers."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import os
import signal
import subprocess
import sys
import tempfile
import threading
import weakref
from pathlib import Path
from typing import Any

import optuna
import pytest
import torch
from optuna.trial import TrialState

from schedopt.config import load_config
from schedopt.errors import SchedoptError, StudyError
from schedopt.registry import pickled_parts
from schedopt.rules import RULES, Rule
from schedopt.schedules import line, zeros
from schedopt.search.prepared import PreparedSearch
from schedopt.search.study import study_name
from schedopt.storage.opening import open_storage
from schedopt.workers import pool
from schedopt.workers.pool import devices_for, open_pool
from schedopt.workers.run import open_study, run
from tests.models import noise_excerpt
from tests.servers import environment, small_disk, wait_for
from tests.studies import write_study

FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)


def prepared(folder: Path, trials: int) -> tuple[PreparedSearch, optuna.Study]:
    """A new study, made as `run` makes it, for two workers."""
    path = write_study(
        folder,
        tracks=2,
        refinement={"steps": 2},
        search={"pruner": "none"},
        study={"trials": trials, "workers": 2},
    )
    config = load_config(path)
    prepared_search = PreparedSearch.prepare(config)
    study = open_study(
        prepared_search, prepared_search.objective("vocals"), open_storage(config.study.storage), "vocals"
    )
    return prepared_search, study


def test_two_workers_share_a_study_and_find_what_one_would(tmp_path: Path) -> None:
    """The first worker that is killed takes its trial with it: it is tried again, and the count stays exact."""
    prepared_search, study = prepared(tmp_path, 60)

    def kill_one() -> bool:
        owners = _owners(study)
        if len(owners) == 2:
            os.kill(min(owners), signal.SIGKILL)
        return len(owners) == 2

    watcher = threading.Thread(target=wait_for, args=(kill_one, 300))
    watcher.start()
    with open_pool(prepared_search) as workers:
        workers.work(study, "vocals", lambda: None)
    watcher.join()
    states = [trial.state for trial in study.get_trials()]
    assert sum(state in FINISHED for state in states) == 60
    assert TrialState.RUNNING not in states
    # Two of the first pool, and at least one of the second.
    assert len(_owners(study)) >= 3
    undisturbed = prepared_search.objective("vocals")
    for trial in study.get_trials(states=(TrialState.COMPLETE,))[-12:]:
        betas = undisturbed.family.make(trial.params, undisturbed.resolution)
        assert trial.value == pytest.approx(undisturbed.outcome(betas).value, abs=1e-6)


@pytest.mark.parametrize("target", ["vocals", ["drums", "vocals"]])
def test_references_are_scored_once_and_the_workers_find_no_model_in_this_process(
    target: str | list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_study(
        tmp_path,
        tracks=2,
        refinement={"steps": 2, "target": target},
        search={"pruner": "none"},
        study={"trials": 3, "workers": 2},
        store={"disk": 0, "audio": 0},
    )
    config = load_config(path)
    alone = PreparedSearch.prepare(config).objective("vocals")
    expected = alone.outcome(line(2))
    alone.outcome(zeros(2))
    models: list[weakref.ref[Any]] = []
    alive: list[bool] = []
    prepare, search = PreparedSearch.prepare, pool.Pool.work

    def noting(*args: Any, **kwargs: Any) -> PreparedSearch:
        prepared_search = prepare(*args, **kwargs)
        models.append(weakref.ref(prepared_search.separator))
        return prepared_search

    def checking(self: pool.Pool, *args: Any) -> None:
        alive.append(models[0]() is not None)
        search(self, *args)

    monkeypatch.setattr(PreparedSearch, "prepare", noting)
    monkeypatch.setattr(pool.Pool, "work", checking)
    run(config)
    assert set(alive) == {False}, "a model that this process keeps takes a GPU's memory from the workers"
    for stem in config.refinement.targets:
        study = optuna.load_study(study_name=study_name(config, stem), storage=config.study.storage)
        assert all(trial.user_attrs["passes_run"] == 0 for trial in study.trials if "role" in trial.user_attrs)
    if target == "vocals":
        assert study.user_attrs["line"]["by_step"] == pytest.approx(expected.by_step, abs=1e-6)
        assert study.user_attrs["references"]["passes_run"] == alone.passes().run == 2 * 3, (
            "a pass on the mixture and two steps for each excerpt; β = 0 costs nothing under this rule"
        )


SCRIPT = """
import dataclasses
import sys
from schedopt import load_config, run
from schedopt.rules import RULES, Rule
from schedopt.schedules import FAMILIES, family

HALF = 0.5

def gentle(view):
    return (1 - HALF * view.beta) * view.mixture + HALF * view.beta * view.target

def flat(steps):
    return dataclasses.replace(family("linear", steps), name="flat")

RULES.register("gentle", Rule("gentle", gentle))
FAMILIES.register("flat", flat)
(summary,) = run(load_config(sys.argv[1]))
print(summary.complete, summary.selected.value)
"""


def study_with_parts(folder: Path, workers: int) -> Path:
    return write_study(
        folder,
        tracks=2,
        name=f"with-{workers}",
        refinement={"steps": 2, "rule": "gentle"},
        schedule={"family": "flat"},
        search={"pruner": "none", "sampler": "grid", "grid": 4},
        study={"trials": 4, "workers": workers},
        store={"disk": 0},
    )


def test_a_scripts_rule_and_family_reach_the_workers(tmp_path: Path) -> None:
    """The script's functions are in no module that a worker could import."""
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    found = []
    for workers in (1, 2):
        command = [sys.executable, str(script), str(study_with_parts(tmp_path, workers))]
        done = subprocess.run(command, capture_output=True, text=True, env=environment(), check=False)
        assert done.returncode == 0, done.stderr
        found.append(float(done.stdout.split()[-1]))
    assert found[0] == pytest.approx(found[1], abs=1e-6)


def test_a_notebook_cells_rule_and_family_reach_the_workers(tmp_path: Path) -> None:
    """Cells are code without a file, executed in the namespace of `__main__`."""
    path = study_with_parts(tmp_path, 2)
    cells = f"import sys; sys.argv = ['', {str(path)!r}]; exec(compile({SCRIPT!r}, '<cell 1>', 'exec'), globals())"
    done = subprocess.run([sys.executable, "-"], input=cells, capture_output=True, text=True, env=environment())
    assert done.returncode == 0, done.stderr


def test_a_part_that_cannot_be_sent_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prepared_search, study = prepared(tmp_path, 8)
    monkeypatch.setitem(RULES.added, "locked", Rule("locked", threading.Lock()))  # type: ignore[arg-type]
    with (
        pytest.raises(SchedoptError, match="rule 'locked' cannot be sent") as caught,
        open_pool(prepared_search) as workers,
    ):
        workers.work(study, "vocals", lambda: None)
    assert "\n" not in str(caught.value)


def _owners(study: optuna.Study) -> set[int]:
    return {int(t.user_attrs["owner"].split("|")[1]) for t in study.get_trials() if "owner" in t.user_attrs}


def test_a_model_that_vanished_is_the_workers_one_line(tmp_path: Path) -> None:
    prepared_search, study = prepared(tmp_path, 8)
    (tmp_path / "tiny.safetensors").unlink()
    with pytest.raises(StudyError, match=r"tiny\.safetensors") as caught, open_pool(prepared_search) as workers:
        workers.work(study, "vocals", lambda: None)
    assert "\n" not in str(caught.value)
    assert not study.get_trials(states=FINISHED)


def test_a_worker_whose_files_are_others_gives_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On another machine the same name may hold other weights or tracks: such a trial would not be this study's."""
    prepared_search, _ = prepared(tmp_path, 8)
    monkeypatch.setattr(pool, "work", lambda *_, **__: None)
    job = pool.Job("vocals", "cpu", 1, False, prepared_search.config.model_dump_json(), pickled_parts())
    pool.materials.cache_clear()
    pool.run_worker(job, lambda: False)
    track = tmp_path / "music" / "search" / "track-1"
    (track / "bass.wav").write_bytes((track / "drums.wav").read_bytes())
    pool.materials.cache_clear()
    with pytest.raises(StudyError, match="the excerpts' samples"):
        pool.run_worker(job, lambda: False)


def test_no_room_for_shared_excerpts_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prepared_search, _ = prepared(tmp_path, 8)
    prepared_search = dataclasses.replace(prepared_search, excerpts=[noise_excerpt(0, 4.0)])
    with contextlib.ExitStack() as stack:
        try:
            folder = stack.enter_context(small_disk(tmp_path / "shared", "1m"))
            monkeypatch.setattr(tempfile, "tempdir", str(folder))
        except PermissionError:
            monkeypatch.setattr(torch, "save", full)
        with pytest.raises(StudyError, match=r"no room to share .* set TMPDIR") as caught, open_pool(prepared_search):
            pass
        assert "\n" not in str(caught.value)


def full(*_: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_devices_are_dealt_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert list(devices_for(3, "auto")) == ["cuda:0", "cuda:1", "cuda:0"]
    assert list(devices_for(2, "cuda:1")) == ["cuda:1", "cuda:1"]
    assert list(devices_for(2, "cpu")) == ["cpu", "cpu"]

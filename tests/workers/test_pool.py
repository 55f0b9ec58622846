"""Several workers of one machine on one study: exact counts, the values of one worker, killed and failing workers."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import os
import signal
import tempfile
import threading
from pathlib import Path

import optuna
import pytest
import torch
from optuna.trial import TrialState

from schedopt.config import StoreSection, load_config
from schedopt.errors import StudyError
from schedopt.schedules import line, zeros
from schedopt.search.workbench import Workbench
from schedopt.storage.opening import open_storage
from schedopt.store import Store
from schedopt.workers import pool
from schedopt.workers.pool import devices_for, open_pool
from schedopt.workers.run import open_study
from tests.models import noise_excerpt
from tests.servers import small_disk, wait_for
from tests.studies import write_study

FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)


def prepared(folder: Path, trials: int) -> tuple[Workbench, optuna.Study]:
    """A new study, made as `run` makes it, for two workers."""
    path = write_study(
        folder,
        tracks=2,
        refinement={"steps": 2},
        search={"pruner": "none"},
        study={"trials": trials, "workers": 2},
    )
    config = load_config(path)
    bench = Workbench.prepare(config)
    study = open_study(bench, bench.objective("vocals"), open_storage(config.study.storage), "vocals")
    return bench, study


def test_two_workers_share_a_study_and_find_what_one_would(tmp_path: Path) -> None:
    """The first worker that is killed takes its trial with it: it is tried again, and the count stays exact."""
    bench, study = prepared(tmp_path, 60)

    def kill_one() -> bool:
        owners = _owners(study)
        if len(owners) == 2:
            os.kill(min(owners), signal.SIGKILL)
        return len(owners) == 2

    watcher = threading.Thread(target=wait_for, args=(kill_one, 300))
    watcher.start()
    with open_pool(bench) as workers:
        workers.work(study, "vocals", lambda: None)
    watcher.join()
    states = [trial.state for trial in study.get_trials()]
    assert sum(state in FINISHED for state in states) == 60
    assert TrialState.RUNNING not in states
    # Two of the first pool, and at least one of the second.
    assert len(_owners(study)) >= 3
    undisturbed = bench.objective("vocals")
    for trial in study.get_trials(states=(TrialState.COMPLETE,))[-12:]:
        betas = undisturbed.family.make(trial.params, undisturbed.resolution)
        assert trial.value == pytest.approx(undisturbed.outcome(betas).value, abs=1e-6)


def test_references_scored_by_several_cost_and_are_what_one_would_say(tmp_path: Path) -> None:
    bench, _ = prepared(tmp_path, 8)
    config = bench.config.model_copy(update={"store": StoreSection(disk=0)})
    bench = dataclasses.replace(bench, config=config, store=Store())
    references = [line(2), zeros(2)]
    alone = bench.objective("vocals")
    expected = [alone.outcome(betas) for betas in references]
    together = dataclasses.replace(bench, store=Store())
    objective = together.objective("vocals")
    with open_pool(together) as workers:
        workers.rehearse(objective, "vocals", references)
    run = objective.passes().run
    found = [objective.outcome(betas) for betas in references]
    assert [outcome.by_step for outcome in found] == [pytest.approx(o.by_step, abs=1e-6) for o in expected]
    assert run == 2 * 3, "a pass on the mixture and two steps for each excerpt; β = 0 costs nothing under this rule"
    assert objective.passes() == alone.passes()


def _owners(study: optuna.Study) -> set[int]:
    return {int(t.user_attrs["owner"].split("|")[1]) for t in study.get_trials() if "owner" in t.user_attrs}


def test_a_model_that_vanished_is_the_workers_one_line(tmp_path: Path) -> None:
    bench, study = prepared(tmp_path, 8)
    (tmp_path / "tiny.safetensors").unlink()
    with pytest.raises(StudyError, match=r"tiny\.safetensors") as caught, open_pool(bench) as workers:
        workers.work(study, "vocals", lambda: None)
    assert "\n" not in str(caught.value)
    assert not study.get_trials(states=FINISHED)


def test_a_worker_whose_files_are_others_gives_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On another machine the same name may hold other weights or tracks: such a trial would not be this study's."""
    bench, _ = prepared(tmp_path, 8)
    monkeypatch.setattr(pool, "work", lambda *_, **__: None)
    job = pool.Job("vocals", "cpu", 1, False, bench.config.model_dump_json())
    pool.materials.cache_clear()
    pool.run_worker(job, lambda: False)
    track = tmp_path / "music" / "search" / "track-1"
    (track / "bass.wav").write_bytes((track / "drums.wav").read_bytes())
    pool.materials.cache_clear()
    with pytest.raises(StudyError, match="the excerpts' samples"):
        pool.run_worker(job, lambda: False)


def test_no_room_for_shared_excerpts_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bench, _ = prepared(tmp_path, 8)
    bench = dataclasses.replace(bench, excerpts=[noise_excerpt(0, 4.0)])
    with contextlib.ExitStack() as stack:
        try:
            folder = stack.enter_context(small_disk(tmp_path / "shared", "1m"))
            monkeypatch.setattr(tempfile, "tempdir", str(folder))
        except PermissionError:
            monkeypatch.setattr(torch, "save", full)
        with pytest.raises(StudyError, match=r"no room to share .* set TMPDIR") as caught, open_pool(bench):
            pass
        assert "\n" not in str(caught.value)


def full(*_: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_devices_are_dealt_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert list(devices_for(3, "auto")) == ["cuda:0", "cuda:1", "cuda:0"]
    assert list(devices_for(2, "cuda:1")) == ["cuda:1", "cuda:1"]
    assert list(devices_for(2, "cpu")) == ["cpu", "cpu"]

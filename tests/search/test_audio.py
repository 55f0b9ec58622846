"""Audio of trials that became the best: what it holds, what it costs, and that nothing in it costs a trial."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
import soundfile
import torch
from optuna.artifacts import get_all_artifact_meta
from optuna.trial import FrozenTrial

from schedopt.config import load_config
from schedopt.search.artifacts import ArtifactStore, artifact_folder, artifact_store
from schedopt.search.audio import AudioKeeper, loudest
from schedopt.search.prepared import PreparedSearch
from schedopt.search.selection import would_be_named
from schedopt.workers.run import run
from tests.models import RATE
from tests.studies import write_study

RANDOM = {"sampler": "random", "pruner": "none", "choose": "highest"}


def trials_of(folder: Path, **store: Any) -> list[FrozenTrial]:
    """The trials of a study that was run in `folder` with those keys of `[store]`."""
    path = write_study(
        folder, tracks=2, refinement={"steps": 2}, search=RANDOM, study={"trials": 4}, store={"disk": 0, **store}
    )
    run(load_config(path))
    return optuna.load_study(study_name="small", storage=f"sqlite:///{folder}/studies.db").get_trials()


def audio_of(trial: FrozenTrial, folder: Path) -> dict[str, np.ndarray[Any, Any]]:
    """Name → (samples, channels) of the trial's audio files."""
    storage = optuna.storages.RDBStorage(f"sqlite:///{folder}/studies.db")
    found = {}
    for meta in get_all_artifact_meta(trial, storage=storage):
        assert meta.mimetype == "audio/flac"
        with ArtifactStore(folder / "studies.db.artifacts").open_reader(meta.artifact_id) as file:
            found[meta.filename], rate = soundfile.read(file)
        assert rate == RATE
    storage.engine.dispose()
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("audio")
    trials_of(made, audio=0.1)
    return made


def test_each_trial_that_became_the_best_has_four_pieces_of_the_same_seconds(folder: Path) -> None:
    best = -np.inf
    for trial in trials_of(folder):
        assert trial.values is not None
        became_best = trial.values[0] > best
        best = max(best, trial.values[0])
        audio = audio_of(trial, folder)
        assert len(audio) == (4 if became_best else 0)
        assert all(piece.shape == (round(0.1 * RATE), 2) for piece in audio.values())


def test_the_pieces_are_what_they_are_called(folder: Path) -> None:
    prepared = PreparedSearch.prepare(load_config(folder / "small.toml"))
    evaluator = prepared.objective("vocals").evaluators[0]
    betas = (0.3, 0.6)
    outputs, task = evaluator.trajectory(betas, 0), evaluator.tasks[0]
    pieces = AudioKeeper(evaluator, ArtifactStore(folder), seconds=60.0).pieces(betas)
    reference = task.excerpt.references[task.excerpt.stems.index("vocals")]
    expected = (task.scene.mixture, outputs[0], outputs[2], reference)
    assert list(pieces) == ["1-mixture", "2-one-pass", "3-refined-2-steps", "4-reference"]
    peak = max(1.0, *(float(audio.abs().max()) for audio in expected))
    for piece, audio in zip(pieces.values(), expected, strict=True):
        torch.testing.assert_close(piece * peak, audio)
    assert max(float(piece.abs().max()) for piece in pieces.values()) <= 1


def test_values_and_passes_are_those_of_a_study_without_audio(folder: Path, tmp_path: Path) -> None:
    with_audio, without = trials_of(folder), trials_of(tmp_path, audio=0)
    assert [trial.values for trial in with_audio] == [trial.values for trial in without]
    assert [trial.params for trial in with_audio] == [trial.params for trial in without]
    for name in ("passes_run", "passes_saved"):
        assert [t.user_attrs[name] for t in with_audio] == [t.user_attrs[name] for t in without]
    assert not (tmp_path / "studies.db.artifacts").exists()


def test_passes_that_are_run_once_more_are_counted(tmp_path: Path) -> None:
    """Without memory nothing is shared: the audio's passes are then real ones, and none of them was saved."""
    (tmp_path / "plain").mkdir()
    trials, plain = trials_of(tmp_path, audio=0.1, memory=0), trials_of(tmp_path / "plain", audio=0, memory=0)
    extra = [t.user_attrs["passes_run"] - p.user_attrs["passes_run"] for t, p in zip(trials, plain, strict=True)]
    kept = [bool(audio_of(trial, tmp_path)) for trial in trials]
    assert any(kept)
    for trial, twin, more, has_audio in zip(trials, plain, extra, kept, strict=True):
        assert (more > 0) == has_audio
        assert trial.user_attrs["passes_saved"] == twin.user_attrs["passes_saved"] - more
        assert trial.values == twin.values


def test_audio_that_cannot_be_kept_is_said_once_and_costs_no_trial(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The folder goes away in mid-study, as a disk does that is unplugged."""
    path = write_study(tmp_path, tracks=2, refinement={"steps": 1}, search=RANDOM)
    config = load_config(path)
    store = artifact_store(tmp_path, create=False)
    keeper = AudioKeeper(PreparedSearch.prepare(config).objective("vocals").evaluators[0], store, 0.1)
    store._base_path = tmp_path / "unplugged"
    study = optuna.create_study()
    caplog.set_level(logging.WARNING, "schedopt")
    for _ in range(2):
        keeper(study.ask(), (0.5,))
    (line,) = [record.getMessage() for record in caplog.records]
    assert "no audio is kept from now on" in line


def test_a_folder_that_cannot_be_made_leaves_the_study_as_it_is(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "studies.db.artifacts").write_text("a file is in the way")
    caplog.set_level(logging.WARNING, "schedopt")
    trials = trials_of(tmp_path)
    assert len(trials) == 4
    assert all(trial.state.name == "COMPLETE" for trial in trials)
    assert any("no audio is kept" in record.getMessage() for record in caplog.records)


def test_the_folder_is_beside_a_sqlite_database_and_nowhere_else_unless_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert artifact_folder("sqlite:///studies/my.db") == tmp_path / "studies" / "my.db.artifacts"
    assert artifact_folder("postgresql+psycopg://me:secret@db/studies") is None
    assert artifact_folder("postgresql+psycopg://me@db/studies", "shared") == tmp_path / "shared"


def test_a_folder_that_others_can_write_is_not_used(tmp_path: Path) -> None:
    made = artifact_store(tmp_path / "mine", create=True).folder
    assert made.stat().st_mode & 0o077 == 0
    made.chmod(0o777)
    with pytest.raises(PermissionError, match="can be written by others"):
        artifact_store(made, create=True)
    made.chmod(0o700)
    (tmp_path / "link").symlink_to(made)
    with pytest.raises(NotADirectoryError):
        artifact_store(tmp_path / "link", create=True)
    with pytest.raises(FileNotFoundError):
        artifact_store(tmp_path / "none", create=False)
    if os.geteuid() == 0:
        os.chown(made, 65534, 65534)
        with pytest.raises(PermissionError):
            artifact_store(made, create=True)


def test_the_surest_trial_counts_as_the_best_too() -> None:
    """What is handed over is the trial with the surest gain, which need not have the highest score."""
    zeros = [0.0, 0.0, 0.0]

    def trial(value: float, gains: list[float]) -> FrozenTrial:
        attrs = {"steps": 1, "gain_by_track": gains}
        return optuna.create_trial(value=value, user_attrs=attrs)

    lucky, sure = trial(0.5, [1.6, 0.0, -0.1]), (0.2, [0.2, 0.2, 0.2])
    assert would_be_named([], zeros, *sure)
    assert would_be_named([lucky], zeros, *sure)
    assert not would_be_named([lucky], None, *sure)
    assert would_be_named([trial(*sure)], zeros, 0.5, [1.6, 0.0, -0.1])
    assert not would_be_named([lucky, trial(*sure)], zeros, 0.1, [0.1, 0.1, 0.1])
    assert not would_be_named([lucky, trial(*sure)], zeros, *sure)


def test_the_loudest_cut_is_found() -> None:
    audio = torch.full((2, 1000), 0.01)
    audio[:, 700:740] = 0.5
    first, count = loudest(audio, 100)
    assert count == 100
    assert first <= 700
    assert first + count >= 740
    assert loudest(audio, 5000) == (0, 1000)

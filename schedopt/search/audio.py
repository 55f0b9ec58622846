"""A few seconds to listen to: mixture, one pass, refined, reference, on trials that were selected or the highest.

Optuna takes an artifact only while its trial runs, so the objective calls this at the end of such a trial. What goes
wrong here is said once and never costs a trial.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import optuna
import soundfile
import torch
from optuna.artifacts import upload_artifact
from torch import Tensor

from schedopt.config import StudyConfig
from schedopt.evaluation import Evaluator
from schedopt.refinement import Refinement
from schedopt.schedules import Schedule
from schedopt.search.artifacts import ArtifactStore, artifact_folder, artifact_store

MIMETYPE = "audio/flac"

log = logging.getLogger("schedopt")


@dataclass
class AudioKeeper:
    """Adds audio to the running trial it is called with.

    Every trial gets the same cut of the same excerpt, so that schedules can be compared by ear: of the first excerpt
    in which the (first) target sounds, the `seconds` in which it is loudest.
    """

    evaluator: Evaluator
    store: ArtifactStore
    seconds: float
    _usable: bool = field(default=True, init=False)

    @classmethod
    def of(cls, config: StudyConfig, evaluator: Evaluator) -> AudioKeeper | None:
        """As the study file says; None where no audio is wanted, or its folder cannot be used from here."""
        folder = _wanted_folder(config)
        # Not made here: on another machine it would be one that nobody reads.
        store = None if folder is None else _store(folder, logging.INFO)
        return None if store is None else cls(evaluator, store, config.store.audio)

    def __call__(self, trial: optuna.Trial, betas: Schedule, refinement: Refinement | None = None) -> None:
        """Keep what `betas` (cut to the steps that count) makes of the excerpt.

        `refinement`: in place of the evaluator's.

        Costs no pass while the store holds the trajectory, else at most N+1, counted.
        """
        if not self._usable:
            return
        try:
            self._upload(trial, self.pieces(betas, refinement))
        except Exception as error:
            self._usable = False
            log.warning("%s: no audio is kept from now on: %s", self.store.folder, " ".join(str(error).split()))

    def pieces(self, betas: Schedule, refinement: Refinement | None = None) -> dict[str, Tensor]:
        """Name → (channels, samples), all with one gain such that none exceeds full scale."""
        task, target = self.evaluator.tasks[0], self.evaluator.refinement.target
        reference = self.evaluator.gains.get(target, 1.0) * task.excerpt.references[task.excerpt.stems.index(target)]
        states = self.evaluator.states(betas, 0, refinement=refinement, again=True)
        estimates = [state.output() for state in states]
        found = {
            "1-mixture": task.scene.mixture,
            "2-one-pass": estimates[0],
            f"3-refined-{len(betas)}-steps": estimates[-1],
            "4-reference": reference,
        }
        return comparable(found, reference, round(self.seconds * self.evaluator.separator.sample_rate))[0]

    def _upload(self, trial: optuna.Trial, pieces: dict[str, Tensor]) -> None:
        rate, target = self.evaluator.separator.sample_rate, self.evaluator.refinement.target
        with tempfile.TemporaryDirectory(prefix="schedopt-") as folder:
            for name, audio in pieces.items():
                path = Path(folder) / f"{target}-{name}.flac"
                soundfile.write(path, audio.numpy().T, rate, subtype="PCM_16")
                upload_artifact(artifact_store=self.store, file_path=str(path), study_or_trial=trial, mimetype=MIMETYPE)


def make_folder(config: StudyConfig) -> None:
    """Make the folder of a study file's audio, before the workers look for it."""
    folder = _wanted_folder(config)
    if folder is not None:
        _store(folder, logging.WARNING, create=True)


def _wanted_folder(config: StudyConfig) -> Path | None:
    return artifact_folder(config.study.storage, config.store.artifacts) if config.store.audio else None


def _store(folder: Path, level: int, *, create: bool = False) -> ArtifactStore | None:
    try:
        return artifact_store(folder, create=create)
    except OSError as error:
        log.log(level, "no audio is kept: %s", error)
        return None


def comparable(found: Mapping[str, Tensor], reference: Tensor, count: int) -> tuple[dict[str, Tensor], int]:
    """The `count` samples of each of `found` in which `reference` is loudest, and the first sample's position.

    All have one gain, such that none exceeds full scale: their levels can be compared.
    """
    first, count = loudest(reference, count)
    cut = {name: audio[:, first : first + count].cpu() for name, audio in found.items()}
    peak = max(1.0, *(float(audio.abs().max()) for audio in cut.values()))
    return {name: audio / peak for name, audio in cut.items()}, first


def loudest(audio: Tensor, count: int) -> tuple[int, int]:
    """First sample, and number of samples (at most `count`), of the loudest cut of (channels, samples)."""
    samples = audio.shape[-1]
    count = min(count, samples)
    energy = torch.nn.functional.pad(audio.double().square().sum(dim=0).cumsum(dim=0), (1, 0))  # (samples + 1,)
    return int(torch.argmax(energy[count:] - energy[: samples - count + 1])), count

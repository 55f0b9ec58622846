"""What a study would cost, from its excerpts and one timed pass."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

from schedopt.config import StudyConfig
from schedopt.disk import default_folder
from schedopt.search.prepared import PreparedSearch
from schedopt.search.study import study_name

GIB = 2**30


@dataclass(frozen=True)
class Estimate:
    """What the studies of a file cost from their beginning, at most.

    `passes`: as if no two trials shared one and none were pruned. `pass_seconds`: of one pass over one excerpt,
    measured, in one process. `seconds`: both multiplied. `memory`: GiB of this process after that pass, and the
    limit of `[store] memory`. `disk`: GiB that the states take, `disk_free` those that are free in `folder`.
    """

    studies: list[str]
    model: str
    device: str
    tracks: int
    excerpts: int
    audio_seconds: float
    trials: int
    workers: int
    passes: int
    pass_seconds: float
    seconds: float
    memory: float
    memory_free: float
    disk: float
    disk_free: float
    folder: str

    def rows(self) -> Iterator[tuple[str, str]]:
        """What a person reads: name and value."""
        yield "studies", ", ".join(self.studies)
        yield "model", f"{self.model} on {self.device}"
        yield "tracks", str(self.tracks)
        yield "excerpts", f"{self.excerpts}, {self.audio_seconds:.0f} s of audio"
        yield "trials", f"{self.trials} a study"
        yield "passes", f"at most {self.passes}; fewer, since trials share passes and hopeless ones are pruned"
        yield "one pass (timed)", f"{self.pass_seconds:.3f} s"
        among = f"; {self.workers} workers share it as far as cores or GPUs allow" if self.workers > 1 else ""
        yield "time", f"at most {_duration(self.seconds)} in one process{among}"
        yield "memory", f"up to {self.memory:.1f} GiB a process ({self.memory_free:.1f} GiB are free)"
        yield "disk", f"up to {self.disk:.1f} GiB in {self.folder} ({self.disk_free:.1f} GiB are free)"


def estimate(config: StudyConfig, *, trust_pickle: bool = False) -> Estimate:
    """What the studies of `config` cost. Two passes over one excerpt, of which the second is timed; touches no storage.

    Raises:
        SchedoptError: model or data cannot be used.
    """
    prepared = PreparedSearch.prepare(config, trust_pickle=trust_pickle, workers=config.study.workers)
    targets, steps, trials = config.refinement.targets, config.refinement.steps, config.study.trials
    tasks, estimated = 0, 0
    for target in targets:
        for evaluator in prepared.objective(target).evaluators:
            tasks += len(evaluator.tasks)
            stems = evaluator.refinement.stems_needed(prepared.separator.stems)
            estimated = max(estimated, len(stems))
    # Step 0 once a task; the line, β = 0 and every trial N steps.
    passes = tasks * (1 + steps * (2 + trials))
    pass_seconds = _timed_pass(prepared)
    longest = max(excerpt.references[0].nbytes for excerpt in prepared.excerpts)
    folder = Path(config.store.folder).expanduser() if config.store.folder else default_folder()
    there = next(one for one in (folder, *folder.parents) if one.exists())
    return Estimate(
        studies=[study_name(config, target) for target in targets],
        model=config.separator.model,
        device=str(prepared.separator.device),
        tracks=len({excerpt.track for excerpt in prepared.excerpts}),
        excerpts=len(prepared.excerpts),
        audio_seconds=round(sum(e.references.shape[-1] / e.sample_rate for e in prepared.excerpts), 3),
        trials=trials,
        workers=config.study.workers,
        passes=passes,
        pass_seconds=round(pass_seconds, 6),
        seconds=round(passes * pass_seconds, 3),
        memory=round(_peak_bytes() / GIB + min(config.store.memory, passes * estimated * longest / GIB), 3),
        memory_free=round(psutil.virtual_memory().available / GIB, 3),
        disk=round(min(config.store.disk, passes * estimated * longest / GIB), 3),
        disk_free=round(shutil.disk_usage(there).free / GIB, 3),
        folder=str(folder),
    )


def _timed_pass(prepared: PreparedSearch) -> float:
    """Seconds of a pass over the longest excerpt; the first pass also prepares the device, so the second counts."""
    excerpt = max(prepared.excerpts, key=lambda one: one.references.shape[-1])
    mixture = excerpt.references.sum(dim=0)  # (channels, samples)
    spent = 0.0
    for _ in range(2):
        began = time.perf_counter()
        prepared.separator(mixture[None])[0].cpu()
        spent = time.perf_counter() - began
    return spent


def _peak_bytes() -> int:
    """The most memory that this process has had."""
    if sys.platform == "win32":
        return int(psutil.Process().memory_info().rss)
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"

"""Several workers on one study: processes of this machine (joblib's loky), each running `loop.work`.

What a worker does is the same on a Dask cluster (`schedopt.workers.dask`): load the model, have the excerpts, check
that they are the study's, and add trials until the study is complete or `stop` says so.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import os
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pickle import PicklingError
from typing import Any

import joblib
import optuna
import torch
from joblib.externals.loky.process_executor import TerminatedWorkerError

from schedopt.config import DataSection, SeparatorSection, StoreSection, StudyConfig, StudySection
from schedopt.errors import SchedoptError, StudyError
from schedopt.evaluation import Passes, refinement_of
from schedopt.processes import ParentGone, Task, in_processes, threads_each
from schedopt.schedules import Schedule
from schedopt.search.objective import Objective
from schedopt.search.pruners import make_pruner
from schedopt.search.samplers import make_sampler
from schedopt.search.study import check_same, identity, study_name
from schedopt.search.workbench import KILLED, Workbench
from schedopt.storage.faults import set_hurried
from schedopt.storage.opening import open_storage
from schedopt.types import Excerpt
from schedopt.workers.loop import release_interrupted, work

Stop = Callable[[], bool]
"""Asked between excerpts: whether the worker is to end. It crosses to the worker's process."""


@dataclass(frozen=True)
class Job:
    """What a worker is told; `settings` is the study's config as JSON.

    `excerpts` (packed) and `scores` are what the command knows already; without excerpts the worker cuts them itself.
    A cluster writes the `repr` of such things to its logs, so the settings (they may hold a password) are not in it.
    """

    target: str
    device: str
    threads: int
    trust_pickle: bool
    settings: str = field(repr=False)
    excerpts: Sequence[dict[str, Any]] | None = field(default=None, repr=False)
    scores: Mapping[Hashable, float] = field(default_factory=dict, repr=False)


@dataclass
class Pool:
    """`config.study.workers` processes of this machine.

    CPU threads are divided among the workers; with several GPUs each worker takes the next one. The excerpts lie in
    memory once for all of them. A worker that dies takes at most the trials in flight with it: they are queued again
    and the pool starts anew.
    """

    bench: Workbench
    trust_pickle: bool = False

    def __post_init__(self) -> None:
        # Once: joblib knows an array that it has shared by the object.
        self._excerpts = [excerpt.packed() for excerpt in self.bench.excerpts]

    def rehearse(self, objective: Objective, target: str, schedules: Sequence[Schedule]) -> None:
        """Let the workers score `schedules`, each on its part of the excerpts, into the store of `objective`.

        Raises:
            StudyError: a worker gave up (its reason), or workers keep dying.
        """
        units = range(len(objective.units))
        tasks = [
            joblib.delayed(_rehearse)(job, self._stop(), schedules, units[share :: self._workers])
            for share, job in enumerate(self._jobs(target))
        ]
        first = objective.evaluators[0]
        for scores, passes in self._run(tasks, lambda: None):
            self.bench.store.scores.update(scores)
            # To be asked for again, by the one who wants the outcome: these were not saved then.
            first.passes.run += passes.run
            first.passes.saved -= passes.run

    def work(self, study: optuna.Study, target: str, report: Callable[[], None]) -> None:
        """Search until `study` has its trials; `report` is called every second.

        Raises:
            StudyError: a worker gave up (its reason), or workers keep dying.
            KeyboardInterrupt: as it comes, after the workers were ended and their trials queued again.
        """
        set_hurried(False)
        try:
            self._run([joblib.delayed(run_worker)(job, self._stop()) for job in self._jobs(target)], report)
        except BaseException:
            release_interrupted(study)
            raise

    @property
    def _workers(self) -> int:
        return self.bench.config.study.workers

    def _stop(self) -> Stop:
        return ParentGone(os.getpid())

    def _jobs(self, target: str) -> list[Job]:
        config, threads = self.bench.config, threads_each(self._workers)
        settings, scores = config.model_dump_json(), dict(self.bench.store.scores)
        return [
            Job(target, device, threads, self.trust_pickle, settings, self._excerpts, scores)
            for device in devices_for(self._workers, config.separator.device)
        ]

    def _run(self, tasks: Sequence[Task], tick: Callable[[], None]) -> list[Any]:
        try:
            return in_processes(tasks, self._workers, tick)
        except TerminatedWorkerError as error:
            raise StudyError(KILLED) from error
        except PicklingError as error:
            # Loky hides behind it what joblib met when it wrote the arrays down.
            if os.strerror(errno.ENOSPC) not in str(error.__cause__):
                raise
            size = sum(fields["references"].nbytes for fields in self._excerpts) / 2**30
            raise StudyError(
                f"no room to share {size:.1f} GiB of excerpts with the workers; "
                "set JOBLIB_TEMP_FOLDER to a folder that has it"
            ) from None


def _rehearse(
    job: Job, stop: Stop, schedules: Sequence[Schedule], units: Sequence[int]
) -> tuple[dict[Hashable, float], Passes]:
    """A worker's part of `Pool.rehearse`: the scores of its store, and what they cost."""
    bench, objective = _begin(job, stop)
    before = objective.passes()
    with contextlib.suppress(KeyboardInterrupt):  # from between two excerpts; nobody is there to be answered
        objective.rehearse(schedules, units)
    # The store may hold the trials of other targets too.
    mine = {evaluator.refinement for evaluator in objective.evaluators}
    scores = {key: score for key, score in bench.store.scores.items() if refinement_of(key) in mine}
    return scores, objective.passes() - before


def devices_for(workers: int, device: str) -> Sequence[str]:
    """The device of each worker: what the study file says, dealt out over the GPUs where there are several."""
    count = torch.cuda.device_count()
    if device in ("auto", "cuda") and count > 1:
        return [f"cuda:{index % count}" for index in range(workers)]
    return [device] * workers


def run_worker(job: Job, stop: Stop) -> None:
    """What one worker process does: join the study that the command has made.

    Raises:
        StudyError: the study, the model or the excerpts cannot be used here, or trials keep failing; one line.
    """
    try:
        bench, objective = _begin(job, stop)
        study = optuna.load_study(
            study_name=study_name(bench.config, job.target),
            storage=open_storage(bench.config.study.storage, create=False),
            sampler=make_sampler(bench.config),
            pruner=make_pruner(bench.config.search, objective.unit_tracks),
        )
        check_same(study, identity(bench.config, job.target, bench.separator, bench.excerpts))
        work(study, objective, bench.config.study.trials, stop=stop)
    except KeyboardInterrupt:
        # It came from between two excerpts, and `work` has put the trial back.
        return
    except SchedoptError as error:
        # Of its own kind and one line, so that it crosses processes as it is.
        raise StudyError(str(error)) from None


def _begin(job: Job, stop: Stop) -> tuple[Workbench, Objective]:
    """What the worker needs for its job; it raises `KeyboardInterrupt` after an excerpt where it is to `stop`."""
    torch.set_num_threads(job.threads)
    optuna.logging.set_verbosity(optuna.logging.CRITICAL)
    config = StudyConfig.model_validate_json(job.settings)
    separator = config.separator.model_copy(update={"device": job.device})

    def end_here(_done: int, _total: int) -> None:
        if stop():
            raise KeyboardInterrupt

    settings = (separator, config.data, config.store)
    bench = materials(*(part.model_dump_json() for part in settings), job.trust_pickle, cut=job.excerpts is None)
    bench = dataclasses.replace(bench, config=config)
    if job.excerpts is not None:
        # Anew for every job: the memory that the last one's lay in is then free.
        bench = dataclasses.replace(bench, excerpts=[Excerpt.unpacked(fields) for fields in job.excerpts])
    bench.store.scores.update(job.scores)
    return bench, bench.objective(job.target, end_here, note=False)


@lru_cache(maxsize=1)
def materials(separator: str, data: str, store: str, trust_pickle: bool, *, cut: bool) -> Workbench:
    """Model, store and (with `cut`) excerpts, once a process whatever its studies; the rest are sections as JSON."""
    config = StudyConfig(
        study=StudySection(name="any"),
        separator=SeparatorSection.model_validate_json(separator),
        data=DataSection.model_validate_json(data),
        store=StoreSection.model_validate_json(store),
    )
    return Workbench.prepare(config, trust_pickle=trust_pickle, excerpts=None if cut else ())

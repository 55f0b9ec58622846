"""Several workers on one study: processes of this machine, each running `loop.work`.

What a worker does is the same on a Dask cluster (`schedopt.workers.dask`): load the model, have the excerpts, check
that they are the study's, and add trials until the study is complete or `stop` says so.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import logging
import secrets
import tempfile
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import optuna
import torch

from schedopt.config import DataSection, SeparatorSection, StoreSection, StudyConfig, StudySection
from schedopt.errors import SchedoptError, StudyError
from schedopt.files.scratch import scratch_folder
from schedopt.registry import add_pickled, pickled_parts
from schedopt.search.prepared import PreparedSearch
from schedopt.search.pruners import make_pruner
from schedopt.search.samplers import make_sampler
from schedopt.search.study import check_same, identity, study_name
from schedopt.storage.faults import quiet_optuna, set_hurried
from schedopt.storage.opening import open_storage
from schedopt.storage.owners import is_dead, owner
from schedopt.workers.loop import Stop, release_interrupted, work
from schedopt.workers.processes import Processes, threads_each

log = logging.getLogger("schedopt")


@dataclass(frozen=True)
class Job:
    """What a worker is told; `settings` is the study's config as JSON, `parts` are those of `pickled_parts`.

    `excerpts` (a file) and `scores` are what the command knows already; without excerpts the worker cuts them itself.
    A cluster writes the `repr` of such things to its logs, so the settings (they may hold a password) are not in it.
    """

    target: str
    device: str
    threads: int
    trust_pickle: bool
    settings: str = field(repr=False)
    parts: bytes = field(repr=False)
    excerpts: str | None = None
    scores: Mapping[Hashable, float] = field(default_factory=dict, repr=False)


@dataclass
class Pool:
    """`config.study.workers` processes of this machine.

    CPU threads are divided among the workers; with several GPUs each worker takes the next one. The excerpts lie in
    memory once for all of them (`excerpts` is the file that they map). A worker that is killed takes the trial in
    flight with it: it is queued again, and a new worker starts.
    """

    config: StudyConfig
    processes: Processes
    excerpts: Path
    scores: Mapping[Hashable, float]
    trust_pickle: bool = False

    def work(self, study: optuna.Study, target: str, report: Callable[[], None]) -> None:
        """Search until `study` has its trials; `report` is called every second.

        A worker that gives up leaves the study to the others.

        Raises:
            StudyError: all workers gave up (the first one's reason), or keep dying.
            KeyboardInterrupt: as it comes, after the workers were ended and their trials queued again.
        """
        set_hurried(False)
        # Once this process was killed nobody could end the workers.
        stop = functools.partial(is_dead, owner())
        try:
            answers = self.processes.run([(run_worker, (job, stop)) for job in self._jobs(target)], report)
        except BaseException:
            release_interrupted(study)
            raise
        check_answers(answers)

    def _jobs(self, target: str) -> list[Job]:
        workers, settings = self.config.study.workers, self.config.model_dump_json()
        excerpts, parts = str(self.excerpts), pickled_parts()
        return [
            Job(target, device, threads_each(workers), self.trust_pickle, settings, parts, excerpts, self.scores)
            for device in devices_for(workers, self.config.separator.device)
        ]


@contextlib.contextmanager
def open_pool(prepared: PreparedSearch, *, trust_pickle: bool = False) -> Iterator[Pool]:
    """The workers for the studies of `prepared`, of which nothing but the scores is kept; they end with this.

    Raises:
        StudyError: there is no room for the file of excerpts.
    """
    config, scores = prepared.config, dict(prepared.store.scores)
    threads = str(threads_each(config.study.workers))
    # Threads that wait for one another by spinning would take the cores from the other workers.
    environment = {"OMP_WAIT_POLICY": "PASSIVE", "OMP_NUM_THREADS": threads, "OPENBLAS_NUM_THREADS": threads}
    with contextlib.ExitStack() as stack:
        try:
            path = stack.enter_context(scratch_folder(Path(tempfile.gettempdir()), secrets.token_hex())) / "excerpts.pt"
            with path.open("wb") as file:
                torch.save(list(prepared.excerpts), file)
        except (OSError, RuntimeError) as error:
            size = sum(excerpt.references.nbytes for excerpt in prepared.excerpts) / 2**30
            reason = getattr(error, "strerror", None) or " ".join(str(error).split())
            raise StudyError(
                f"no room to share {size:.1f} GiB of excerpts with the workers ({reason});"
                " set TMPDIR to a folder that has it"
            ) from None
        del prepared  # the model; each worker has its own
        processes = Processes(config.study.workers, environment)
        stack.callback(processes.end)
        yield Pool(config, processes, path, scores, trust_pickle)


def check_answers(answers: Sequence[SchedoptError | None], where: str = "") -> None:
    """Report the workers that gave up; raise the first one's reason if none has reached the study's end."""
    reasons = [answer for answer in answers if answer is not None]
    if reasons and len(reasons) == len(answers):
        raise StudyError(f"{where}{reasons[0]}")
    for reason in reasons:
        log.warning("a worker gave up: %s", reason)


def devices_for(workers: int, device: str) -> Sequence[str]:
    """The device of each worker: what the study file says, dealt out over the GPUs where there are several."""
    count = torch.cuda.device_count()
    if device in ("auto", "cuda") and count > 1:
        return [f"cuda:{index % count}" for index in range(workers)]
    return [device] * workers


def run_worker(job: Job, stop: Stop) -> None:
    """What one worker process does: join the study that the command has made. It ends after an excerpt where it is to
    `stop`.

    Raises:
        StudyError: the study, the model or the excerpts cannot be used here, or trials keep failing; one line.
    """

    def end_here(_done: int, _total: int) -> None:
        if stop():
            raise KeyboardInterrupt

    try:
        with quiet_optuna():
            prepared = _prepare(job)
            config, objective = prepared.config, prepared.objective(job.target, end_here, note=False)
            study = optuna.load_study(
                study_name=study_name(config, job.target),
                storage=open_storage(config.study.storage, create=False),
                sampler=make_sampler(config, trust_hub=True),  # the command that made the job has checked it
                pruner=make_pruner(config.search, objective.unit_tracks),
            )
            check_same(study, identity(config, job.target, prepared.separator, prepared.excerpts))
            work(study, objective, config.study.trials, stop=stop)
    except KeyboardInterrupt:
        # It came from between two excerpts, and `work` has put the trial back.
        return
    except SchedoptError as error:
        # Of its own kind and one line, so that it crosses processes as it is.
        raise StudyError(str(error)) from None


def _prepare(job: Job) -> PreparedSearch:
    """What the worker needs for its job. A study file may name what the command's process has registered."""
    add_pickled(job.parts)
    torch.set_num_threads(job.threads)
    config = StudyConfig.model_validate_json(job.settings)
    separator = config.separator.model_copy(update={"device": job.device})
    settings = (part.model_dump_json() for part in (separator, config.data, config.store))
    prepared = dataclasses.replace(materials(*settings, job.trust_pickle, job.excerpts, job.parts), config=config)
    prepared.store.scores.update(job.scores)
    return prepared


@lru_cache(maxsize=1)
def materials(
    separator: str, data: str, store: str, trust_pickle: bool, excerpts: str | None, parts: bytes
) -> PreparedSearch:
    """Model, store and excerpts (cut, or mapped from the file `excerpts`), once a process whatever its studies.

    The rest are sections as JSON, and the parts that were registered: of other code, scores may not be used again."""
    config = StudyConfig(
        study=StudySection(name="any"),
        separator=SeparatorSection.model_validate_json(separator),
        data=DataSection.model_validate_json(data),
        store=StoreSection.model_validate_json(store),
    )
    # The file is this user's own, in a folder that nobody else can write.
    found = None if excerpts is None else torch.load(excerpts, mmap=True, weights_only=False)
    return PreparedSearch.prepare(config, trust_pickle=trust_pickle, excerpts=found)

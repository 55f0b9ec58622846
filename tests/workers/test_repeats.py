"""Several workers score no schedule twice, and end a study whose every schedule has been scored."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from schedopt.config import make_config
from schedopt.schedules import Schedule
from schedopt.search.samplers import ALL_SCORED, make_sampler
from schedopt.search.space import suggest
from schedopt.storage.opening import open_storage
from schedopt.workers.loop import work

FRESH = multiprocessing.get_context("forkserver")
FRESH.set_forkserver_preload([__name__])


class Small:
    """An objective over the 25 schedules of a coarse linear family."""

    def __init__(self, sampler: str) -> None:
        self.config = make_config(
            {
                "study": {"name": "s"},
                "refinement": {"steps": 3},
                "schedule": {"resolution": 0.25},
                "search": {"sampler": sampler, "pruner": "none"},
            }
        )

    def propose(self, trial: optuna.Trial) -> Schedule:
        family, resolution = self.config.family(), self.config.schedule.resolution
        return family.make(suggest(trial, family, resolution), resolution)

    def __call__(self, trial: optuna.Trial) -> float:
        return -sum((beta - 0.4) ** 2 for beta in self.propose(trial))

    def study(self, url: str) -> optuna.Study:
        return optuna.create_study(
            storage=open_storage(url),
            study_name="s",
            direction="maximize",
            sampler=make_sampler(self.config),
            load_if_exists=True,
        )


def _work(sampler: str, url: str, trials: int) -> None:
    small = Small(sampler)
    work(small.study(url), small, trials)


def schedules(study: optuna.Study) -> list[Schedule]:
    family = Small("tpe").config.family()
    return [family.make(trial.params, 0.25) for trial in study.trials if trial.state == TrialState.COMPLETE]


@pytest.mark.parametrize("sampler", ["random", "tpe", "cmaes", "gp", "qmc", "prefix-gp"])
def test_a_small_family_ends_with_every_schedule_scored_once(sampler: str, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/s.db"
    _work(sampler, url, 20)
    study = Small(sampler).study(url)
    assert len(set(schedules(study))) == 20
    assert "ending" not in study.user_attrs
    _work(sampler, url, 60)
    assert len(schedules(study)) == len(set(schedules(study))) == 25
    assert study.user_attrs["ending"] == ALL_SCORED


def test_a_schedule_that_failed_is_tried_again(tmp_path: Path) -> None:
    url, failed = f"sqlite:///{tmp_path}/s.db", []

    class Fails(Small):
        def __call__(self, trial: optuna.Trial) -> float:
            if trial.number in (3, 5):
                failed.append(self.propose(trial))
                raise ValueError("once")
            return super().__call__(trial)

    small = Fails("tpe")
    work(small.study(url), small, 60)
    assert set(failed) <= set(schedules(small.study(url)))
    assert len(schedules(small.study(url))) == 25


@pytest.mark.parametrize("sampler", ["random", "prefix-gp"])
def test_workers_at_once_score_every_schedule_once(sampler: str, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/s.db"
    study = Small(sampler).study(url)
    processes = [FRESH.Process(target=_work, args=(sampler, url, 60)) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(240)
    assert [process.exitcode for process in processes] == [0] * 4
    assert len(schedules(study)) == len(set(schedules(study))) == 25
    assert study.user_attrs["ending"] == ALL_SCORED

"""Whatever stands in a study or schedule file: one clear line, no traceback, no path outside the output folder."""

from __future__ import annotations

import contextlib
import io
import json
import math
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import optuna
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import schedopt
from schedopt.cli import call
from schedopt.config import StudyConfig, load_config, make_config
from schedopt.errors import SchedoptError
from schedopt.files.schedule_file import Entry, ScheduleFile, load_schedule_file
from schedopt.files.writing import write_text
from schedopt.schedules import check_betas, line
from schedopt.search.export import as_csv, as_json, default_path
from schedopt.search.samplers import make_sampler
from schedopt.search.space import enqueue, suggest
from schedopt.storage.opening import open_storage
from schedopt.types import STEMS
from tests.fuzz import NAMES, VALUES, mutated

Result = TypeVar("Result")

EXAMPLES = int(os.environ.get("SCHEDOPT_FUZZ", "60"))
"""Of each test; a long hunt is SCHEDOPT_FUZZ=5000."""

bounded = settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)

STUDY: dict[str, Any] = {
    "study": {"name": "fuzz", "storage": "sqlite:///studies/s.db", "trials": 4, "seed": 1, "workers": 1},
    "data": {"source": "folder:music", "excerpt": 2.0, "excerpts_per_track": 1, "tracks": 3, "gains": {"bass": 0.5}},
    "separator": {"model": "demo", "device": "cpu", "precision": "float32", "overlap": 0.25},
    "refinement": {
        "target": ["vocals", "bass"],
        "rule": "ddpm",
        "steps": 3,
        "choose_steps": True,
        "shift": False,
        "output": "mean",
        "peak_guard": False,
        "sigma": 0.1,
    },
    "schedule": {"family": "linear", "resolution": 0.01, "space": {"start": [0.0, 0.5]}},
    "search": {
        "sampler": "random",
        "pruner": "none",
        "metric": "sdr",
        "grid": 3,
        "pareto": False,
        "objectives": ["si_sir", "si_sar"],
    },
    "store": {"memory": 1.0, "disk": 0.0, "folder": ""},
}

SCHEDULE: dict[str, Any] = {
    "format": 1,
    "kind": "schedopt schedule",
    "created": "2026-01-01T00:00:00+00:00",
    "model": {"model": "demo", "precision": "float32", "overlap": 0.25, "fingerprint": "0" * 16, "weights": "1" * 16},
    "data": {"source": "demo", "excerpt": 6.0, "excerpts_per_track": 1},
    "schedules": {
        "vocals": {
            "rule": "remix",
            "shift": True,
            "output": "mean",
            "seed": 3,
            "family": "linear",
            "params": {"start": 0.5, "end": 0.25},
            "steps": 2,
            "betas": [0.5, 0.25],
            "gains": {"bass": 2.0},
            "study": "fuzz",
            "trial": 7,
            "metric": "sdr",
            "search": {"baseline": 1.0, "value": 2.0, "gain": 1.0, "excerpts": 4},
        },
        "all": {"rule": "resum", "betas": [1.0]},
    },
    "points": {
        "clean": {
            "vocals": {
                "rule": "remix",
                "betas": [0.9],
                "objectives": {"si_sir": {"baseline": 1.0, "value": 2.0, "gain": 1.0, "excerpts": 4}},
            },
            "all": {"rule": "resum", "betas": [1.0]},
        },
    },
    "versions": {"schedopt": "0.1.0"},
}

PRESET: dict[str, Any] = json.loads(
    (Path(schedopt.__file__).parent / "files" / "presets" / "demo.schedule.json").read_text(encoding="utf-8")
)
"""A schedule file of today's format, with everything in it that there is."""

FAMILIES = {
    "linear": {"start": [0.0, 0.5], "end": [0.1, 1]},
    "cosine": {"peak": [0.5, 1.0], "offset": [0.0, 1.0]},
    "geometric": {"start": [0.0, 0.5], "ratio": [0.5, 2.0]},
    "karras": {"start": [0.0, 0.5], "rho": [1.0, 7.0]},
    "free": {"beta_1": [0.0, 0.5]},
}


def followed(make: Callable[[], Result]) -> Result | None:
    """What `make` makes, or None where it refuses in one line that can be shown as it stands."""
    try:
        return make()
    except SchedoptError as error:
        message = str(error)
    assert message
    assert message.isprintable(), message
    return None


@contextlib.contextmanager
def inside() -> Iterator[Path]:
    """A folder whose neighbours are watched: nothing may appear beside it."""
    with tempfile.TemporaryDirectory() as base:
        folder = Path(base) / "inside"
        folder.mkdir()
        yield folder
        assert [entry.name for entry in Path(base).iterdir()] == ["inside"]


def studies() -> st.SearchStrategy[dict[str, Any]]:
    """Study files of every family, spoiled."""
    documents = [
        {**STUDY, "schedule": {"family": name, "resolution": 0.01, "space": space}} for name, space in FAMILIES.items()
    ]
    return st.sampled_from(documents).flatmap(mutated)


@bounded
@given(studies())
def test_a_study_file_is_followed_or_refused_in_one_line(document: dict[str, Any]) -> None:
    config = followed(lambda: make_config(document, "fuzz.toml", Path("/nowhere")))
    if config is None:
        return
    # It crosses to other processes as JSON.
    assert StudyConfig.model_validate_json(config.model_dump_json()) == config
    assert config.refinement.targets


@bounded
@given(st.sampled_from(sorted(FAMILIES)), st.data())
def test_whatever_ranges_are_taken_can_be_searched(name: str, data: st.DataObject) -> None:
    schedule = {"family": name, "resolution": 0.01, "space": FAMILIES[name]}
    document = {**STUDY, "schedule": data.draw(mutated(schedule))}
    config = followed(lambda: make_config(document))
    if config is None:
        return
    family, resolution = config.family(), config.schedule.resolution
    study = optuna.create_study(sampler=make_sampler(config))
    enqueue(study, family, line(family.steps), resolution, "line")
    for _ in range(3):
        trial = study.ask()
        check_betas(family.make(suggest(trial, family, resolution), resolution))
        study.tell(trial, 1.0)


@bounded
@given(st.one_of(st.text(max_size=60).map(str.encode), st.binary(max_size=60)))
@example(b"study = " + b"[" * 5000)
@example(b'[study]\nname = "\\ud800"')
@example(b"[study]\nname = 1" + b"0" * 5000)
def test_any_bytes_as_a_study_file(content: bytes) -> None:
    with inside() as folder:
        path = folder / "fuzz.toml"
        path.write_bytes(content)
        followed(lambda: load_config(path))


@bounded
@given(
    st.one_of(
        st.text(max_size=30),
        st.builds("{}={}".format, st.sampled_from(["study.name", "data.gains", "schedule.space", "a.b"]), NAMES),
        st.builds("study.{}={}".format, NAMES, VALUES.map(repr)),
    )
)
@example("study.trials=" + "[" * 5000)
@example("study.trials=1" + "0" * 5000)
@example("study.a.b.c=1")
def test_any_override(override: str) -> None:
    with inside() as folder:
        (folder / "fuzz.toml").write_text('[study]\nname = "fuzz"\n')
        followed(lambda: load_config(folder / "fuzz.toml", [override]))


@bounded
@given(NAMES, st.sampled_from([*STEMS, "all"]))
def test_no_study_writes_outside_its_folder(name: str, target: str) -> None:
    with inside() as folder:
        document = {"study": {"name": name, "storage": f"sqlite:///{folder}/s.db"}, "refinement": {"target": target}}
        config = followed(lambda: make_config(document))
        if config is None:
            return
        path = default_path(config)
        write_text(path, "{}")
        assert [entry.name for entry in folder.iterdir()] == [path.name]
        assert not path.name.startswith(("-", "."))


@bounded
@given(st.one_of(st.text(max_size=30), st.text(max_size=20).map("sqlite:///{}".format)))
def test_any_storage_is_opened_or_refused_in_one_line(url: str) -> None:
    with inside():
        followed(lambda: open_storage(url, create=False))


@bounded
@given(st.sampled_from([SCHEDULE, PRESET]).flatmap(mutated))
def test_a_schedule_file_is_followed_or_refused_in_one_line(document: dict[str, Any]) -> None:
    with inside() as folder:
        path = folder / "fuzz.schedule.json"
        path.write_text(json.dumps(document))
        file = followed(lambda: load_schedule_file(path))
        if file is None:
            return
        check_tables(file)
        write_text(path, as_json(file))
        assert load_schedule_file(path) == file


def check_tables(file: ScheduleFile) -> None:
    """The β tables are what their names say, and every schedule can be applied."""
    rows = [row.split(",") for row in as_csv(file).splitlines()[1:]]
    tables: dict[tuple[str, ...], dict[str, Entry]] = {(name,): entries for name, entries in file.points.items()}
    tables = tables or {(): file.schedules}
    for point, entries in tables.items():
        for target, entry in entries.items():
            assert tuple(float(row[-1]) for row in rows if tuple(row[:-2]) == (*point, target)) == entry.betas
    assert len(rows) == sum(len(entry.betas) for entries in tables.values() for entry in entries.values())
    for stem, entry in file.entries().items():
        assert entry.refinement(stem).target == stem
        assert all(math.isfinite(value) for value in entry.params.values())


@bounded
@given(st.one_of(st.text(max_size=60).map(lambda text: text.encode("utf-8", "surrogatepass")), st.binary(max_size=60)))
def test_any_bytes_as_a_schedule_file(content: bytes) -> None:
    with inside() as folder:
        path = folder / "fuzz.schedule.json"
        path.write_bytes(content)
        followed(lambda: load_schedule_file(path))


@bounded
@given(studies(), NAMES)
def test_the_command_answers_with_one_line_and_1(document: dict[str, Any], name: str) -> None:
    """Through the whole command line, with the study's name on it too."""
    with inside() as folder:
        path = folder / "fuzz.toml"
        path.write_text(f"study = {json.dumps(document.get('study'))}", encoding="utf-8", errors="replace")
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            url = f"sqlite:///{folder}/none.db"
            code = call(["status", str(path), "--storage", url, "--set", f"study.name={name}"])
        assert code == 1
        assert out.getvalue() == ""
        assert len(err.getvalue().splitlines()) == 1, err.getvalue()
        assert err.getvalue().rstrip("\n").isprintable(), err.getvalue()


def test_the_documents_that_are_spoiled_are_good(tmp_path: Path) -> None:
    for name, space in FAMILIES.items():
        make_config({**STUDY, "schedule": {"family": name, "space": space}})
    (tmp_path / "a.json").write_text(json.dumps(SCHEDULE))
    check_tables(load_schedule_file(tmp_path / "a.json"))

"""Samplers of OptunaHub, from a registry that lies in its client's cache: nothing is downloaded."""

from __future__ import annotations

import sys
from pathlib import Path

import optuna
import pytest

from schedopt.cli import call
from schedopt.config import StudyConfig, make_config
from schedopt.errors import ConfigError
from schedopt.search.samplers import make_sampler
from schedopt.workers.run import run
from tests.studies import make_study

Capture = pytest.CaptureFixture[str]

PACKAGE = '''
from optuna.samplers import BaseSampler, RandomSampler

class CountingSampler(RandomSampler):
    """Knows how many trials it has seen, in itself alone."""

    def __init__(self, offset: int = 0, seed: int | None = None) -> None:
        super().__init__(seed)
        self.seen = offset

    def after_trial(self, study, trial, state, values):
        self.seen += 1
        study.set_user_attr("seen", self.seen)
        super().after_trial(study, trial, state, values)

class OtherSampler(RandomSampler):
    pass

__all__ = {names}
'''


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """OptunaHub's cache folder, in which its client finds a package as if it had been downloaded."""
    monkeypatch.setenv("OPTUNAHUB_CACHE_HOME", str(tmp_path / "hub"))
    folder = tmp_path / "hub" / "github.com" / "optuna" / "optunahub-registry" / "main" / "package" / "samplers"
    for name, names in (("one", ["CountingSampler"]), ("two", ["CountingSampler", "OtherSampler"]), ("none", [])):
        (folder / name).mkdir(parents=True)
        (folder / name / "__init__.py").write_text(PACKAGE.replace("{names}", repr(names)))
    (folder / "broken").mkdir()
    (folder / "broken" / "__init__.py").write_text("import a_package_that_is_not_there")
    return folder


def config(sampler: str, **search: object) -> StudyConfig:
    return make_config({"study": {"name": "s"}, "search": {"sampler": sampler, **search}})


def test_a_study_is_searched_by_a_sampler_of_the_hub(registry: Path, tmp_path: Path) -> None:
    settings = make_study(
        tmp_path, study={"trials": 4}, search={"sampler": "hub:one", "sampler_options": {"offset": 100}}
    )
    (summary,) = run(settings, trust_hub=True)
    assert summary.finished == 4
    study = optuna.load_study(study_name="small", storage=settings.study.storage)
    # One sampler for all trials that were sampled, with the option of the study file.
    assert study.user_attrs["seen"] == 104


def test_workers_load_it_too(registry: Path, tmp_path: Path) -> None:
    settings = make_study(tmp_path, study={"trials": 6, "workers": 2}, search={"sampler": "hub:two:OtherSampler"})
    (summary,) = run(settings, trust_hub=True)
    assert summary.finished >= 6


def test_nothing_is_loaded_that_is_not_trusted(registry: Path, tmp_path: Path, capsys: Capture) -> None:
    (registry / "one" / "__init__.py").write_text(f"import pathlib; pathlib.Path({str(tmp_path / 'ran')!r}).touch()")
    make_study(tmp_path, search={"sampler": "hub:one"})
    assert call(["run", str(tmp_path / "small.toml")]) == 1
    (line,) = [line for line in capsys.readouterr().err.splitlines() if not line.startswith("note:")]
    assert line == (
        "schedopt: search.sampler = 'hub:one' downloads code from OptunaHub and runs it; if you trust it, add"
        " --trust-hub (in Python: trust_hub=True)"
    )
    # Reading the study file, its costs and its status load nothing either.
    assert call(["run", str(tmp_path / "small.toml"), "--dry-run"]) == 0
    assert not (tmp_path / "ran").exists()
    assert call(["run", str(tmp_path / "small.toml"), "--trust-hub"]) == 1
    assert (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("sampler", "search", "says"),
    [
        ("hub:two", {}, "several samplers; write one of hub:two:CountingSampler, hub:two:OtherSampler"),
        ("hub:two:Third", {}, "the package has no sampler Third"),
        ("hub:none", {}, "the package has no sampler$"),
        ("hub:broken", {}, "cannot be loaded from OptunaHub .*a_package_that_is_not_there"),
        (
            "hub:one",
            {"sampler_options": {"offsett": 1}},
            "CountingSampler has no option 'offsett' .did you mean",
        ),
    ],
)
def test_what_cannot_be_used_is_one_line(registry: Path, sampler: str, search: dict[str, object], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        make_sampler(config(sampler, **search), trust_hub=True)


def test_a_registry_that_cannot_be_reached_is_one_line(registry: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CONFIG_COUNT", "1")
    monkeypatch.setenv("GIT_CONFIG_KEY_0", "url.file:///nothing/.insteadOf")
    monkeypatch.setenv("GIT_CONFIG_VALUE_0", "https://github.com/")
    with pytest.raises(ConfigError, match=r"'hub:missing' cannot be loaded from OptunaHub \(.*: check its name"):
        make_sampler(config("hub:missing"), trust_hub=True)


def test_without_the_client_the_extra_is_named(registry: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optunahub", None)
    with pytest.raises(ConfigError, match=r"needs the package optunahub: pip install '\.\[hub\]'"):
        make_sampler(config("hub:one"), trust_hub=True)


@pytest.mark.parametrize("name", ["hub:", "hub:../one", "hub:a b", "hub:one:2x", "hub:one:A:B"])
def test_a_name_that_is_none_is_refused_with_the_study_file(name: str) -> None:
    with pytest.raises(ConfigError, match="is not hub:NAME or hub:NAME:CLASS"):
        config(name)

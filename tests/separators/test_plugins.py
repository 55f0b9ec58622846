"""Separators of other packages: one that wraps Open-Unmix runs a study, a benchmark and `separate`."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from schedopt.errors import SeparatorError
from schedopt.evaluation import Evaluator
from schedopt.refinement import Refinement
from schedopt.separators import SEPARATORS, Separator, as_separator, load_separator
from schedopt.separators.plugins import build
from schedopt.trajectory import Scene, refine
from tests.models import noise_excerpt
from tests.songs.songs import write_song
from tests.studies import write_study, write_tracks

PACKAGE = Path(__file__).parent / "openunmix_package"
LONGEST = 40
"""Lines that a plug-in of this kind may take."""


class Halves:
    """Two stems, each half of the mixture, plus what the shift trick can see: the sample's place."""

    stems = ("vocals", "rest")
    sample_rate = 44_100
    channels = 2
    device = torch.device("cpu")
    fingerprint = "halves"

    def __call__(self, mixtures: Tensor) -> Tensor:
        return torch.stack([0.5 * mixtures, 0.5 * mixtures], dim=1)


def installed(folder: Path) -> dict[str, str]:
    """The package as pip leaves it in a folder of packages; the environment in which it is there."""
    site = folder / "site"
    info = site / "schedopt_openunmix-1.0.dist-info"
    info.mkdir(parents=True)
    shutil.copy(PACKAGE / "schedopt_openunmix.py", site)
    shutil.copy(PACKAGE / "entry_points.txt", info)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: schedopt-openunmix\nVersion: 1.0\n")
    root = str(Path(__file__).parents[2])
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(site), root])}


def schedopt(environment: dict[str, str], *arguments: str) -> str:
    command = [sys.executable, "-m", "schedopt", *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_open_unmix_runs_a_study_a_benchmark_and_separates(tmp_path: Path) -> None:
    environment = installed(tmp_path)
    options = {"target": "vocals", "steps": 2, "shift": True}
    path = write_study(
        tmp_path, separator={"model": "plugin:openunmix"}, refinement=options, study={"trials": 3, "workers": 2}
    )
    run = json.loads(schedopt(environment, "run", str(path), "--json"))
    assert run["trials"]["complete"] + run["trials"]["pruned"] == 3
    write_tracks(tmp_path / "music", 2, split="held-out", first=7)
    file = tmp_path / "small.schedule.json"
    held_out = json.loads(schedopt(environment, "benchmark", str(file), "--against", "shift", "--json"))
    assert held_out["model"]["model"] == "plugin:openunmix"
    song = write_song(tmp_path / "song.wav", 3.0)
    schedopt(environment, "separate", str(song), "--schedule", str(file), "-o", str(tmp_path / "out"))
    assert {made.name for made in (tmp_path / "out").rglob("*.wav")} == {
        "vocals.wav",
        "drums.wav",
        "bass.wav",
        "other.wav",
    }


def test_a_plug_in_is_short() -> None:
    assert len((PACKAGE / "schedopt_openunmix.py").read_text().splitlines()) < LONGEST


def test_an_object_serves_as_it_is() -> None:
    excerpt = noise_excerpt(1)
    evaluator = Evaluator(as_separator(Halves()), [excerpt], Refinement("vocals"))
    scores = evaluator.scores((0.5, 0.5))
    assert scores.shape == (1, 3)
    # Half of the mixture, then half of (1 − β)·y + β·y/2.
    mixture = excerpt.references.sum(0)
    outputs = list(refine(as_separator(Halves()), Scene(mixture), (0.5,), Refinement("vocals")))
    torch.testing.assert_close(outputs[1], 0.5 * (0.5 * mixture + 0.25 * mixture))


def test_a_plug_in_leaves_the_mean_where_it_puts_it() -> None:
    separator = as_separator(Halves())
    assert float(separator.mean_of(torch.ones(2, 10))) == 0
    (state,) = refine(separator, Scene(torch.ones(2, 10)), (), Refinement("vocals", rule="unmix"))
    assert torch.equal(state, torch.full((2, 10), 0.5))


@pytest.mark.parametrize("segment", [None, 0.01])
def test_long_mixtures_arrive_whole_or_in_segments(segment: float | None) -> None:
    lengths: list[int] = []

    class Told(Halves):
        def __call__(self, mixtures: Tensor) -> Tensor:
            lengths.append(mixtures.shape[-1])
            return super().__call__(mixtures)

    plugin = Told()
    if segment is not None:
        plugin.segment = segment  # type: ignore[attr-defined]
    mixture = torch.randn(1, 2, 5000, generator=torch.Generator().manual_seed(0))
    estimates = Separator.from_model(plugin)(mixture, shift=100, stems=("rest",))
    torch.testing.assert_close(estimates, 0.5 * mixture[:, None])
    assert max(lengths) == (5100 if segment is None else 441)


def test_a_registered_one_is_found_by_name() -> None:
    SEPARATORS.register("halves", Halves)
    try:
        assert load_separator("plugin:halves").stems == ("vocals", "rest")
    finally:
        del SEPARATORS.added["halves"]


class Odd(Halves):
    def __call__(self, mixtures: Tensor) -> Tensor:
        return mixtures


def test_what_is_no_separator_is_said_in_one_line() -> None:
    with pytest.raises(SeparatorError, match="there is no separator 'nowhere'"):
        load_separator("plugin:nowhere")
    with pytest.raises(SeparatorError, match="a separator needs stems, sample_rate"):
        as_separator(object())  # type: ignore[arg-type]
    with pytest.raises(SeparatorError, match="gives estimates of shape"):
        as_separator(Odd())(torch.ones(1, 2, 10))


def raises(_: Tensor) -> Tensor:
    raise KeyError("a word")


@pytest.mark.parametrize(
    ("estimates", "line"),
    [
        (lambda x: torch.stack([x, x / 0], dim=1), "gives estimates that are not finite"),
        (lambda x: torch.stack([x, x], dim=1).int(), "gives torch.int32; a tensor of floating-point numbers"),
        (lambda x: torch.stack([x, x], dim=1) * 1j, "gives torch.complex64; a tensor of floating-point numbers"),
        (lambda _: None, "gives NoneType; a tensor of floating-point numbers"),
        (lambda x: x.numpy(), "gives ndarray; a tensor of floating-point numbers"),
        (raises, "KeyError: 'a word'"),
    ],
)
def test_what_a_plug_in_gives_wrongly_names_it(estimates: Callable[[Tensor], Any], line: str) -> None:
    class Wrong(Halves):
        def __call__(self, mixtures: Tensor) -> Any:
            return estimates(mixtures)

    separator = build(Wrong(), name="plugin:wrong")
    with pytest.raises(SeparatorError, match=f"plugin:wrong: {line}"):
        separator(torch.ones(1, 2, 100))


@pytest.mark.parametrize(
    ("attributes", "line"),
    [
        ({"stems": ("vocals", "vocals")}, "its stems are vocals, vocals; each is named once"),
        ({"stems": ()}, "its stems are none"),
        ({"device": "nope"}, "device, sample_rate or channels: "),
        ({"sample_rate": None}, "device, sample_rate or channels: "),
        ({"segment": "1"}, "segment is '1'; it is seconds above 0"),
        ({"segment": float("nan")}, "segment is nan; it is seconds above 0"),
    ],
)
def test_attributes_that_cannot_be_are_one_line(attributes: dict[str, Any], line: str) -> None:
    with pytest.raises(SeparatorError, match=f"plugin: {line}"):
        as_separator(type("Wrong", (Halves,), attributes)())


@pytest.mark.parametrize("name", [None, 5, "", " ", "x\ny"])
def test_a_name_is_one_line_of_text(name: Any) -> None:
    with pytest.raises(SeparatorError, match="is no name for a separator: it is one line of text"):
        SEPARATORS.register(name, Halves)

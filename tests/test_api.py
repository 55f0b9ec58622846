"""`schedopt.api` in the place of `demucs.api`: the calls of its documentation, its results, and schedules on top."""

from __future__ import annotations

import functools
import inspect
import random
from pathlib import Path
from typing import Any

import demucs.api
import pytest
import torch

import schedopt.api
from schedopt.errors import SchedoptError, ScheduleError
from schedopt.files.schedule_file import load_schedule_file
from schedopt.separators import Separator, save_safetensors
from schedopt.trajectory import Scene, refine
from tests.models import RATE, tiny_hdemucs
from tests.proof.schedules import write_schedule
from tests.separators.networks import demucs as demucs_network
from tests.separators.networks import difference, mixed_bag, mixture
from tests.songs.songs import write_song

SONG = mixture(RATE)


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    """A folder with a model, `tiny`, and a schedule file for two of its stems."""
    save_safetensors(tiny_hdemucs(), tmp_path / "tiny.safetensors")
    write_schedule(tmp_path, "s", vocals={"betas": [0.5, 0.25]}, bass={"betas": [0.4], "shift": True, "output": "mean"})
    return tmp_path


def test_it_takes_what_demucs_takes() -> None:
    for name in ("__init__", "update_parameter", "separate_tensor", "separate_audio_file"):
        ours = inspect.signature(getattr(schedopt.api.Separator, name)).parameters
        theirs = inspect.signature(getattr(demucs.api.Separator, name)).parameters
        if "args" not in ours:
            assert list(ours)[: len(theirs)] == list(theirs)
    assert issubclass(schedopt.api.Separator, demucs.api.Separator)
    assert schedopt.api.list_models is demucs.api.list_models
    for name in ("LoadAudioError", "LoadModelError", "save_audio"):
        assert getattr(schedopt.api, name) is getattr(demucs.api, name)


@pytest.mark.parametrize("schedule", [False, True])
def test_the_calls_of_demucs_documentation(repo: Path, schedule: bool) -> None:
    """docs/api.md of demucs, with a local model, and with a schedule or without."""
    options: dict[str, Any] = {"schedule": repo / "s.schedule.json"} if schedule else {}
    # demucs shifts at random, and its HDemucs fails on a last segment that happens to be short.
    random.seed(0)
    write_song(repo / "file.mp3")
    events: list[dict[str, Any]] = []

    separator = schedopt.api.Separator(
        "tiny", repo, device="cpu", segment=1, callback=events.append, callback_arg={"mine": 1}, **options
    )
    assert (separator.samplerate, separator.audio_channels) == (RATE, 2)
    assert list(separator.model.sources) == ["drums", "bass", "other", "vocals"]
    origin, separated = separator.separate_audio_file(repo / "file.mp3")
    assert list(separated) == ["drums", "bass", "other", "vocals"]
    assert all(source.shape == origin.shape for source in separated.values())
    documented = {"model_idx_in_bag", "shift_idx", "segment_offset", "state", "audio_length", "models", "mine"}
    assert all(documented <= set(event) for event in events)
    assert [event["state"] for event in events[:2]] == ["start", "end"]
    assert events[0]["audio_length"] == origin.shape[1]

    audio = mixture(RATE // 2)
    origin, separated = separator.separate_tensor(audio)
    assert torch.equal(origin, audio)
    origin, separated = separator.separate_tensor(mixture(RATE // 4), sr=RATE // 2)
    assert origin.shape[1] == pytest.approx(RATE // 2, abs=2)
    events.clear()
    separator.update_parameter(segment=0.25, callback=events.append)
    separator.separate_tensor(audio)
    assert {event["segment_offset"] for event in events} >= {0, int(0.75 * int(RATE * 0.25))}

    for stem, source in separated.items():
        schedopt.api.save_audio(source, str(repo / f"{stem}_file.mp3"), separator.samplerate)
        schedopt.api.save_audio(source, repo / f"{stem}.wav", samplerate=separator.samplerate, as_float=True)
    assert schedopt.api.list_models(repo)["single"].keys() == demucs.api.list_models(repo)["single"].keys()


def test_without_a_schedule_it_is_demucs(repo: Path) -> None:
    ours = schedopt.api.Separator("tiny", repo=repo, device="cpu", shifts=0)
    for network in (tiny_hdemucs(), mixed_bag(), demucs_network()):
        ours._model = network.eval()
        theirs = demucs.api.Separator.__new__(demucs.api.Separator)
        theirs.__dict__.update(
            {k: v for k, v in ours.__dict__.items() if hasattr(demucs.api.Separator, k) or k[0] == "_"}
        )
        expected = theirs.separate_tensor(SONG)[1]
        found = ours.separate_tensor(SONG)[1]
        assert all(torch.equal(found[stem], expected[stem]) for stem in expected)
        # Our own way to run a network gives the same.
        one = Separator.from_model(network, device="cpu")(SONG[None])[0]
        assert all(difference(one[k], expected[stem]) < 1e-5 for k, stem in enumerate(network.sources))


def test_a_schedule_refines_its_stems_and_no_others(repo: Path) -> None:
    plain = schedopt.api.Separator("tiny", repo, device="cpu", shifts=0).separate_tensor(SONG)[1]
    separator = schedopt.api.Separator(schedule=repo / "s.schedule.json", device="cpu")
    found = separator.separate_tensor(SONG)[1]
    entries = load_schedule_file(repo / "s.schedule.json").schedules
    one = Separator.from_model(tiny_hdemucs(), device="cpu")
    for stem, estimate in found.items():
        if stem in entries:
            steps = refine(one, Scene(SONG), entries[stem].betas, entries[stem].refinement(stem))
            assert difference(estimate, list(steps)[-1]) < 1e-5
        else:
            assert difference(estimate, plain[stem]) < 1e-5
    # The same again, and demucs again once the schedule is taken away.
    assert all(torch.equal(found[stem], again) for stem, again in separator.separate_tensor(SONG)[1].items())
    separator.update_parameter(schedule=None, shifts=0)
    assert torch.equal(separator.separate_tensor(SONG)[1]["vocals"], plain["vocals"])


def test_split_shifts_and_progress_with_a_schedule(repo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make = functools.partial(schedopt.api.Separator, schedule=repo / "s.schedule.json", device="cpu")
    long = mixture(3 * RATE)
    whole = make(split=False, progress=True).separate_tensor(long)[1]["other"]
    assert "seconds" in capsys.readouterr().err
    at_once = Separator.from_model(tiny_hdemucs(), device="cpu", overlap=0, segment=3)(long[None])[0, 2]
    assert difference(whole, at_once) < 1e-5
    events: list[dict[str, Any]] = []
    make(shifts=2, callback=events.append).separate_tensor(SONG)
    assert {event["shift_idx"] for event in events} == {0, 1}
    assert {(event["target"], event["step"]) for event in events} == {
        (None, 0),
        ("bass", 1),
        ("vocals", 1),
        ("vocals", 2),
    }


def test_a_callback_can_abort(repo: Path) -> None:
    def abort(_: dict[str, Any]) -> None:
        raise KeyboardInterrupt

    separator = schedopt.api.Separator(schedule=repo / "s.schedule.json", device="cpu", callback=abort)
    with pytest.raises(KeyboardInterrupt):
        separator.separate_tensor(SONG)


def test_mistakes_have_names(repo: Path) -> None:
    with pytest.raises(schedopt.api.LoadModelError, match="no model is called 'htdemucz'"):
        schedopt.api.Separator("htdemucz")
    save_safetensors(tiny_hdemucs(seed=1), repo / "other.safetensors")
    with pytest.raises(ScheduleError, match=r"s\.schedule\.json: searched with other weights .* model="):
        schedopt.api.Separator("other", repo, schedule=repo / "s.schedule.json", device="cpu")
    with pytest.raises(ScheduleError, match="no such schedule file"):
        schedopt.api.Separator("tiny", repo, schedule="nothing.json")
    separator = schedopt.api.Separator(schedule=repo / "s.schedule.json", device="cpu")
    with pytest.raises(SchedoptError, match=r"shape \(2, samples\), not \(3, 100\)"):
        separator.separate_tensor(torch.zeros(3, 100))


@pytest.mark.parametrize("bad", [torch.full((2, 100), float("nan")), torch.ones(2, 100) * 1j])
def test_a_wave_that_is_not_finite_or_not_real_is_refused(repo: Path, bad: torch.Tensor) -> None:
    separator = schedopt.api.Separator("tiny", repo, schedule=repo / "s.schedule.json")
    with pytest.raises(SchedoptError, match="the wave holds NaN, infinite or complex samples"):
        separator.separate_tensor(bad)

"""Cheaper passes: the same estimates, a choice that is measured once a machine, and no setting left behind."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from schedopt.disk import default_folder
from schedopt.separators import Separator, load_separator, save_safetensors
from schedopt.separators.demucs import faster
from schedopt.store import pass_key
from tests.separators.networks import NETWORKS, SAMPLES, as_demucs_does, difference, htdemucs, mixture
from tests.separators.test_apply_model import TOLERANCE, lengths_for


@pytest.fixture
def everything(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every setting is chosen."""
    monkeypatch.setattr(faster, "choose", lambda model: tuple(faster.SETTINGS))


@pytest.mark.parametrize("kind", NETWORKS)
def test_estimates_are_those_of_apply_model(kind: str, everything: None) -> None:
    model = NETWORKS[kind]()
    separator = Separator.from_model(model, device="cpu", optimise=True)
    assert separator.optimised == tuple(faster.SETTINGS)
    for samples in lengths_for(kind):
        wave = mixture(samples)
        expected = as_demucs_does(model, wave)
        assert difference(separator(wave[None])[0], expected) < TOLERANCE
        some = separator(wave[None], stems=(separator.stems[2], separator.stems[1]))[0]
        assert difference(some, expected[[2, 1]]) < TOLERANCE


def test_attention_leaves_the_fast_path_and_no_setting_of_the_process_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[bool] = []
    fast = torch._native_multi_head_attention

    def counted(*args: Any, **kwargs: Any) -> Any:
        calls.append(True)
        return fast(*args, **kwargs)

    monkeypatch.setattr(torch, "_native_multi_head_attention", counted)
    model, wave = htdemucs(t_layers=3).eval(), mixture(SAMPLES)[None]
    with torch.inference_mode():
        before = model(wave)
        assert calls
        calls.clear()
        faster.apply(model, ["plain_attention"])
        after = model(wave)
    assert not calls
    assert torch.backends.mha.get_fastpath_enabled()
    assert difference(after, before) < TOLERANCE


def test_a_choice_is_measured_once_and_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(faster, "SMALLEST", 0)
    taken = {"": 1.0, "channels_last": 0.9, "plain_attention": 0.99}
    measured: list[str] = []

    def seconds(model: nn.Module, noise: torch.Tensor) -> float:
        name = next((name for name in taken if name and _has(model, name)), "")
        measured.append(name)
        return taken[name]

    monkeypatch.setattr(faster, "_seconds", seconds)
    assert faster.choose(htdemucs()) == ("channels_last",)
    assert set(measured) == set(taken)
    measured.clear()
    assert faster.choose(htdemucs(seed=1)) == ("channels_last",)  # other weights, the same architecture
    assert not measured
    (kept,) = (default_folder() / "settings").iterdir()
    for broken in ("", "{}", '["unknown"]', "[[]]", "3"):
        kept.write_text(broken)
        assert faster.choose(htdemucs()) == ("channels_last",)
    assert json.loads(kept.read_text()) == ["channels_last"]


def _has(model: nn.Module, setting: str) -> bool:
    if setting == "plain_attention":
        return any(module._forward_pre_hooks for module in model.modules())
    kernels = (
        module.weight for module in model.modules() if isinstance(module, nn.Conv2d) and module.kernel_size[0] > 1
    )
    return any(not weight.is_contiguous() for weight in kernels)


def test_a_folder_that_cannot_be_written_is_no_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SCHEDOPT_CACHE", str(tmp_path / "file"))
    monkeypatch.setattr(faster, "SMALLEST", 0)
    assert set(faster.choose(htdemucs())) <= set(faster.SETTINGS)


def test_small_models_are_not_measured() -> None:
    assert faster.choose(htdemucs()) == ()
    assert not (default_folder() / "settings").exists()


def test_the_key_switches_it_off_and_passes_are_kept_apart(tmp_path: Path, everything: None) -> None:
    path = str(tmp_path / "tiny.safetensors")
    save_safetensors(htdemucs(), path)
    on, off = (load_separator(path, device="cpu", optimise=optimise) for optimise in (True, False))
    assert (on.optimised, off.optimised) == (tuple(faster.SETTINGS), ())
    assert on.fingerprint == off.fingerprint  # the same separator: schedules serve both
    assert pass_key(on) != pass_key(off)
    assert load_separator(path, device="cpu", precision="bfloat16").optimised == ()


def test_the_given_model_is_left_as_it_is(everything: None) -> None:
    model = htdemucs()
    Separator.from_model(model, device="cpu", optimise=True)
    assert not any(_has(model, setting) for setting in faster.SETTINGS)


def test_two_threads_at_once(everything: None) -> None:
    separator = Separator.from_model(htdemucs(), device="cpu", optimise=True)
    waves = mixture(SAMPLES)[None]
    expected = {stem: separator(waves, stems=(stem,)) for stem in separator.stems}
    found: dict[str, torch.Tensor] = {}

    def run(stem: str) -> None:
        found[stem] = separator(waves, stems=(stem,))

    threads = [threading.Thread(target=run, args=(stem,)) for stem in separator.stems]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(torch.equal(found[stem], expected[stem]) for stem in separator.stems)

"""Safetensors files: written as demucs reads them; read without trusting them."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from demucs.hf import load_safetensors_model
from safetensors.torch import save_file

from schedopt.errors import SeparatorError
from schedopt.separators import Separator, load_separator, save_safetensors
from tests.separators.networks import SAMPLES, demucs, hdemucs, htdemucs, mixture

GOOD = {"klass": "demucs.demucs.Demucs", "args": json.dumps([["drums", "bass", "other", "vocals"]]), "kwargs": "{}"}
SMALL = {"channels": 4, "depth": 3}


def refusal(path: Path) -> str:
    """The one line with which a file is refused."""
    with pytest.raises(SeparatorError) as caught:
        load_separator(str(path), device="cpu")
    message = str(caught.value)
    assert "\n" not in message
    assert str(path) in message
    return message


def write(path: Path, *, tensors: Any = None, **metadata: str) -> Path:
    save_file({"x": torch.zeros(1)} if tensors is None else tensors, path, {**GOOD, **metadata})
    return path


@pytest.mark.parametrize("model", [htdemucs(), hdemucs(), demucs()], ids=["htdemucs", "hdemucs", "demucs"])
def test_what_is_saved_comes_back(model: Any, tmp_path: Path) -> None:
    path, waves = tmp_path / "model.safetensors", mixture(SAMPLES)[None]
    save_safetensors(model, path)
    loaded = load_separator(str(path), device="cpu")
    original = Separator.from_model(model, device="cpu")
    assert loaded.fingerprint == original.fingerprint
    assert torch.equal(loaded(waves), original(waves))
    by_demucs = load_safetensors_model(path)
    assert Separator.from_model(by_demucs, device="cpu").fingerprint == original.fingerprint
    assert sorted(tmp_path.iterdir()) == [path]


def test_half_precision_halves_the_file(tmp_path: Path) -> None:
    full, half = tmp_path / "full.safetensors", tmp_path / "half.safetensors"
    save_safetensors(hdemucs(), full)
    save_safetensors(hdemucs(), half, half=True)
    assert half.stat().st_size < 0.6 * full.stat().st_size
    assert load_separator(str(half), device="cpu").fingerprint != load_separator(str(full), device="cpu").fingerprint


def test_only_demucs_models_are_saved(tmp_path: Path) -> None:
    with pytest.raises(SeparatorError, match="Linear is not one of demucs' model classes"):
        save_safetensors(torch.nn.Linear(1, 1), tmp_path / "x.safetensors")


def test_loading_is_quiet_frozen_and_leaves_the_random_state(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "model.safetensors"
    save_safetensors(demucs().train(), path)
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    separator = load_separator(str(path), device="cpu")
    assert torch.equal(torch.rand(1), expected)
    for model in [separator.model]:
        assert not any(module.training for module in model.modules())
        assert not any(parameter.requires_grad for parameter in model.parameters())
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("klass", ["os.system", "antigravity.fly", "demucs.apply.BagOfModels", "demucs.htdemucs", ""])
def test_other_classes_are_refused_before_any_import(klass: str, tmp_path: Path) -> None:
    touched = tmp_path / "touched"
    path = write(tmp_path / "evil.safetensors", klass=klass, args=json.dumps([f"touch {touched}"]))
    assert f"class {klass!r} is not one of demucs' models" in refusal(path)
    assert not touched.exists()
    assert "antigravity" not in sys.modules


def test_other_classes_within_the_structure_are_refused(tmp_path: Path) -> None:
    structure = {"_dict": [["meta", {"_dict": [["klass", {"_class": "antigravity.fly"}]]}]]}
    path = write(tmp_path / "evil.safetensors", structure=json.dumps(structure))
    assert "class 'antigravity.fly' is not one of demucs' quantizers" in refusal(path)
    assert "antigravity" not in sys.modules


def test_quantised_weights_without_diffq(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "diffq", None)
    path = write(tmp_path / "q.safetensors", structure=json.dumps({"_class": "diffq.diffq.DiffQuantizer"}))
    assert "need the package diffq" in refusal(path)


def test_a_nested_state_is_rebuilt(tmp_path: Path) -> None:
    model = demucs()
    state = {f"t{number}": tensor for number, tensor in enumerate(model.state_dict().values())}
    nodes = [[name, {"_tensor": f"t{number}"}] for number, name in enumerate(model.state_dict())]
    args, kwargs = model._init_args_kwargs
    path = write(
        tmp_path / "nested.safetensors",
        tensors=state,
        args=json.dumps(args),
        kwargs=json.dumps(kwargs),
        structure=json.dumps({"_dict": nodes}),
    )
    expected = Separator.from_model(model, device="cpu").fingerprint
    assert load_separator(str(path), device="cpu").fingerprint == expected


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"args": "["}, "args of its metadata is not JSON"),
        ({"args": "[" * 100_000}, "args of its metadata is not JSON"),
        ({"args": "{}"}, "not a JSON list and object"),
        ({"kwargs": "[]"}, "not a JSON list and object"),
        ({"kwargs": '{"channels": NaN}'}, "channels = nan is not a plain value"),
        ({"kwargs": '{"channels": 1e999}'}, "channels = inf is not a plain value"),
        ({"kwargs": '{"channels": 10000000000}'}, "channels = 10000000000 is not a plain value"),
        ({"kwargs": '{"channels": {"a": 1}}'}, "channels = {'a': 1} is not a plain value"),
        ({"kwargs": '{"depth": 1000000, "growth": 1}'}, "depth = 1000000 is not a number from 0 to 16"),
        ({"kwargs": '{"segment": {"_type": "fraction", "numerator": 1, "denominator": 0}}'}, "segment = "),
        ({"kwargs": '{"segment": 100000}'}, "segment = 100000 is not a number from 0 to 600"),
        ({"kwargs": '{"segment": "1"}'}, "segment = '1' is not a number from 0 to 600"),
        ({"kwargs": '{"channels": 20000}'}, "ask for a larger model than the file holds"),
        ({"kwargs": '{"channels": 4, "depth": 3}'}, "Demucs and the file's weights do not fit (Missing key(s)"),
        ({"args": "[]"}, "Demucs and the file's weights do not fit"),
        ({"structure": "{"}, "structure of its metadata is not JSON"),
        ({"structure": '{"_tensor": "y"}'}, "which demucs' format does not know"),
        ({"structure": '{"_call": "x"}'}, "which demucs' format does not know"),
    ],
)
def test_metadata_that_make_no_sense(metadata: dict[str, str], message: str, tmp_path: Path) -> None:
    assert message in refusal(write(tmp_path / "odd.safetensors", **metadata))


def test_weights_with_nan(tmp_path: Path) -> None:
    model = demucs()
    next(model.parameters()).data[0] = torch.nan
    path = tmp_path / "nan.safetensors"
    save_safetensors(model, path)
    assert "weights encoder.0.0.weight hold NaN or infinity" in refusal(path)


def test_files_that_are_not_safetensors(tmp_path: Path) -> None:
    good, bad = tmp_path / "good.safetensors", tmp_path / "bad.safetensors"
    save_safetensors(demucs(), good)
    whole = good.read_bytes()
    for content in (b"", b"garbage", b"\xff" * 4_096, whole[:100], whole[:-100], whole + b"more", b"\0" * 8 + whole):
        bad.write_bytes(content)
        assert "not a readable safetensors file" in refusal(bad)
    save_file({"x": torch.zeros(1)}, bad)
    assert "its metadata lack klass, args, kwargs" in refusal(bad)
    assert "no such file" in refusal(tmp_path / "absent.safetensors")
    (tmp_path / "dir.safetensors").mkdir()
    assert "a folder, a safetensors file was expected" in refusal(tmp_path / "dir.safetensors")
    (tmp_path / "link.safetensors").symlink_to("nowhere")
    assert "link.safetensors: a link to nowhere, which is not there" in refusal(tmp_path / "link.safetensors")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"samplerate": 16_000}, "works on 2 channels at 16000 Hz; schedopt's audio has 2 at 44100 Hz"),
        ({"audio_channels": 1}, "works on 1 channels"),
    ],
)
def test_models_that_schedopt_cannot_use(options: dict[str, Any], message: str, tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    save_safetensors(demucs(**options), path)
    assert message in refusal(path)

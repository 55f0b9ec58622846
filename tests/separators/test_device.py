"""Devices that are there or not, and the precision that suits them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from schedopt.errors import SeparatorError
from schedopt.separators import devices, load_separator, resolve_device, resolve_precision, save_safetensors
from tests.models import tiny_hdemucs, tiny_separator


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """Number of devices by kind on a make-believe machine."""
    present = {"cpu": 1, "cuda": 0, "mps": 0}
    monkeypatch.setattr(devices, "_present", lambda kind: present[kind])
    return present


def test_auto_takes_the_best(machine: dict[str, int]) -> None:
    assert resolve_device("auto").type == "cpu"
    machine["mps"] = 1
    assert resolve_device("auto").type == "mps"
    machine["cuda"] = 1
    assert resolve_device("auto").type == "cuda"


def test_a_device_that_is_not_there(machine: dict[str, int]) -> None:
    for name in ("cuda", "cuda:0", "mps"):
        with pytest.raises(SeparatorError, match=f"device '{name}' is not there: this machine has cpu"):
            resolve_device(name)
    machine["cuda"] = 2
    assert resolve_device("cuda:1") == torch.device("cuda:1")
    with pytest.raises(SeparatorError, match="this machine has cuda:0 to cuda:1"):
        resolve_device("cuda:2")


@pytest.mark.parametrize("name", ["gpu", "", "xpu", "cuda:x", "meta"])
def test_a_device_that_nobody_knows(name: str) -> None:
    with pytest.raises(SeparatorError, match=f"device '{name}' is not known"):
        resolve_device(name)


def test_the_real_machine_has_a_processor() -> None:
    assert resolve_device("cpu") == torch.device("cpu")
    assert resolve_device("auto").type in ("cpu", "cuda", "mps")


@pytest.mark.parametrize(
    ("flags", "expected"),
    [({"avx2"}, "float32"), ({"avx512_bf16"}, "bfloat16"), ({"amx_bf16"}, "bfloat16"), (set(), "float32")],
)
def test_auto_precision_is_what_the_processor_multiplies_in(
    flags: set[str], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(devices, "_cpu_flags", lambda: flags)
    assert resolve_precision("auto", torch.device("cpu")) == expected


def test_precision_by_name() -> None:
    cpu = torch.device("cpu")
    assert [resolve_precision(name, cpu) for name in ("float32", "bfloat16")] == ["float32", "bfloat16"]
    assert resolve_precision("tf32", torch.device("cuda")) == "tf32"
    with pytest.raises(SeparatorError, match="precision 'half' is not known: auto, float32, tf32 or bfloat16"):
        resolve_precision("half", cpu)
    with pytest.raises(SeparatorError, match="mps runs in float32"):
        resolve_precision("bfloat16", torch.device("mps"))
    for kind in ("cpu", "mps"):
        with pytest.raises(SeparatorError, match=f"precision tf32 is for cuda; {kind} runs in float32"):
            resolve_precision("tf32", torch.device(kind))
    assert resolve_precision("auto", torch.device("mps")) == "float32"


@pytest.mark.parametrize("before", [False, True])
def test_on_cuda_tf32_is_on_where_the_precision_says_so_and_as_it_was_afterwards(
    before: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    cudnn = torch.backends.cudnn
    monkeypatch.setattr(cudnn, "allow_tf32", before)
    for precision, expected in (("float32", False), ("tf32", True)):
        with devices.arithmetic(torch.device("cuda"), precision):
            assert cudnn.allow_tf32 == expected
        assert cudnn.allow_tf32 == before


def test_auto_leaves_a_device_that_cannot_run_the_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    # Torch's device without memory takes any model, and its estimates cannot be read.
    monkeypatch.setattr(devices, "_best", lambda: "meta")
    path = tmp_path / "tiny.safetensors"
    save_safetensors(tiny_hdemucs(), path)
    # As every command loads it, and with the precision of the device that is left.
    monkeypatch.setattr(devices, "_cpu_flags", lambda: set())
    separator = load_separator(str(path), device="auto", precision="auto")
    (line,) = caplog.messages
    line = line.replace(str(path), "tiny")
    assert line.startswith("tiny does not run on meta and runs on the CPU instead: ")
    assert (separator.device.type, separator.precision) == ("cpu", "float32")
    mixture = torch.randn(1, 2, 4000, generator=torch.Generator().manual_seed(0))
    assert torch.equal(separator(mixture), tiny_separator()(mixture))

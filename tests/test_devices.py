"""The pretended devices enforce what the hardware does, and compute what the CPU does."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from tests.devices import DEVICES, DeviceError, Kind, fake_device
from tests.separators.networks import htdemucs, mixture


@pytest.fixture(params=DEVICES)
def kind(request: pytest.FixtureRequest) -> Kind:
    found: Kind = request.param
    return found


def audio() -> Tensor:
    return torch.linspace(-1, 1, 24).reshape(2, 3, 4).sin()


def test_tensors_of_two_devices_are_refused(kind: Kind) -> None:
    with fake_device(kind) as device:
        x = audio().to(device)
        assert x.device.type == kind
        mixtures: tuple[Callable[[], Tensor], ...] = (
            lambda: x + audio(),
            lambda: x.mul_(audio()),
            lambda: torch.stack([x, audio()]),
            lambda: torch.where(audio() > 0, x, 0.0),
            lambda: functional.linear(x, audio()[0]),
            lambda: torch.masked_select(x, audio() > 0),
        )
        for mixed in mixtures:
            with pytest.raises(RuntimeError, match="device"):
                mixed()


def test_what_torch_allows_is_allowed(kind: Kind) -> None:
    with fake_device(kind) as device:
        x = audio().to(device)
        assert (x * torch.tensor(2.0)).device.type == kind  # a tensor of the CPU without axes
        y = audio()
        y.copy_(x)
        x[0] = y[0]
        assert torch.equal(x.cpu(), y)


def test_float64_is_refused_on_mps_only() -> None:
    with fake_device("cuda") as device:
        assert audio().to(device).double().dtype == torch.float64
    with fake_device("mps") as device:
        x = audio().to(device)
        wider: tuple[Callable[[], Tensor], ...] = (
            lambda: x.double(),
            lambda: audio().double().to(device),
            lambda: torch.zeros(3, dtype=torch.float64, device=device),
            lambda: x.sum(dtype=torch.float64),
            lambda: torch.tensor([1.0], dtype=torch.float64, device=device),
            lambda: torch.from_numpy(np.ones(3)).to(device),
            lambda: x.to(torch.complex128),
        )
        for wide in wider:
            with pytest.raises(DeviceError, match="float64"):
                wide()
        assert x.cpu().double().dtype == torch.float64


def test_values_are_those_of_the_cpu(kind: Kind) -> None:
    def compute(x: Tensor) -> Tensor:
        x = x.clone()
        x[:, 1:] += 0.5
        view = x.transpose(0, 1)
        view.mul_(2)
        spectrum = torch.fft.rfft(functional.pad(x, (2, 1)))
        spectrum *= torch.arange(4, device=x.device)
        kept = torch.zeros_like(x)
        torch.add(x, 1, out=kept)
        while bool(x.abs().max() > 0.7):
            x = x / 2
        loud = (x > 0.1).nonzero()
        return torch.cat(
            [x[x > 0.1], kept.flatten(), spectrum.abs().flatten(), loud.float().flatten(), view.amax(0).flatten()]
        )

    with fake_device(kind) as device:
        result = compute(audio().to(device))
        assert result.device.type == kind
        on_cpu = result.cpu()
    assert torch.equal(on_cpu, compute(audio()))


def test_values_leave_the_device(kind: Kind) -> None:
    with fake_device(kind) as device:
        x = torch.arange(3, device=device)
        assert x.tolist() == [0, 1, 2]
        assert (x.sum().item(), float(x[1]), bool(x.any()), int(x[2])) == (3, 1.0, True, 2)
        assert isinstance(x.cpu().numpy(), np.ndarray)
        with pytest.raises((RuntimeError, TypeError)):
            x.numpy()
        with pytest.raises((RuntimeError, TypeError)):
            np.asarray(x)


def test_indexing_is_that_of_ordinary_tensors(kind: Kind) -> None:
    plain = audio()
    rows, mask = torch.tensor([1, 0]), plain[0] > 0
    keys: tuple[Any, ...] = (
        0,
        -1,
        slice(1, None),
        (0, 1, 2),
        (..., 0),
        (0, ..., None),
        None,
        (slice(None), rows),
        rows,
        ([1, 0], 2),
    )
    keys += ((0, mask), (slice(None), torch.tensor([True, False, True])), (rows[0], 1), np.array([1, 0]), np.int64(1))
    for key in keys:
        with fake_device(kind) as device:
            there = tuple(k.to(device) if isinstance(k, Tensor) else k for k in key) if isinstance(key, tuple) else key
            x = audio().to(device)
            read = x[there].clone()
            assert read.device.type == kind
            x[there] = 7.0
            x[there] += read
            read, written = read.cpu(), x.cpu()
        expected = audio()
        expected[key] = 7.0
        expected[key] += plain[key]
        assert torch.equal(read, plain[key])
        assert torch.equal(written, expected)


def test_methods_bound_by_hand(kind: Kind) -> None:
    with fake_device(kind) as device:
        x = torch.arange(3, device=device)
        assert list(range(5))[x[1]] == 1
        assert (~(x > 1)).tolist() == [True, True, False]
        assert x.new_tensor([5]).device.type == kind
        assert x.copy_(torch.tensor([4, 0, 6])).tolist() == [4, 0, 6]
        assert torch.nonzero(x, as_tuple=True)[0].tolist() == [0, 2]
        assert x.nonzero().flatten().tolist() == [0, 2]
        assert complex(x[0]) == 4


def test_waits_are_counted(kind: Kind) -> None:
    waits: Counter[str] = Counter()
    with fake_device(kind, waits) as device:
        x = audio().to(device)
        y = torch.where(x > 0, x, -x).sum()
        assert not waits
        assert y.item() > 0
        assert len(x[x > 0].cpu()) > 0
    assert waits == {"aten._local_scalar_dense.default": 1, "aten.index.Tensor": 1, "aten._to_copy.default": 1}


def test_networks_run_there(kind: Kind) -> None:
    network, x = htdemucs().eval(), mixture(11_025)[None]
    with torch.no_grad():
        expected = network(x)
        with fake_device(kind) as device:
            network.to(device)
            assert {weights.device.type for weights in network.parameters()} == {kind}
            with pytest.raises(RuntimeError, match="device"):
                network(x)
            found = network(x.to(device)).cpu()
    torch.testing.assert_close(found, expected)


def test_inference_mode(kind: Kind) -> None:
    with fake_device(kind) as device, torch.inference_mode():
        x = audio().to(device)
        x[0] += 1
        assert x.cpu()[0].sum() == (audio()[0] + 1).sum()


def test_calls_that_need_the_hardware_do_nothing(kind: Kind) -> None:
    with fake_device(kind):
        torch.cuda.synchronize("cuda")
        torch.mps.empty_cache()


def test_after_the_block_nothing_is_left(kind: Kind) -> None:
    with fake_device(kind):
        pass
    assert torch.ones(2).sum().item() == 2
    with pytest.raises((RuntimeError, AssertionError)):
        torch.ones(2, device=kind)

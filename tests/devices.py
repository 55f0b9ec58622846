"""A pretended `cuda` or `mps` device: tensors that behave as if they lay there, on any machine.

    with fake_device("mps") as device:
        x = torch.ones(2, 3).to(device)
        x + torch.ones(2, 3)        # raises: a tensor of mps and one of the CPU
        x.double()                  # raises: mps has no float64
        (2 * x).sum().item()        # 12.0: the values are real
        (2 * x).cpu().numpy()       # an ordinary array

Tensors on the device are PyTorch's fake tensors, which know the device rules of every operation. Each has an ordinary
tensor on the CPU beside it that goes through the same operations, so that steps that depend on values (`.item()`,
`if tensor:`, `.nonzero()`, boolean masks) work and results can be compared with those of the CPU. Tensors of the CPU
stay ordinary tensors.

Create the device's tensors inside the block: by `.to(device)`, `torch.zeros(…, device=device)`, `module.to(device)`,
and leave no tensor or module there that is used after it. The block holds for one thread and in no other process.
Not imitated: operations that the hardware lacks (apart from float64 on mps), its rounding, generators
(`torch.Generator("cuda")`), streams, memory; LSTM layers on cuda, which have an operation of their own there.
"""

from __future__ import annotations

import operator
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Literal
from unittest import mock

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.overrides import TorchFunctionMode
from torch.utils._mode_utils import no_dispatch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

aten = torch.ops.aten

Kind = Literal["cuda", "mps"]

DEVICES: tuple[Kind, ...] = ("cuda", "mps")
"""For `@pytest.mark.parametrize("kind", DEVICES)`."""

MASKED = (aten.index.Tensor, aten._unsafe_index.Tensor)
"""Operations whose result has a shape that depends on values where an index is a mask."""


class DeviceError(TypeError):
    """What the pretended hardware refuses."""


@contextmanager
def fake_device(kind: Kind, waits: Counter[str] | None = None) -> Iterator[torch.device]:
    """A block in which the device `kind` is there; see the module's docstring. Yields the device.

    `waits` counts operations, by name, for which a program waits for a real device: `.item()`, `bool(…)`, `.nonzero()`,
    masks, copies to the CPU.

    Raises inside the block, as an operation is called:
        RuntimeError: tensors of two devices in one operation (one on the CPU without axes is allowed).
        DeviceError: float64 or complex128 on mps.
    """
    with ExitStack() as stack:
        fakes = stack.enter_context(FakeTensorMode(allow_non_fake_inputs=True))
        stack.enter_context(_RealValues(fakes, Counter() if waits is None else waits))
        stack.enter_context(_Numbered(kind))
        for name, method in METHODS.items():
            stack.enter_context(mock.patch.object(FakeTensor, name, method, create=True))
        for name, function in FUNCTIONS.items():
            stack.enter_context(mock.patch(name, function))
        yield torch.device(kind)


class _RealValues(TorchDispatchMode):
    """Runs each operation twice: on fake tensors for the device rules, and on their values, which lie on the CPU."""

    def __init__(self, fakes: FakeTensorMode, waits: Counter[str]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.fakes = fakes
        self.waits = waits

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        leaves = tree_leaves((args, kwargs))
        on_device = [leaf for leaf in leaves if isinstance(leaf, FakeTensor)]
        if func is torch.ops.prim.device.default or (not on_device and not _names_a_device(leaves)):
            return func(*args, **kwargs) if on_device else _on_cpu(func, args, kwargs)
        if func is aten.istft.default:  # so that its unfold_backward comes here
            with self:
                return func.decompose(*args, **kwargs)
        if _depends_on_values(func, args):
            self.waits[str(func)] += 1
            _check_one_device(func, leaves)
            return tree_map_only(
                Tensor, lambda value: self._placed(value, on_device[0].device), _on_cpu(func, args, kwargs)
            )
        fake_args, fake_kwargs = tree_map_only(Tensor, self._fake, (args, kwargs))
        if func is aten.unfold_backward.default:  # PyTorch's own rule takes 10 s for each new shape
            fakes = fake_args[0].new_empty(fake_args[1])
        else:
            fakes = func(*fake_args, **fake_kwargs)
        values = _on_cpu(func, args, kwargs)
        if isinstance(fakes, Tensor):
            return self._paired(fakes, values, func)
        if isinstance(fakes, (tuple, list)):
            return type(fakes)(self._paired(fake, value, func) for fake, value in zip(fakes, values, strict=True))
        return values

    def _paired(self, fake: Any, value: Any, func: Any) -> Any:
        """One result: a fake tensor with its values, or the values themselves where they lie on the CPU."""
        if not isinstance(fake, FakeTensor):
            return value
        if fake.device.type == "cpu":
            self.waits[str(func)] += 1
            return value
        assert fake.shape == value.shape, f"{func}: {tuple(fake.shape)} expected, {tuple(value.shape)} found"
        if fake.device.type == "mps" and fake.dtype in (torch.float64, torch.complex128):
            raise DeviceError(
                f"{func}: Cannot convert a MPS Tensor to float64 dtype as the MPS framework doesn't support float64."
            )
        fake.on_cpu = value  # type: ignore[attr-defined]
        return fake

    def _placed(self, value: Tensor, device: torch.device) -> FakeTensor:
        with self.fakes:
            fake = torch.empty_strided(value.shape, value.stride(), dtype=value.dtype, device=device)
        assert isinstance(fake, FakeTensor)
        fake.on_cpu = value  # type: ignore[attr-defined]
        return fake

    def _fake(self, tensor: Tensor) -> FakeTensor:
        return tensor if isinstance(tensor, FakeTensor) else self.fakes.from_tensor(tensor, static_shapes=True)


class _Numbered(TorchFunctionMode):
    """`mps` → `mps:0` in arguments: without a number PyTorch asks the driver for the current device."""

    def __init__(self, kind: Kind) -> None:
        super().__init__()
        self.kind = kind

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        args, kwargs = tree_map_only((torch.device, str), self._numbered, (args, kwargs or {}))
        return func(*args, **kwargs)

    def _numbered(self, device: torch.device | str) -> torch.device | str:
        return torch.device(self.kind, 0) if device in (self.kind, torch.device(self.kind)) else device


def _on_cpu(func: Any, args: Any, kwargs: Any) -> Any:
    """The operation on the values."""
    args, kwargs = tree_map_only(FakeTensor, lambda fake: fake.on_cpu, (args, kwargs))
    args, kwargs = tree_map_only(torch.device, lambda _: torch.device("cpu"), (args, kwargs))
    with no_dispatch():
        return func(*args, **kwargs)


def _names_a_device(leaves: list[Any]) -> bool:
    return any(isinstance(leaf, torch.device) and leaf.type != "cpu" for leaf in leaves)


def _depends_on_values(func: Any, args: Any) -> bool:
    """Whether the result, or its shape, is known from values only."""
    if func in MASKED:
        return any(index is not None and index.dtype in (torch.bool, torch.uint8) for index in args[1])
    return torch.Tag.data_dependent_output in func.tags or torch.Tag.dynamic_output_shape in func.tags


def _check_one_device(func: Any, leaves: list[Any]) -> None:
    """Raises RuntimeError where tensors that have axes lie on two devices."""
    devices = sorted({str(leaf.device) for leaf in leaves if isinstance(leaf, Tensor) and leaf.ndim})
    if len(devices) > 1:
        raise RuntimeError(f"{func}: tensors of two devices: {', '.join(devices)}")


def _indexed(x: Tensor, key: Any) -> tuple[Tensor, list[Tensor | None]]:
    """x[key] as a view of x and what is left for an index operation: tensors and masks, by axis of the view."""
    keys = key if isinstance(key, tuple) else (key,)
    keys = tuple(torch.as_tensor(k) if isinstance(k, list) or hasattr(k, "__array__") else k for k in keys)
    spanned = x.ndim - sum(_axes(k) for k in keys if k is not None and k is not Ellipsis)
    axis, indices = 0, list[Tensor | None]()
    for k in keys:
        if k is Ellipsis:
            axis += spanned
        elif k is None:
            x, axis = x.unsqueeze(axis), axis + 1
        elif isinstance(k, slice):
            x, axis = aten.slice.Tensor(x, axis, k.start, k.stop, k.step or 1), axis + 1
        elif isinstance(k, Tensor) and (k.ndim > 0 or k.dtype == torch.bool):
            indices += [None] * (axis - len(indices)) + [k]
            axis += _axes(k)
        else:
            x = x.select(axis, operator.index(k))
    return x, indices


def _axes(key: Any) -> int:
    """How many axes of a tensor one part of an index takes."""
    return key.ndim if isinstance(key, Tensor) and key.dtype == torch.bool else 1


def _get(x: Tensor, key: Any) -> Tensor:
    view, indices = _indexed(x, key)
    result: Tensor = aten.index.Tensor(view, indices) if indices else aten.alias(view)
    return result


def _set(x: Tensor, key: Any, value: Any) -> None:
    view, indices = _indexed(x, key)
    if indices:
        aten.index_put_(view, indices, value if isinstance(value, Tensor) else torch.tensor(value, dtype=x.dtype))
    elif isinstance(value, Tensor):
        aten.copy_(view, value)
    else:
        view.fill_(value)


def _nonzero(x: Tensor, *, as_tuple: bool = False) -> Tensor | tuple[Tensor, ...]:
    found: Tensor = aten.nonzero(x)
    return found.unbind(1) if as_tuple else found


def _new_tensor(x: Tensor, data: Any, dtype: Any = None, device: Any = None) -> Tensor:
    return torch.tensor(data, dtype=dtype or x.dtype, device=device or x.device)


METHODS: dict[str, Callable[..., Any]] = {
    "__getitem__": _get,
    "__setitem__": _set,
    "__float__": lambda x: float(x.item()),
    "__int__": lambda x: int(x.item()),
    "__index__": lambda x: operator.index(x.item()),
    "__complex__": lambda x: complex(x.item()),
    "__invert__": lambda x: x.bitwise_not(),
    "copy_": lambda x, source, non_blocking=False: aten.copy_(x, source),
    "contiguous": lambda x, memory_format=torch.contiguous_format: (
        x if x.is_contiguous(memory_format=memory_format) else x.clone(memory_format=memory_format)
    ),
    "new_tensor": _new_tensor,
    "nonzero": _nonzero,
}
"""Methods whose binding to Python asks the driver, as PyTorch 2.13 has them, done by operations that do not."""

FUNCTIONS: dict[str, Callable[..., Any]] = {
    "torch.nonzero": lambda x, **options: x.nonzero(**options),
    "torch.nn.functional.scaled_dot_product_attention": lambda *args, **options: (
        aten._scaled_dot_product_attention_math(*args, **options)[0]
    ),
    "torch.cuda.synchronize": lambda *_: None,
    "torch.cuda.empty_cache": lambda: None,
    "torch.mps.synchronize": lambda: None,
    "torch.mps.empty_cache": lambda: None,
}
"""Functions that do likewise; those of the last lines do nothing."""

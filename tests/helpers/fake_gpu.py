"""Tensors on "cuda" that have shapes and types, but no numbers; no GPU is needed for them.

Operations of tensors on different devices are errors, and so is whatever would read a number back
to the host, or whose shape depends on one.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import numpy as np
import torch
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

__all__ = ["DEVICE", "Allocations", "fake_gpu"]

aten = torch.ops.aten
DEVICE = torch.device("cuda", 0)


class _Methods(TorchFunctionMode):
    """Methods of tensors that ask for the libraries of a GPU before they look for fake tensors."""

    def __init__(self, reads: list[str] | None) -> None:
        super().__init__()
        self.reads = reads

    def __torch_function__(self, function, types, args=(), kwargs=None):
        name, kwargs = getattr(function, "__name__", ""), kwargs or {}
        if name in _NUMBERS and self.reads is not None and args[0].device.type == "cuda":
            self.reads.append(name)
            return _NUMBERS[name](1)
        if name in _OWN:
            return _OWN[name](*args, **kwargs)
        try:
            return function(*args, **kwargs)
        except RuntimeError as error:
            operation = getattr(aten, _OPERATORS.get(name, name), None)
            if "not linked with support" not in str(error) or operation is None:
                raise
        return operation(*args, **kwargs)


def _to(tensor, *args, copy=False, **kwargs):
    if isinstance(args[0], torch.Tensor):
        device, dtype = args[0].device, args[0].dtype
    else:
        device, dtype, *_ = torch._C._nn._parse_to(*args, **kwargs)
    device = DEVICE if device is not None and device.type == "cuda" else device
    device, dtype = device or tensor.device, dtype or tensor.dtype
    if device == tensor.device and dtype == tensor.dtype and not copy:
        return tensor
    return aten._to_copy(tensor, device=device, dtype=dtype)


def _as_tensor(data, dtype=None, device=None):
    tensor = data if isinstance(data, torch.Tensor) else torch.from_numpy(np.asarray(data))
    return _to(tensor, device, dtype)


def _basic(tensor, key):
    """Return the view that slices, numbers and new axes give, and the tensors that index it."""
    key = list(key) if isinstance(key, tuple) else [key]
    if any(each is Ellipsis for each in key):
        i = next(i for i, each in enumerate(key) if each is Ellipsis)
        n_axes = sum(each is not None for each in key) - 1
        key[i : i + 1] = [slice(None)] * (tensor.dim() - n_axes)
    indices, axis = [], 0
    for each in key:
        if each is None:
            tensor = aten.unsqueeze(tensor, axis)
        elif isinstance(each, slice):
            if each != slice(None):
                tensor = aten.slice(tensor, axis, each.start, each.stop, each.step or 1)
        elif not isinstance(each, torch.Tensor | np.ndarray | list):
            tensor = aten.select(tensor, axis, int(each))
            continue
        else:
            if not isinstance(each, torch.Tensor) or each.device != tensor.device:
                raise RuntimeError("the host would wait until an index has been moved to the GPU")
            indices += [None] * (axis - len(indices)) + [each]
        axis += 1
    return tensor, indices


def _get(tensor, key):
    view, indices = _basic(tensor, key)
    return aten.index(view, indices) if indices else view


def _set(tensor, key, value):
    view, indices = _basic(tensor, key)
    if indices:
        value = value if isinstance(value, torch.Tensor) else aten.full([], value, dtype=view.dtype)
        aten.index_put_(view, indices, value)
    elif isinstance(value, torch.Tensor):
        aten.copy_(view, value)
    else:
        aten.fill_(view, value)


_NUMBERS = {"__float__": float, "__bool__": bool, "__int__": int, "item": float}
_OPERATORS = {"__or__": "bitwise_or", "__and__": "bitwise_and", "__invert__": "bitwise_not"}
_OWN = {
    "to": _to,
    "as_tensor": _as_tensor,
    "pin_memory": lambda tensor: tensor,
    "__getitem__": _get,
    "__setitem__": _set,
}


class Allocations(TorchDispatchMode):
    """The results of operations, views apart, while it is entered.

    Attributes
    ----------
    sizes : list of (int, str, torch.dtype)
        Bytes, operation with shape, and type.
    moves : list of str
        The operations that took something from the host.
    """

    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[tuple[int, str, torch.dtype]] = []
        self.moves: list[str] = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        if not function.is_view:
            given = [t for t in tree_iter((args, kwargs)) if isinstance(t, torch.Tensor)]
            for tensor in tree_iter(result):
                if isinstance(tensor, FakeTensor) and tensor.device.type == "cuda":
                    size = tensor.numel() * tensor.element_size()
                    self.sizes.append((size, f"{function} {tuple(tensor.shape)}", tensor.dtype))
                    if any(t.device.type == "cpu" for t in given):
                        self.moves.append(str(function))
        return result


@contextlib.contextmanager
def fake_gpu(reads: list[str] | None = None) -> Iterator[FakeTensorMode]:
    """Make tensors without numbers, and move them to a GPU that does not exist.

    Numbers that are read back are errors, or 1 and noted in a list, if there is one.
    """
    with FakeTensorMode(allow_non_fake_inputs=True) as mode, _Methods(reads):
        yield mode

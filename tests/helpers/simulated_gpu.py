"""A GPU simulated in the host's memory: the same numbers, with the rules of a real GPU.

Tensors that are made on, or moved to, "cuda" are computed by the CPU, but marked, and so is what
derives from them. As on a GPU, an operation of marked and other tensors is an error, numpy cannot
see marked ones, and `Tensor.device` says "cuda:0". What the host would have to wait for is counted.
"""

from __future__ import annotations

import contextlib
from unittest import mock

import torch
from torch.multiprocessing.reductions import StorageWeakRef
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

__all__ = ["SimulatedGpu"]

DEVICE = torch.device("cuda", 0)
FREE_BYTES = 2**30

aten = torch.ops.aten
# Operations whose result the host must know: a number, or how large it is.
WAITS = {
    aten._local_scalar_dense,
    aten.nonzero,
    aten.masked_select,
    aten._unique,
    aten._unique2,
    aten.unique_dim,
    aten.unique_consecutive,
    aten.equal,
    aten.bincount,
}
INDEXED = {aten.index, aten.index_put, aten.index_put_, aten._index_put_impl_}
# On a CPU they return more than on a GPU, of which nothing is marked where it is made.
MIXED = {aten._embedding_bag_backward}


class SimulatedGpu:
    """A context in which "cuda" is usable.

    Attributes
    ----------
    waits : list of str
        The operations so far that the host would have waited for.
    transfers : int
        How often something was moved to the GPU.
    forbids_waits : bool
        Whether those are errors; see `torch.cuda.set_sync_debug_mode`.
    checks : bool
        Whether operations are looked at.
    """

    def __init__(self) -> None:
        self.waits: list[str] = []
        self.transfers = 0
        self.forbids_waits = False
        self.checks = True
        self._marked: dict[int, StorageWeakRef] = {}

    def __enter__(self) -> SimulatedGpu:
        functions = _Functions(self)
        engine = torch.autograd._engine_run_backward

        def run_backward(*arguments, **others):
            # torch.autograd.grad is called while the mode is off, but not what it differentiates.
            with functions:
                return engine(*arguments, **others)

        def forbid(mode):
            self.forbids_waits = mode == "error"

        self._stack = contextlib.ExitStack()
        for where, name, new in (
            (torch.cuda, "is_available", lambda: True),
            (torch.cuda, "mem_get_info", lambda device=None: (FREE_BYTES, FREE_BYTES)),
            (torch.cuda, "set_sync_debug_mode", forbid),
            (torch.cuda, "is_current_stream_capturing", lambda: False),  # what optimizers ask
            (torch.autograd, "_engine_run_backward", run_backward),
        ):
            self._stack.enter_context(mock.patch.object(where, name, new))
        self._stack.enter_context(_Operations(self))
        self._stack.enter_context(functions)
        return self

    def __exit__(self, *error) -> None:
        self._stack.close()

    def is_marked(self, tensor: torch.Tensor) -> bool:
        """Return whether a tensor is on the GPU."""
        if tensor.layout != torch.strided:
            return False
        reference = self._marked.get(tensor.untyped_storage()._cdata)
        return reference is not None and not reference.expired()

    def mark(self, result):
        """Put all tensors of a result on the GPU, and return it."""
        for tensor in tree_iter(result):
            if isinstance(tensor, torch.Tensor) and tensor.layout == torch.strided:
                storage = tensor.untyped_storage()
                self._marked[storage._cdata] = StorageWeakRef(storage)
        return result

    def move(self, tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
        """Return a tensor on a device."""
        to_gpu = device.type == "cuda"
        if to_gpu == self.is_marked(tensor):
            return tensor
        if to_gpu:
            self.transfers += 1
            return self.mark(tensor.clone())
        self.wait("copied to the host")
        result = tensor.clone()
        del self._marked[result.untyped_storage()._cdata]
        return result

    def wait(self, name: str) -> None:
        """Note that the host waits."""
        self.waits.append(name)
        if self.forbids_waits:
            raise RuntimeError(f"The host would wait for the GPU: {name}.")


class _Functions(TorchFunctionMode):
    """What Python asks of tensors: where they are, and to be elsewhere."""

    def __init__(self, gpu: SimulatedGpu) -> None:
        super().__init__()
        self.gpu = gpu

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        name = getattr(function, "__name__", "")
        if name == "__get__":
            return self._attribute(function, args)
        method = getattr(self, f"_{name}", None)
        if method is not None and args and isinstance(args[0], torch.Tensor):
            return method(function, *args, **kwargs)
        if kwargs.get("device") is None:
            return function(*args, **kwargs)
        device = torch.device(kwargs.pop("device"))
        if name in ("as_tensor", "asarray", "tensor"):
            given = args[0]
            if isinstance(given, torch.Tensor):
                return self._to(torch.Tensor.to, given, device, kwargs.get("dtype", given.dtype))
            tensor = function(*args, **kwargs)
            return self.gpu.move(tensor, device) if device.type == "cuda" else tensor
        result = function(*args, **kwargs, device="cpu")
        return self.gpu.mark(result) if device.type == "cuda" else result

    def _attribute(self, function, args):
        owner = getattr(function, "__self__", None)
        if owner is torch.Tensor.device and self.gpu.is_marked(args[0]):
            return DEVICE
        if owner is torch.Tensor.is_cuda:
            return self.gpu.is_marked(args[0])
        return function(*args)

    def _to(self, function, tensor, *args, **kwargs):
        must_copy = kwargs.pop("copy", False)
        if args and isinstance(args[0], torch.Tensor):
            like = args[0]
            device = DEVICE if self.gpu.is_marked(like) else like.device
            dtype = like.dtype
        else:
            device, dtype, *_ = torch._C._nn._parse_to(*args, **kwargs)
        result = tensor if dtype is None else tensor.to(dtype)
        result = result if device is None else self.gpu.move(result, device)
        return result.clone() if must_copy and result is tensor else result

    def _new_tensor(self, function, tensor, *args, **kwargs):
        where = DEVICE if self.gpu.is_marked(tensor) else torch.device("cpu")
        device = torch.device(kwargs.pop("device", where))
        return self.gpu.move(function(tensor, *args, **kwargs), device)

    def _embedding_bag(self, function, *args, **kwargs):
        # It is written in Python, and makes offsets on the device of its input.
        with mock.patch.object(self.gpu, "checks", False):
            return function(*args, **kwargs)

    def _cpu(self, function, tensor):
        return self.gpu.move(tensor, torch.device("cpu"))

    def _pin_memory(self, function, tensor):
        return tensor

    def _numpy(self, function, tensor, *args, **kwargs):
        if self.gpu.is_marked(tensor):
            raise TypeError("can't convert a tensor on a GPU to numpy")
        return function(tensor, *args, **kwargs)

    ___array__ = _numpy

    def _tolist(self, function, tensor):
        if self.gpu.is_marked(tensor):
            self.gpu.wait("tolist")
        return function(tensor)


class _Operations(TorchDispatchMode):
    """What is computed, derivatives included."""

    def __init__(self, gpu: SimulatedGpu) -> None:
        super().__init__()
        self.gpu = gpu

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        with torch._C.DisableTorchFunction():
            tensors = [t for t in tree_iter((args, kwargs)) if isinstance(t, torch.Tensor)]
            marked = [self.gpu.is_marked(t) for t in tensors]
            if not any(marked):
                return function(*args, **kwargs)
            if self.gpu.checks:
                self._check(function, args, tensors, marked)
            return self.gpu.mark(function(*args, **kwargs))

    def _check(self, function, args, tensors, marked) -> None:
        packet = function.overloadpacket
        others = [t for t, is_marked in zip(tensors, marked, strict=True) if not is_marked]
        if packet is aten.copy_ and others:
            if not marked[0]:
                self.gpu.wait("copied to the host")
            self.gpu.transfers += 1
        elif others and packet in INDEXED and _are_indices(others, args[1]):
            self.gpu.wait(f"{function} by numbers of the host")
        elif any(t.dim() > 0 for t in others) and packet not in MIXED:
            raise RuntimeError(f"{function} of tensors on a GPU and on the host")
        by_mask = packet in INDEXED and any(
            t is not None and t.dtype in (torch.bool, torch.uint8) for t in args[1]
        )
        if packet in WAITS or by_mask or (packet is aten.repeat_interleave and len(args) == 1):
            self.gpu.wait(str(function))


def _are_indices(tensors, indices) -> bool:
    return all(any(tensor is index for index in indices) for tensor in tensors)

"""A GPU, or a CPU in its place: waiting for it, its memory, its rate of matrix products."""

from __future__ import annotations

import gc
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple, TypeVar

import torch
from roofline import fastest

Result = TypeVar("Result")


class Card(NamedTuple):
    """A device, and its rates of a large product in operations a second, where they are known."""

    device: torch.device
    float32: float | None
    tf32: float | None


def wait(device: torch.device) -> None:
    """Wait until the device has done what it was told."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def free(device: torch.device) -> None:
    """Give back memory that nothing needs, and measure its peak anew."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)


def peak_mb(device: torch.device) -> float | None:
    """Return the most memory of the device that tensors took since `free`; of a CPU None."""
    if device.type != "cuda":
        return None
    return torch.cuda.max_memory_allocated(device) / 2**20


@contextmanager
def tf32(allowed: bool) -> Iterator[None]:
    """Allow or forbid products in TF32 for a while."""
    flags = torch.backends.cuda.matmul
    before = flags.allow_tf32
    flags.allow_tf32 = allowed
    try:
        yield
    finally:
        flags.allow_tf32 = before


def product_rate(device: torch.device, size: int, seconds: float, allow_tf32: bool) -> float:
    """Return the operations a second of a product of two large matrices in float32."""
    a, b, out = (torch.rand(size, size, device=device) for _ in range(3))

    def product() -> None:
        torch.mm(a, b, out=out)
        wait(device)

    with tf32(allow_tf32):
        return 2 * size**3 / fastest(product, seconds)


def attempt(work: Callable[[], Result]) -> Result | str:
    """Return a result, or what went wrong: nothing that fails may end a run on a rented card."""
    try:
        return work()
    except torch.cuda.OutOfMemoryError:
        return "out of memory"
    except Exception as error:
        traceback.print_exc(file=sys.stderr)
        message = " ".join(str(error).split()).replace("|", "/")
        return f"failed: {type(error).__name__}: {message[:200]}"

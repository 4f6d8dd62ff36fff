"""Threads of the compiled part and of torch."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import torch
from threadpoolctl import ThreadpoolController

__all__ = ["n_threads", "torch_alone"]

_inside = threading.local()


def n_threads() -> int:
    """Return how many threads the compiled part may use: as many as torch outside of
    `torch_alone`."""
    return getattr(_inside, "n_threads", None) or torch.get_num_threads()


@contextmanager
def torch_alone() -> Iterator[None]:
    """Have torch compute in the calling thread only; the compiled part keeps its threads.

    Torch splits even small work, and its threads spin while they wait for each other and for more
    work. For work of microseconds they take more time than they save, and many times more beside
    another busy process. The changed settings, the numbers of threads of OpenMP and MKL, belong to
    the calling thread, so that other threads are not affected.
    """
    outside = torch.get_num_threads()
    if outside == 1:
        yield
        return
    _inside.n_threads = outside
    set_mkl = _mkl_threads()
    before = set_mkl(1)
    try:
        with _openmp().limit(limits=1):
            yield
    finally:
        set_mkl(before)
        _inside.n_threads = None


@cache
def _openmp() -> Any:
    """Return the loaded libraries with OpenMP threads, including torch's."""
    return ThreadpoolController().select(user_api="openmp")


@cache
def _mkl_threads() -> Callable[[int], int]:
    """Return a function that sets the number of MKL threads in the calling thread (0: the global
    number) and returns the old one; also if MKL is built into torch, where nothing else finds
    it."""
    try:
        library = ctypes.CDLL(str(Path(torch.__file__).parent / "lib" / "libtorch_cpu.so"))
        found: Callable[[int], int] = library.MKL_Set_Num_Threads_Local
    except (OSError, AttributeError):
        return lambda number: 0
    return found

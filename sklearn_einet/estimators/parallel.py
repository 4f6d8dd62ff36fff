"""Number of torch threads in parallel workers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

import torch
from joblib import cpu_count

__all__ = ["shared_cores"]

_lock = Lock()
_n_inside = 0
_n_threads_outside = 1


@contextmanager
def shared_cores(n_workers: int) -> Iterator[None]:
    """Limit torch to one worker's share of the cores, and undo this afterwards.

    The number of threads is a setting of the whole process, and workers may be threads of the same
    process. So the first worker to enter stores the setting, and the last one to leave restores it.

    Parameters
    ----------
    n_workers : int
        With a single one, nothing changes.
    """
    global _n_inside, _n_threads_outside
    if n_workers == 1:
        yield
        return
    with _lock:
        if _n_inside == 0:
            _n_threads_outside = torch.get_num_threads()
        _n_inside += 1
        torch.set_num_threads(min(_n_threads_outside, max(1, cpu_count() // n_workers)))
    try:
        yield
    finally:
        with _lock:
            _n_inside -= 1
            if _n_inside == 0:
                torch.set_num_threads(_n_threads_outside)

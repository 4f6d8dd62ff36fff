"""Time of a call, and per epoch of a fit."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np


class Clock:
    """A callback that notes the time after every epoch."""

    def __init__(self, now: Callable[[], float] = time.perf_counter) -> None:
        self.now = now
        self.times: list[float] = []

    def setup(self, estimator: Any, context: Any) -> None: ...
    def teardown(self, estimator: Any, context: Any) -> None: ...
    def on_fit_task_begin(self, estimator: Any, context: Any) -> None: ...
    def on_fit_task_end(self, estimator: Any, context: Any) -> None:
        if context.task_name == "epoch":
            self.times.append(self.now())

    def fastest_epoch(self) -> float:
        """Seconds of the fastest epoch after the first."""
        return float(np.diff(self.times).min())


class Deadline(Clock):
    """A callback that ends a fit before an epoch that would take it past some time.

    Parameters
    ----------
    seconds : float
        From now on.
    passes : int
        How many passes over the rows, each about as long as an epoch, follow the epochs.
    now : callable, default=time.perf_counter
    """

    def __init__(
        self, seconds: float, passes: int, now: Callable[[], float] = time.perf_counter
    ) -> None:
        super().__init__(now)
        self.start = self.now()
        self._seconds, self._passes = seconds, passes

    def on_fit_task_end(self, estimator: Any, context: Any) -> bool:
        super().on_fit_task_end(estimator, context)
        if context.task_name != "epoch":
            return False
        before, now = [self.start, *self.times][-2:]
        return now + (1 + self._passes) * (now - before) > self.start + self._seconds


def timed(work: Callable[[], Any]) -> tuple[Any, float]:
    """The result of a call, and its seconds of CPU time."""
    start = time.process_time()
    result = work()
    return result, time.process_time() - start

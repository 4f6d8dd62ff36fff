"""MNIST in 256 states a pixel to 1.20 bits, with the time of every epoch: a part of gpu.py."""

from __future__ import annotations

import io
import re
import sys
import time
import warnings
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any, NamedTuple, TextIO

import numpy as np
from _data import NoData
from _gpu_device import Card, free, peak_mb, wait
from _timing import Deadline
from sklearn.exceptions import ConvergenceWarning

sys.path.append(str(Path(__file__).parent / "images"))

from _images import mnist
from _model import mnist_model

GOAL = 1.20
N_PIXELS = 28 * 28


class Sizes(NamedTuple):
    """How much is learned: images (None: all), K, and epochs at most."""

    n_images: int | None
    K: int
    epochs: int


FULL, TINY = Sizes(None, 128, 6), Sizes(300, 3, 2)


def bits(nats: float) -> float:
    """Return the bits a pixel of a mean log-density."""
    return -nats / N_PIXELS / np.log(2)


class Progress(Deadline):
    """A callback that prints the time and the held-out rows' bits after every epoch.

    It ends a fit before an epoch that would take it past the deadline, as far as can be told.

    Parameters
    ----------
    report : StringIO
        What the fit itself prints of its epochs: callbacks are not told of held-out rows, unless
        they have the last steps done each time.
    out : TextIO
        Where to print.
    seconds : float
        From now to the deadline.
    """

    def __init__(self, report: io.StringIO, out: TextIO, seconds: float) -> None:
        super().__init__(seconds, passes=3)
        self._report, self._out = report, out
        self.reached: str | None = None

    def on_fit_task_end(self, estimator: Any, context: Any) -> bool:
        is_last = super().on_fit_task_end(estimator, context)
        if context.task_name != "epoch":
            return False
        elapsed = self.times[-1] - self.start
        held_out = re.findall(r"held out +([^)]+)\)", self._report.getvalue())[-1]
        found = bits(float(held_out))
        line = f"epoch {len(self.times)}: {elapsed:.1f} s, held out {found:.4f} bits"
        print(line, file=self._out, flush=True)
        if self.reached is None and found <= GOAL:
            self.reached = f"in epoch {len(self.times)}, {elapsed:.1f} s after the start"
        return is_last


def bits_of_mnist(sizes: Sizes, card: Card, deadline: float) -> bool:
    """Learn the training images, and print what the test images take; return True."""
    try:
        train, test = (images[: sizes.n_images] for images in mnist())
    except (NoData, FileNotFoundError) as error:
        print(f"skipped: no MNIST: {error}", flush=True)
        return True
    free(card.device)
    report = io.StringIO()
    progress = Progress(report, sys.stdout, deadline - time.perf_counter())
    # The fit itself says what it does of its epochs.
    model = mnist_model(sizes.K, sizes.epochs, device=card.device, verbose=1)
    model.set_callbacks(progress)
    with warnings.catch_warnings(), redirect_stdout(report):
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(train)
    wait(card.device)
    seconds, size = progress.now() - progress.start, model.circuit_.n_parameters
    peak = peak_mb(card.device)
    print(
        f"fit: {model.n_iter_} of {sizes.epochs} epochs of {len(train)} images, and the last "
        f"steps, in {seconds:.1f} s; {size / 1e6:.1f} M parameters, peak "
        + ("-" if peak is None else f"{peak:.0f} MB"),
        flush=True,
    )
    start = time.perf_counter()
    found = bits(model.score(test))
    score_seconds = time.perf_counter() - start
    print(
        f"test: {found:.4f} bits a pixel, {len(test)} images scored in {score_seconds:.1f} s",
        flush=True,
    )
    if progress.reached is None and found <= GOAL:
        progress.reached = f"by the last steps, at most {seconds:.1f} s after the start"
    print(f"{GOAL:.2f} bits a pixel: {progress.reached or 'not reached'}", flush=True)
    free(card.device)
    return True

"""Ten minutes on one large GPU: the tests that need one, speed beside the paper's layer, MNIST.

    python benchmarks/gpu.py [--minutes 10] [--only tests speed mnist]
    python benchmarks/gpu.py --device cpu --tiny

Every figure is printed as soon as it is known, so that a run that is cut off still tells what it
found, and nothing that fails or finds no memory ends the run. In this order:

- the card: its name, memory, and rates of a large matrix product in float32 and in TF32. Speed and
  MNIST are measured without TF32, in float32 (the leaves in float64)
- tests: `python -m pytest -m gpu -q tests/`, two minutes at most
- speed: an epoch of stochastic EM and the log-densities of all rows, the fastest of several after
  one more. Noise: Fig. 4 of the paper at its default point (2000 x 512, D=4, R=10, K=10, Tucker
  layers, normal leaves) and with K=40, in the paper's batches of 100 and in one of all rows, beside
  the paper's layer in plain torch (_gpu_paper.py: the same parameters, derivatives by autograd); a
  hidden tree of 10 columns, beside the same on the CPU; a hidden tree and a quad tree of 784 binary
  columns, CP layers, with about 10 and 100 million parameters
- mnist: the model of images/mnist.py, and when it is at 1.20 bits a pixel

Columns of the table:

peak MB        of the device's memory in tensors, parameters and rows included; of a CPU unknown
of ... rate    multiplications and additions of the weights alone, as in roofline.py, a second of an
               epoch, as a share of the rate of the card's large product

What would start after the given minutes is named as not run; a part that has started may take
longer. The last line says whether anything failed; then the exit status is 1. With --device cpu the
tests are only collected, and with --tiny all sizes are small, so that the command can be rehearsed
anywhere.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import _gpu_mnist
import _gpu_speed
import torch
from _gpu_device import Card, attempt, free, product_rate, tf32

ROOT = Path(__file__).parents[1]
TESTS, TEST_SECONDS = ROOT / "tests", 120.0
PRODUCT = {"full": 8192, "tiny": 256}
OUTCOMES = {0: "passed", 1: "FAILED", 5: "NONE FOUND"}


def say(text: str) -> None:
    """Print a line at once."""
    print(text, flush=True)


def describe(device: torch.device, size: int, seconds: float) -> Card:
    """Print what the device is and how fast it multiplies."""
    say(f"torch {torch.__version__}, CUDA {torch.version.cuda}")
    kinds = {"float32": False}
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        unused, total = torch.cuda.mem_get_info(device)
        say(f"{properties.name}, {total / 2**30:.1f} GiB of memory, {unused / 2**30:.1f} unused")
        kinds["TF32"] = True
    else:
        say("CPU, no GPU: its memory is not measured, and there is no TF32")
    rates: dict[str, float | None] = {}
    for kind, allowed in kinds.items():
        found = attempt(partial(product_rate, device, size, seconds, allowed))
        rates[kind] = None if isinstance(found, str) else found
        shown = found if isinstance(found, str) else f"{found / 1e12:.3g} TFLOP/s"
        say(f"product of {size} x {size} in {kind}: {shown}")
    free(device)
    return Card(device, rates["float32"], rates.get("TF32"))


def run_tests(collect_only: bool, seconds: float = TEST_SECONDS) -> bool:
    """Run the tests that need a GPU, or only find them; return whether none failed."""
    if find_spec("pytest") is None or not TESTS.exists():
        missing = "tests/ is not there" if find_spec("pytest") else "pytest is not installed"
        say(f"skipped: {missing}")
        return True
    command = [sys.executable, "-m", "pytest", "-m", "gpu", "-q", str(TESTS)]
    if find_spec("xdist") and not collect_only:
        command += ["-n", str(min(8, os.cpu_count() or 1))]
    # In a file, what was printed before a timeout is not lost.
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen(
            [*command, "--collect-only"] if collect_only else command,
            cwd=ROOT,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            status = process.wait(seconds)
            outcome = OUTCOMES.get(status, f"FAILED: exit status {status}")
        except subprocess.TimeoutExpired:
            # Its workers, too, which would disturb what is measured next.
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            outcome = f"TIMEOUT: not finished after {seconds:g} s"
        output.seek(0)
        lines = [line.strip() for line in output if line.strip()]
    for line in lines:
        if line.startswith(("FAILED ", "ERROR ")):
            say(line)
    last = lines[-1] if lines else "no output"
    if outcome == "passed" and collect_only:
        outcome = "collected, and not run on a CPU"
    elif outcome == "passed" and " passed" not in f" {last}":
        outcome = "NONE RAN"
    say(f"{outcome}: {last}")
    return outcome.startswith(("passed", "collected"))


def run_parts(parts: dict[str, Callable[[], bool]], minutes: float, deadline: float) -> list[str]:
    """Run one part after the other until the time is over; return those that failed."""
    failed = []
    for name, part in parts.items():
        say(f"\n## {name}\n")
        if time.perf_counter() > deadline:
            say(f"not run: {minutes:g} minutes are over")
            continue
        found = attempt(part)
        if isinstance(found, str):
            say(found)
        if found is not True:
            failed.append(name)
    return failed


def main() -> int:
    """Run what is asked for, and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--minutes", type=float, default=10.0, help="nothing starts after these")
    parser.add_argument("--tiny", action="store_true", help="a rehearsal, all sizes small")
    names = ["tests", "speed", "mnist"]
    parser.add_argument("--only", nargs="+", choices=names, default=names, metavar="NAME")
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        parser.error("there is no GPU; --device cpu --tiny rehearses what would be done")
    start = time.perf_counter()
    deadline = start + 60 * arguments.minutes
    size = "tiny" if arguments.tiny else "full"
    card = describe(device, PRODUCT[size], 0.0 if arguments.tiny else 1.0)
    speed_sizes, mnist_sizes = (
        module.TINY if arguments.tiny else module.FULL for module in (_gpu_speed, _gpu_mnist)
    )
    parts: dict[str, Callable[[], bool]] = {
        "tests": lambda: run_tests(collect_only=device.type != "cuda"),
        "speed": lambda: _gpu_speed.speed(speed_sizes, card, deadline),
        "mnist": lambda: _gpu_mnist.bits_of_mnist(mnist_sizes, card, deadline),
    }
    chosen = {name: part for name, part in parts.items() if name in arguments.only}
    with tf32(False):  # which some installations allow by default
        failed = run_parts(chosen, arguments.minutes, deadline)
    outcome = f"failed: {', '.join(failed)}" if failed else "nothing failed"
    say(f"\n{outcome}, {(time.perf_counter() - start) / 60:.1f} minutes")
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())

"""Tables in files: time, and memory, against the number of rows.

    python benchmarks/larger_than_memory.py

Correlated columns from a mixture of normal densities, in float32, are written to a temporary file
block by block. Every fit runs in a process of its own, from a memory map of the first rows of the
file; the smaller tables are also fitted as arrays. Prints a table, and writes
`larger_than_memory.csv` and `docs/images/larger_than_memory.png`.
"""

from __future__ import annotations

import argparse
import csv
import multiprocessing
import resource
import tempfile
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from _short import Figure, in_products

ROWS = [100_000, 300_000, 1_000_000, 3_000_000, 10_000_000]
MAX_ROWS_IN_MEMORY = 1_000_000
N_COMPONENTS, BLOCK_ROWS = 20, 50_000
HERE = Path(__file__).parent
# The digits of the numbers.
DIGITS = {
    "file MB": 0,
    "fit s": 1,
    "fit CPU s": 1,
    "epoch CPU s": 2,
    "microseconds per row and epoch": 1,
    "peak MB": 0,
    "peak MB above imports": 0,
}
FIELDS = ["rows", "held as", *DIGITS]


def write_table(path: Path, n_rows: int, n_columns: int) -> None:
    """Rows of a mixture: its components have centres and factors of their own."""
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((N_COMPONENTS, n_columns), dtype=np.float32)
    factors = rng.standard_normal((N_COMPONENTS, 5, n_columns), dtype=np.float32)
    with path.open("wb") as file:
        for start in range(0, n_rows, BLOCK_ROWS):
            component = rng.integers(N_COMPONENTS, size=min(BLOCK_ROWS, n_rows - start))
            block = rng.standard_normal((len(component), n_columns), dtype=np.float32)
            for number in range(N_COMPONENTS):
                own = component == number
                hidden = rng.standard_normal((int(own.sum()), 5), dtype=np.float32)
                block[own] += centres[number] + hidden @ factors[number]
            file.write(block.tobytes())


def peak_megabytes() -> float:
    """The most memory that this process has had resident."""
    try:
        status = Path("/proc/self/status").read_text()
        return float(status.split("VmHWM:")[1].split()[0]) / 1024
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure(path: str, shape: tuple[int, int], in_memory: bool, parameters: dict[str, Any]) -> Any:
    """One fit; runs in a fresh process."""
    from _timing import Clock

    from sklearn_einet import EinetDensity

    warnings.simplefilter("ignore")
    clock = Clock(time.process_time)  # of all threads; other processes do not count
    model = EinetDensity(tol=0, random_state=0, **parameters)
    model.set_callbacks(clock)
    imported = peak_megabytes()
    X: np.ndarray = np.memmap(path, np.float32, "r", shape=shape)
    if in_memory:
        X = np.array(X)
    start, start_cpu = time.perf_counter(), time.process_time()
    model.fit(X)
    seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - start_cpu
    epoch = clock.fastest_epoch()
    peak = peak_megabytes()
    return {
        "rows": shape[0],
        "held as": "array" if in_memory else "memory map",
        "file MB": X.nbytes / 2**20,
        "fit s": seconds,
        "fit CPU s": cpu_seconds,
        "epoch CPU s": epoch,
        "microseconds per row and epoch": 1e6 * epoch / shape[0],
        "peak MB": peak,
        "peak MB above imports": peak - imported,
    }


def draw(results: list[dict[str, Any]], path: Path) -> None:
    """Time against rows, both on logarithmic axes, and memory below."""
    import matplotlib.pyplot as plt

    figure, (above, below) = plt.subplots(
        2, 1, sharex=True, figsize=(6, 6), height_ratios=[2, 1], layout="constrained"
    )
    for held, marker in (("memory map", "o"), ("array", "x")):
        own = [r for r in results if r["held as"] == held]
        rows = [r["rows"] for r in own]
        above.loglog(rows, [r["fit CPU s"] for r in own], f"{marker}-", label=f"whole fit, {held}")
        above.loglog(
            rows, [r["epoch CPU s"] for r in own], f"{marker}:", label=f"one epoch, {held}"
        )
        below.loglog(rows, [r["peak MB"] for r in own], f"{marker}-", label=f"peak memory, {held}")
    mapped = [r for r in results if r["held as"] == "memory map"]
    below.loglog(
        [r["rows"] for r in mapped], [r["file MB"] for r in mapped], "k--", label="size of the file"
    )
    above.set_ylabel("CPU seconds")
    below.set_ylabel("MB")
    below.set_xlabel("rows")
    above.legend()
    below.legend()
    figure.savefig(path, dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=ROWS)
    parser.add_argument("--columns", type=int, default=100)
    parser.add_argument("--max-iter", type=int, default=2)
    parser.add_argument("--K", type=int, default=None)
    parser.add_argument("--folder", default=None, help="where the temporary file is to be")
    arguments = parser.parse_args()
    parameters = {"K": arguments.K, "max_iter": arguments.max_iter}
    context = multiprocessing.get_context("spawn")
    results: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        path = Path(folder, "table.f32")
        write_table(path, max(arguments.rows), arguments.columns)
        print("| " + " | ".join(FIELDS) + " |\n|" + "---|" * len(FIELDS))
        for n_rows in sorted(arguments.rows):
            for in_memory in [False, True][: 1 + (n_rows <= MAX_ROWS_IN_MEMORY)]:
                job = str(path), (n_rows, arguments.columns), in_memory, parameters
                with context.Pool(1) as pool:
                    result = pool.apply(measure, job)
                results.append(result | {k: round(result[k], d or None) for k, d in DIGITS.items()})
                print("| " + " | ".join(str(results[-1][f]) for f in FIELDS) + " |", flush=True)
    with (HERE / "larger_than_memory.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, FIELDS)
        writer.writeheader()
        writer.writerows(results)
    draw(results, HERE.parent / "docs" / "images" / "larger_than_memory.png")


def short() -> Iterator[Figure]:
    """Cases for short.py."""
    shape, parameters = (100_000, 50), {"max_iter": 3}
    case = f"{shape[0]} x {shape[1]}, memory map"
    results: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "table.f32")
        write_table(path, *shape)

        def epoch() -> float:
            results.append(measure(str(path), shape, False, parameters))
            return results[-1]["epoch CPU s"]

        yield Figure(case, "epoch", "products", in_products(epoch, rounds=2))
    yield Figure(case, "peak memory", "MB", results[0]["peak MB above imports"])


if __name__ == "__main__":
    main()

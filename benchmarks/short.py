"""A short version of every benchmark, with figures that are comparable between commits.

    python benchmarks/short.py [--only table1 ...] [--compare OLD.csv] [--output FILE]

Every benchmark runs a few short cases, its function `short`, in a process of its own, on one
thread. Speed is CPU time in products of two float32 matrices of 512 x 512, which take turns with
what is measured; quality is the figure itself, of a fixed seed; "times" are ratios of wall-clock
times where several processes or libraries compete. Both kinds of ratios depend on the processor, so
compare tables of one machine.

Writes benchmarks/short.csv, unless only some benchmarks run, and prints a table. With --compare,
which takes the file of another commit, prints both: a cost is marked if it is more than a fifth
higher (ratios of wall-clock times: a half), another figure if it differs by more than its unit in
_short.py allows, and a benchmark if it failed. Benchmarks with higher costs run a second time, and
the lower costs count. The exit status is 1 if anything is marked.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import importlib
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Iterable, Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import NamedTuple

from _data import NoData
from _short import UNITS, Figure, skipped

HERE = Path(__file__).parent
RESULTS = Path(__file__).with_suffix(".csv")
BENCHMARKS = [
    *["table1", "continuous", "choices", "chow_liu", "columns", "imputation", "efficiency"],
    *["scaling", "queries", "jobs", "images", "poon_domingos", "outliers", "p_values", "adult"],
    *["larger_than_memory", "scaling_out", "roofline"],
]
# Where a script has not the name of its benchmark.
SCRIPTS = {"images": "images/mixture"}
# Seconds, after which a benchmark is stopped.
TIMEOUT = 120


class Row(NamedTuple):
    """A row of the table; the last four as in `Figure`."""

    benchmark: str
    case: str
    quantity: str
    unit: str
    value: str

    @property
    def key(self) -> tuple[str, str, str]:
        return self[:3]


def child(name: str) -> None:
    """Run a benchmark in this process, and print its figures as lines of JSON."""
    import torch

    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    script = HERE / f"{SCRIPTS.get(name, name)}.py"
    sys.path.insert(0, str(script.parent))
    lines = sys.stdout
    with contextlib.redirect_stdout(sys.stderr):
        for figure in figures(script.stem):
            print(json.dumps(figure, default=float), file=lines, flush=True)


def figures(module: str) -> Iterator[Figure]:
    """The figures of a benchmark, or what it lacks."""
    try:
        yield from importlib.import_module(module).short()
    except NoData:
        yield Figure("", "", "", "skipped: no data (SKLEARN_EINET_DATA)")
    except ModuleNotFoundError as error:
        yield skipped("", error)


def run(name: str) -> list[Row]:
    """The rows of a benchmark; the last says so if it failed."""
    command = [sys.executable, __file__, "--child", name]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONHASHSEED": "0"}
    start = time.perf_counter()
    failure = ""
    # Files, for pipes stay open as long as any process that the benchmark has started.
    with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as errors:
        streams = {"stdout": output, "stderr": errors}
        try:
            status = subprocess.run(command, env=environment, timeout=TIMEOUT, **streams).returncode
        except subprocess.TimeoutExpired:
            failure = f"failed: more than {TIMEOUT} s"
        else:
            errors.seek(0)
            if status:
                failure = "failed: " + (errors.read().strip().splitlines() or ["no message"])[-1]
        output.seek(0)
        found = [Figure(*json.loads(line)) for line in output]
    rows = [Row(name, f.case, f.quantity, f.unit, written(f)) for f in found]
    print(f"{name}: {time.perf_counter() - start:.0f} s {failure}", file=sys.stderr, flush=True)
    return rows + [Row(name, "", "", "", failure)] * bool(failure)


def written(figure: Figure) -> str:
    """The value as it stands in the table."""
    if isinstance(figure.value, str):
        return figure.value
    return format(figure.value, UNITS[figure.unit].shown)


def header() -> str:
    """The commit, and what else the figures depend on."""
    described = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--exclude=*"],
        cwd=HERE,
        capture_output=True,
        text=True,
    )
    known = {"commit": described.stdout.strip() or "unknown", "python": platform.python_version()}
    for package in ("torch", "numpy", "scikit-learn"):
        with contextlib.suppress(PackageNotFoundError):
            known[package] = version(package)
    return ", ".join(f"{k} {v}" for k, v in known.items()) + f", {processor()}, 1 thread"


def processor() -> str:
    """The model of the processor."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def save(path: Path, head: str, rows: Iterable[Row]) -> None:
    """Write a table."""
    with path.open("w", newline="") as file:
        file.write(f"# {head}\n")
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(Row._fields)
        writer.writerows(rows)


def load(path: Path) -> tuple[str, list[Row]]:
    """Read a table."""
    with path.open(newline="") as file:
        head = file.readline().removeprefix("#").strip()
        return head, [Row(**row) for row in csv.DictReader(file)]


def markdown(columns: Iterable[str], lines: Iterable[Iterable[str]]) -> str:
    """A table as text."""
    columns = list(columns)
    table = [columns, ["---"] * len(columns), *lines]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in table)


def is_cost(row: Row) -> bool:
    """Whether the value is a number of which less is better."""
    return bool(row.unit) and UNITS[row.unit].limit > 0


def mark(old: Row | None, new: Row | None) -> str:
    """What is wrong with the newer of two rows, or nothing."""
    if new is None:
        # Rows that say why there is no number come and go.
        return "missing" if old is not None and old.unit else ""
    if not new.unit:
        return "failed" if new.value.startswith("failed") else ""
    if old is None or old.unit != new.unit:
        return ""
    return UNITS[new.unit].mark(float(old.value), float(new.value))


def pairs(old: list[Row], new: list[Row]) -> Iterator[tuple[Row | None, Row | None, str]]:
    """Rows of both tables side by side, of the benchmarks that were run, and their marks."""
    before, after = ({row.key: row for row in rows} for rows in (old, new))
    ran = {row.benchmark for row in new}
    ran_keys = [key for key in dict.fromkeys([*after, *before]) if key[0] in ran]
    # Rows of what is skipped, a whole benchmark or one of its cases, are not missing.
    skips = {key[:2] for key, row in after.items() if row.value.startswith("skipped")}
    for key in sorted(ran_keys, key=lambda key: BENCHMARKS.index(key[0])):
        is_skipped = (key[0], "") in skips or key[:2] in skips
        if key in after or not is_skipped:
            a, b = before.get(key), after.get(key)
            yield a, b, mark(a, b)


def comparison(old: list[Row], new: list[Row]) -> list[list[str]]:
    """The lines of the table of both."""
    lines = []
    for a, b, marked in pairs(old, new):
        ratio = ""
        if a and b and a.unit and is_cost(b) and float(a.value):
            ratio = f"{float(b.value) / float(a.value):.2f}"
        row = b or a
        values = [each.value if each else "" for each in (a, b)]
        lines.append([*row[:4], *values, ratio, f"**{marked}**" if marked else ""])
    return lines


def better(first: list[Row], second: list[Row]) -> list[Row]:
    """The first run, with the costs of the second where they are lower."""
    again = {row.key: row for row in second if is_cost(row)}
    return [
        min(row, again.get(row.key, row), key=lambda each: float(each.value))
        if is_cost(row)
        else row
        for row in first
    ]


def existing(path: str) -> tuple[str, list[Row]]:
    """A table to compare with."""
    if not Path(path).is_file():
        raise argparse.ArgumentTypeError(f"there is no file {path}")
    return load(Path(path))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=BENCHMARKS, metavar="NAME")
    parser.add_argument("--compare", type=existing, metavar="OLD.csv")
    parser.add_argument("--output", type=Path, metavar="FILE")
    parser.add_argument("--child", choices=BENCHMARKS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        child(arguments.child)
        return 0
    head, rows = header(), [row for name in arguments.only or BENCHMARKS for row in run(name)]
    old_head, old = arguments.compare or ("", [])
    slower = {b.benchmark for _, b, marked in pairs(old, rows) if marked == "worse"}
    for name in BENCHMARKS:
        if name in slower:
            rows = better(rows, run(name))
    output = arguments.output or (None if arguments.only else RESULTS)
    if output:
        save(output, head, rows)
    if not arguments.compare:
        print(f"{head}\n\n{markdown(Row._fields, rows)}")
        return 0
    lines = comparison(old, rows)
    print(f"old: {old_head}\nnew: {head}\n")
    print(markdown([*Row._fields[:4], "old", "new", "new / old", "marked"], lines))
    return int(any(line[-1] for line in lines))


if __name__ == "__main__":
    sys.exit(main())

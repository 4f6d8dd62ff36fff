"""Results in a CSV file, so that a benchmark can be interrupted and resumed."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any


def finished_and_missing(
    path: Path,
    fields: Sequence[str],
    key: Sequence[str],
    tasks: Iterable[tuple[Any, ...]],
    run: Callable[..., dict[str, Any]],
) -> list[dict[str, Any]]:
    """The rows of a file, to which those that it lacks are appended one by one.

    Parameters
    ----------
    path : Path
    fields : sequence of str
        The file's columns.
    key : sequence of str
        The columns that identify tasks, in the order of their arguments.
    tasks : iterable of tuple
        Arguments of `run`.
    run : callable
        Returns a row.
    """
    rows: list[dict[str, Any]] = []
    if path.exists():
        with path.open() as file:
            rows = list(csv.DictReader(file))
    finished = {tuple(row[k] for k in key) for row in rows}
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, fields, lineterminator="\n")
        if not rows:
            writer.writeheader()
        for task in tasks:
            if tuple(map(str, task)) not in finished:
                rows.append(run(*task))
                writer.writerow(rows[-1])
                file.flush()
    return rows

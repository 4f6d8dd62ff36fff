"""Where the regions of one layer find their children."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from sklearn_einet.native.program import in_a_row
from sklearn_einet.structure import Region

__all__ = ["arrange"]


def arrange(
    regions: Sequence[Region], rows: dict[Region, tuple[int, int]], sizes: Sequence[int]
) -> dict[str, Any]:
    """The attributes that levels have in common, but for the number of entries.

    Parameters
    ----------
    regions : sequence of Region
        Those of one layer.
    rows : dict of Region to (int, int)
        The (output, row) of every region in the layers below.
    sizes : sequence of int
        Number of rows of the outputs.
    """
    partitions = [p for region in regions for p in region.partitions]
    children = np.array([rows[child] for p in partitions for child in p.children])
    n_children = [len(p.children) for p in partitions]
    leaves = children[children[:, 0] == 0, 1]
    leaf_rows = slice(int(leaves.min()), int(leaves.max()) + 1) if len(leaves) else slice(0, 0)
    start, total = {}, 0
    for output in np.unique(children[:, 0]).tolist():
        start[output] = total - (leaf_rows.start if output == 0 else 0)
        total += leaf_rows.stop - leaf_rows.start if output == 0 else sizes[output]
    gather = np.array([start[output] + row for output, row in children.tolist()])
    in_order = len(gather) == total and in_a_row(gather)
    counts = np.array([len(r.partitions) for r in regions])
    mixing = None
    if counts.max() > 1:
        first = np.cumsum(counts) - counts
        steps = np.arange(counts.max())
        mixing = first[:, None] + np.where(steps < counts[:, None], steps, 0)
    return {
        "children": children,
        "partition": np.repeat(np.arange(len(partitions)), n_children),
        "gather": None if in_order else gather,
        "leaf_rows": leaf_rows,
        "mixing": mixing,
    }

"""Positions of a layer's children in the outputs below."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sklearn_einet.native.program import in_a_row
from sklearn_einet.structure import Region

__all__ = ["ArrayHolder", "ChildLayout", "child_layout", "whole_output"]


class ArrayHolder:
    """A frozen dataclass of arrays, which are copied to a device once."""

    def __getstate__(self) -> dict[str, Any]:
        """Return the attributes without cached results, so that queries do not change a pickle."""
        return {field.name: getattr(self, field.name) for field in fields(self)}  # type: ignore[arg-type]

    def on(self, device: torch.device, name: str) -> Tensor:
        """Return one of the arrays as a tensor on a device."""
        kept, key = vars(self), f"{name} on {device}"
        if key not in kept:
            kept[key] = torch.as_tensor(getattr(self, name), device=device)
        tensor: Tensor = kept[key]
        return tensor


@dataclass(frozen=True)
class ChildLayout(ArrayHolder):
    """The children of a layer among the rows of earlier outputs.

    Attributes
    ----------
    children : ndarray of shape (n_children, 2)
        The (output, row) of the children of every partition, one partition after the other;
        output 0 is that of the leaf regions, output i that of layer i - 1.
    gather : ndarray of shape (n_children,) or None
        Rows of the children in what `join` returns; None if those are all of its rows, in order.
    leaf_rows : slice
        The leaf regions among which the layer has children.
    """

    children: np.ndarray
    gather: np.ndarray | None
    leaf_rows: slice

    @cached_property
    def sources(self) -> list[int]:
        """The outputs that hold the children."""
        return np.unique(self.children[:, 0]).tolist()

    @cached_property
    def rows(self) -> np.ndarray:
        """Rows of the children in what `join` returns."""
        return np.arange(len(self.children)) if self.gather is None else self.gather

    @cached_property
    def turns(self) -> dict[int, list[tuple[np.ndarray, np.ndarray]]]:
        """For every output that holds children, their rows and which children these are; a shared
        row takes one turn for each child."""
        result: dict[int, list[tuple[np.ndarray, np.ndarray]]] = {}
        for output in self.sources:
            which = np.flatnonzero(self.children[:, 0] == output)
            rows, result[output] = self.children[which, 1], []
            while len(rows):
                _, first = np.unique(rows, return_index=True)
                result[output].append((rows[first], which[first]))
                rows, which = np.delete(rows, first), np.delete(which, first)
        return result

    def join(self, outputs: Sequence[Tensor]) -> Tensor:
        """Return the outputs that hold the children, concatenated.

        Parameters
        ----------
        outputs : sequence of Tensor of shape (rows, K, batch)
            The outputs of the leaf regions and of the layers below.
        """
        parts = [outputs[i][self.leaf_rows] if i == 0 else outputs[i] for i in self.sources]
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def add_to(self, flows: list[Tensor | None], outputs: Sequence[Tensor], joined: Tensor) -> None:
        """Add flows of the rows that `join` returned to the flows of all outputs.

        Parameters
        ----------
        flows : list of (Tensor or None)
            As the outputs; None where nothing has been added so far. Changed in place.
        outputs
            As in `join`.
        joined : Tensor of shape (rows, K, batch)
            It may be overwritten.
        """
        start = 0
        for i in self.sources:
            n_rows = len(outputs[i])
            rows = self.leaf_rows if i == 0 else slice(0, n_rows)
            part = joined[start : start + rows.stop - rows.start]
            start += len(part)
            total = flows[i]
            if total is None and len(part) == n_rows:
                flows[i] = part
                continue
            if total is None:
                total = flows[i] = torch.zeros_like(outputs[i])
            total[rows] += part

    def gather_on(self, device: torch.device) -> Tensor | None:
        """Return `gather` on a device."""
        return None if self.gather is None else self.on(device, "gather")

    def gathered(self, x: Tensor) -> Tensor:
        """Return the children's rows of what `join` returned, in their order."""
        gather = self.gather_on(x.device)
        return x if gather is None else x.index_select(0, gather)


def child_layout(
    regions: Sequence[Region], rows: dict[Region, tuple[int, int]], sizes: Sequence[int]
) -> ChildLayout:
    """Lay out the children of all partitions of some regions.

    Parameters
    ----------
    regions : sequence of Region
        The regions of one topological layer.
    rows : dict of Region to (int, int)
        The (output, row) of every region below.
    sizes : sequence of int
        Number of rows of the outputs.
    """
    partitions = [p for region in regions for p in region.partitions]
    children = np.array([rows[child] for p in partitions for child in p.children])
    leaves = children[children[:, 0] == 0, 1]
    leaf_rows = slice(int(leaves.min()), int(leaves.max()) + 1) if len(leaves) else slice(0, 0)
    start, total = {}, 0
    for output in np.unique(children[:, 0]).tolist():
        start[output] = total - (leaf_rows.start if output == 0 else 0)
        total += leaf_rows.stop - leaf_rows.start if output == 0 else sizes[output]
    gather = np.array([start[output] + row for output, row in children.tolist()])
    in_order = len(gather) == total and in_a_row(gather)
    return ChildLayout(children, None if in_order else gather, leaf_rows)


def whole_output(output: int, n_rows: int) -> ChildLayout:
    """Lay out children that are all rows of one output."""
    children = np.column_stack([np.full(n_rows, output), np.arange(n_rows)])
    return ChildLayout(children, None, slice(0, 0 if output else n_rows))

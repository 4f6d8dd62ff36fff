"""The walk from the root to the leaves, for a whole batch of rows at once."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import torch
from torch import Tensor

from sklearn_einet.circuit.circuit import Circuit

__all__ = ["sample"]


def sample(circuit: Circuit, n_samples: int, random_state: np.random.RandomState) -> np.ndarray:
    """Draw rows by ancestral sampling.

    Every sum node on the way down draws one of its terms: a partition, then a pair of entries of
    its two children. A row visits the nodes of one induced tree; the nodes that all rows visit in
    a layer are drawn together.

    Parameters
    ----------
    circuit : Circuit
    n_samples : int
    random_state : RandomState

    Returns
    -------
    rows : ndarray of shape (n_samples, n_features)
        Float64, in the units of the circuit.
    """
    # visits[output] lists (row of the batch, row of the output, entry of its vector).
    visits: dict[int, list[Tensor]] = defaultdict(list)
    levels = circuit.levels
    start = torch.zeros(3, n_samples, dtype=torch.int64, device=circuit.device)
    start[0] = torch.arange(n_samples, device=circuit.device)
    visits[len(levels)].append(start)
    weights = list(circuit.weights)
    for output in range(len(levels), 0, -1):
        level = levels[output - 1]
        batch_row, region, entry = torch.cat(visits.pop(output), 1)
        partition = region
        if level.mixing is not None:
            mixture = weights.pop().transpose(1, 2)  # (regions, K, partitions)
            chosen = _draw(mixture, region, entry, random_state)
            partition = torch.as_tensor(level.mixing, device=circuit.device)[region, chosen]
        if level.children is None:
            visits[0].append(torch.stack([batch_row, torch.zeros_like(region), partition]))
            continue
        pair = _draw(weights.pop().flatten(2), partition, entry, random_state)
        sources = torch.as_tensor(level.children, device=circuit.device)
        for side, child in enumerate((pair // circuit.K, pair % circuit.K)):
            source, row = sources[2 * partition + side].T
            for below in level.sources:
                here = source == below
                visits[below].append(torch.stack([batch_row, row, child])[:, here])
    return _draw_leaves(circuit, n_samples, torch.cat(visits[0], 1), random_state)


def _draw(
    weights: Tensor, row: Tensor, column: Tensor, random_state: np.random.RandomState
) -> Tensor:
    """One index for each (row, column), with probabilities weights[row, column]."""
    n = weights.shape[-1]
    cumulative = weights.to(torch.float64).cumsum(-1)
    cumulative = (cumulative / cumulative[..., -1:]).view(-1, n)
    distribution = row * weights.shape[1] + column
    u = torch.as_tensor(random_state.random_sample(len(row)), device=weights.device)
    # Distribution i occupies [i, i + 1), so that one sorted search serves them all.
    ends = cumulative + torch.arange(len(cumulative), device=weights.device).unsqueeze(1)
    index = torch.searchsorted(ends.view(-1), u + distribution, right=True)
    return (index - distribution * n).clamp(0, n - 1)


def _draw_leaves(
    circuit: Circuit, n_samples: int, visits: Tensor, random_state: np.random.RandomState
) -> np.ndarray:
    """Draw the features of every leaf region that was reached."""
    result = np.empty((n_samples, circuit.region_graph.n_features))
    batch_row, region, entry = visits
    for group in circuit.leaf_groups:
        slots = group.index[region].cpu().numpy()
        phi = group.phi[region, :, :, entry].transpose(1, 2).cpu().numpy()
        values = group.family.sample(phi, random_state)
        visit, slot = np.nonzero(slots < len(group.columns))
        columns = group.columns.cpu().numpy()[slots[visit, slot]]
        result[batch_row.cpu().numpy()[visit], columns] = values[visit, slot]
    return result

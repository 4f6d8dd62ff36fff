"""Leaves looked up in tables of states."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from sklearn_einet.circuit.factors import Factors
from sklearn_einet.circuit.input_layer import Cells, LeafGroup, Terms

__all__ = ["LookUpGroup"]


class LookUpGroup(LeafGroup):
    """Categorical leaves: log-probabilities of states are gathered and summed.

    Products with indicators of states would cost as many times more as there are states.
    """

    looks_up = True

    def linear(self, cells: Cells, factors: Factors, dtype: torch.dtype) -> tuple[Tensor, Any]:
        n_regions, n_slots, n_states, k = factors.theta.shape
        table = factors.table(dtype)
        # One row of the table for each state of each slot, and a last one for "missing".
        missing = len(table) - 1
        states = torch.where(cells.seen, cells.x, -1).to(torch.int64)
        states = torch.nn.functional.pad(states, (0, 0, 0, 1), value=-1)[self.index]
        start = torch.arange(0, missing, n_states, device=table.device)
        rows = torch.where(states >= 0, states + start.view(n_regions, n_slots, 1), missing)
        rows = rows.transpose(1, 2).reshape(-1, n_slots)
        sums = torch.nn.functional.embedding_bag(rows, table, mode="sum", padding_idx=missing)
        return sums.view(n_regions, -1, k).transpose(1, 2), (rows, n_states)

    def expected(self, kept: Any, flows: Tensor) -> tuple[Tensor, Tensor]:
        rows, n_states = kept
        n_regions, n_slots = self.index.shape
        k = flows.shape[1]
        by_row = flows.transpose(1, 2).reshape(-1, k)
        table = flows.new_zeros(n_regions * n_slots * n_states + 1, k)
        for slot in rows.T.contiguous():
            table.index_add_(0, slot, by_row)
        weighted = table[:-1].view(n_regions, n_slots, n_states, k)
        return weighted, weighted.sum(2)

    def _term_products(self, cells: Cells, terms: Terms, theta: Tensor) -> Tensor:
        states = cells.x[terms.column].to(torch.int64)
        number = torch.arange(len(theta), device=theta.device).unsqueeze(1)
        return theta[number, states].transpose(1, 2)

    def term_log_intervals(self, low: Tensor, high: Tensor, terms: Terms) -> Tensor:
        phi = self.phi.flatten(0, 1)[terms.slot]
        states = torch.arange(phi.shape[1], dtype=phi.dtype, device=phi.device).view(1, -1, 1)
        inside = (states >= low.unsqueeze(1)) & (states <= high.unsqueeze(1))
        return torch.bmm(phi.transpose(1, 2), inside.to(phi.dtype)).log()

    def log_reference(self, cells: Cells) -> Tensor:
        table = self.reference_theta.squeeze(-1) - self.reference_normalizer
        return table.gather(1, cells.x.to(torch.int64)) * cells.seen

"""The paper's Einsum Network in plain torch: sections 3.2 to 3.5 and EM by automatic derivatives.

For random binary trees that meet in the root, two or more, with normal leaves and no missing cells.
Activations are (batch, K, regions), as in the paper. Leaves are products of matrices, which takes
less time and memory than the paper's tensor of the densities of all cells.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from sklearn_einet.circuit import Circuit

# Least variance, and the least number of rows that any term of a sum is taken to have.
MIN_VARIANCE, LEAST = 1e-3, 1e-30


@dataclass
class PaperNetwork:
    """Parameters of trees, all in float32.

    Attributes
    ----------
    features : Tensor of int of shape (width, n_leaf_regions)
        The columns of every leaf region; padding is any column.
    present : Tensor of bool of shape (width, n_leaf_regions)
        What is no padding.
    phi : Tensor of shape (2, width, K, n_leaf_regions)
        Means and mean squares.
    weights : list of Tensor of shape (K, K, k_out, n_partitions)
        Of every einsum layer, from below.
    mixture : Tensor of shape (n_trees,)
    """

    features: Tensor
    present: Tensor
    phi: Tensor
    weights: list[Tensor]
    mixture: Tensor

    @classmethod
    def of(cls, circuit: Circuit, device: torch.device) -> PaperNetwork:
        """Return the network with the parameters of a circuit of this package."""
        (group,) = circuit.leaf_groups
        *weights, mixture = circuit.weights
        columns = group.columns[group.index.clamp_max(len(group.columns) - 1)]
        return cls(
            columns.T.contiguous().to(device),
            group.present.squeeze(-1).T.contiguous().to(device),
            group.phi.permute(2, 1, 3, 0).float().contiguous().to(device),
            [w.permute(2, 3, 1, 0).contiguous().to(device) for w in weights],
            mixture.flatten().clone().to(device),
        )

    def log_prob(self, x: Tensor) -> Tensor:
        """Return the log-densities of rows, (batch,)."""
        return self._log_root(self._log_leaves(self._cells(x)), self.weights, self.mixture)

    @torch.no_grad()
    def step(self, x: Tensor, step_size: float) -> Tensor:
        """Make a step of stochastic EM (eq. 7 to 9), and return the sum of the log-densities."""
        cells = self._cells(x)
        learned = [
            each.detach().requires_grad_()
            for each in (self._log_leaves(cells), self.mixture, *self.weights)
        ]
        leaves, mixture, *weights = learned
        with torch.enable_grad():
            total = self._log_root(leaves, weights, mixture).sum()
        posterior, of_mixture, *of_weights = torch.autograd.grad(total, learned)
        _move(self.mixture, self.mixture * of_mixture, (0,), step_size)
        for old, gradient in zip(self.weights, of_weights, strict=True):
            _move(old, old * gradient, (0, 1), step_size)
        sums = [torch.einsum("bwr,bkr->wkr", each, posterior) for each in (cells, cells**2)]
        self.phi.lerp_(torch.stack(sums) / (posterior.sum(0) + LEAST), step_size)
        return total.detach()

    def _cells(self, x: Tensor) -> Tensor:
        """Return the cells of every leaf region, (batch, width, n_leaf_regions)."""
        return torch.where(self.present, x[:, self.features], 0.0)

    def _log_leaves(self, cells: Tensor) -> Tensor:
        """Return log-densities of the leaf regions (section 3.5)."""
        mean, square = self.phi
        variance = (square - mean**2).clamp_min(MIN_VARIANCE)
        normalizer = 0.5 * (mean**2 / variance + torch.log(2 * math.pi * variance))
        linear = torch.einsum("bwr,wkr->bkr", cells, mean / variance)
        quadratic = torch.einsum("bwr,wkr->bkr", cells**2, -0.5 / variance)
        return linear + quadratic - (normalizer * self.present.unsqueeze(1)).sum(0)

    @staticmethod
    def _log_root(x: Tensor, weights: list[Tensor], mixture: Tensor) -> Tensor:
        """Return log-densities of the rows, given those of the leaf regions."""
        for each in weights:
            # The children of partition p are the regions 2 p and 2 p + 1 of the layer below.
            x = log_einsum_exp(x[:, :, 0::2], x[:, :, 1::2], each)
        trees = x.squeeze(1)
        top = trees.detach().amax(1, keepdim=True)
        return torch.log(torch.exp(trees - top) @ mixture) + top.squeeze(1)


def log_einsum_exp(left: Tensor, right: Tensor, weights: Tensor) -> Tensor:
    """Return the log-densities of an einsum layer's regions (eq. 4)."""
    left_top, right_top = (each.detach().amax(1, keepdim=True) for each in (left, right))
    sums = torch.einsum(
        "bip,bjp,ijop->bop", torch.exp(left - left_top), torch.exp(right - right_top), weights
    )
    return torch.log(sums) + left_top + right_top


def _move(old: Tensor, counts: Tensor, axes: tuple[int, ...], step_size: float) -> None:
    """Move weights towards those of a batch, in proportion to its counts."""
    counts += LEAST
    old.lerp_(counts / counts.sum(axes, keepdim=True), step_size)


def epoch(network: PaperNetwork, x: Tensor, batch: int, step_size: float) -> float:
    """Pass over the rows once in random order; return their mean log-density before the steps."""
    total = torch.zeros((), device=x.device)
    for rows in torch.randperm(len(x)).to(x.device).split(batch):
        total += network.step(x[rows], step_size)
    return float(total) / len(x)


@torch.no_grad()
def score(network: PaperNetwork, x: Tensor, block_rows: int) -> Tensor:
    """Return the log-densities of all rows."""
    return torch.cat([network.log_prob(part) for part in x.split(block_rows)])

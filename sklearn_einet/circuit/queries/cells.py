"""Scores of each cell of a row, from one upward and one downward pass."""

from __future__ import annotations

import torch
from torch import Tensor

from sklearn_einet.circuit.circuit import Circuit, Parameters
from sklearn_einet.circuit.leaves.base import LeafGroup
from sklearn_einet.circuit.leaves.joint_normal import JointGroup
from sklearn_einet.circuit.leaves.natural_parameters import NaturalParameters
from sklearn_einet.circuit.queries.flows import leaf_log_flows
from sklearn_einet.circuit.queries.joint import cell_log_densities
from sklearn_einet.circuit.semirings import finite_maximum

__all__ = ["conditional_scores", "marginal_scores"]


def conditional_scores(circuit: Circuit, columns: Tensor, parameters: Parameters) -> Tensor:
    """Compute -log p(x_j | all other observed cells of the row), for every cell.

    The density is linear in each univariate density. Dividing the flow through each leaf unit by
    the cell's density there, and adding up, gives p(x without x_j) / p(x) for all j together.

    Parameters
    ----------
    circuit : Circuit
    columns : Tensor of shape (n_features, batch)
    parameters : Parameters
        The circuit's parameters, which are the same for every batch.

    Returns
    -------
    scores : Tensor of shape (n_features, batch)
        In nats; NaN for missing cells, inf for impossible ones. Impossible or nearly impossible
        cells are no evidence for the others (see `Circuit.usable`).
    """
    usable = circuit.usable(columns)
    evidence = torch.where(usable, columns, torch.nan)
    leaves, _ = circuit.leaf_log_densities(evidence, parameters)
    log_flows = leaf_log_flows(circuit, circuit.propagate(leaves))
    # Cells that are not in the evidence multiply by their density instead.
    sign = torch.where(usable, -1.0, 1.0).to(columns.dtype)
    return _scores(circuit, columns, parameters, log_flows, sign, evidence)


def marginal_scores(
    circuit: Circuit, columns: Tensor, parameters: Parameters, log_flows: Tensor
) -> Tensor:
    """Compute -log p(x_j) for every cell, whatever the others are; as `conditional_scores`.

    `log_flows` are the flows without evidence, which are the same for every batch.
    """
    nothing = torch.full_like(columns, torch.nan)
    sign = torch.ones_like(columns)
    return _scores(circuit, columns, parameters, log_flows, sign, nothing)


def _scores(
    circuit: Circuit,
    columns: Tensor,
    parameters: Parameters,
    log_flows: Tensor,
    sign: Tensor,
    evidence: Tensor,
) -> Tensor:
    """Return scores from flows, multiplied with or divided by the densities of single cells;
    `evidence` is the evidence of the flows."""
    result = torch.empty_like(columns)
    of_joint = torch.full_like(columns, -torch.inf)
    for joint in circuit.joint_groups:
        terms = _joint_terms(joint, columns, evidence, log_flows, sign[joint.columns])
        of_joint[joint.columns] = torch.logaddexp(of_joint[joint.columns], terms)
    for group, natural in zip(circuit.leaf_groups, parameters.leaves, strict=True):
        own = group.own
        result[own] = _group_scores(
            group, columns[own], natural, log_flows, sign[own], of_joint[own]
        )
    return result


def _joint_terms(
    group: JointGroup, columns: Tensor, evidence: Tensor, log_flows: Tensor, sign: Tensor
) -> Tensor:
    """Return logarithms of the joint densities' contributions to each column's sum, (d, batch)."""
    z, given = group.axis(columns), group.axis(evidence)
    flows = log_flows[group.regions].flatten(0, 1).unsqueeze(1)
    result = torch.empty_like(z)
    for part in group.blocks(z):
        values = cell_log_densities(group, z[:, part], given[:, part]).mul_(sign[:, part])
        # Flows that are the same for all rows have one row.
        values += flows if flows.shape[2] == 1 else flows[:, :, part]
        result[:, part] = values.nan_to_num_(nan=0.0).logsumexp(0)
    return result


def _group_scores(
    group: LeafGroup,
    x: Tensor,
    natural: NaturalParameters,
    log_flows: Tensor,
    sign: Tensor,
    of_joint: Tensor,
) -> Tensor:
    """Return scores of the columns of a leaf group; `of_joint` are logarithms of the joint
    densities' contributions to the sums."""
    cells = group.cells(x)
    k, batch = log_flows.shape[1], x.shape[1]
    sums = x.new_empty(len(group.terms.region), batch)
    for part, terms in group.terms.blocks(8 * k * batch):
        values = group.term_log_densities(cells, terms, natural)
        values.mul_(sign[terms.column].unsqueeze(1)).add_(log_flows[terms.region])
        maximum = finite_maximum(values, dim=1)
        sums[part] = values.sub_(maximum).exp_().sum(1).log_().add_(maximum.squeeze(1))
    total = torch.logaddexp(_log_sum_by_column(sums, group.terms.column, len(x)), of_joint)
    scores = -sign * total - group.log_reference(cells)
    impossible = ~torch.isnan(x) & (~cells.seen | torch.isnan(scores))
    return torch.where(torch.isnan(x), torch.nan, torch.where(impossible, torch.inf, scores))


def _log_sum_by_column(values: Tensor, column: Tensor, n_columns: int) -> Tensor:
    """Return the logarithm of the sums of exp(values) over the rows of each column."""
    shape = n_columns, values.shape[1]
    maximum = values.new_full(shape, torch.finfo(values.dtype).min)
    maximum.scatter_reduce_(0, column.unsqueeze(1).expand_as(values), values, "amax")
    sums = values.new_zeros(shape).index_add_(0, column, (values - maximum[column]).exp_())
    return sums.log_().add_(maximum)

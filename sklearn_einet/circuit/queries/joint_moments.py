"""Means, variances and covariances of the columns of joint leaf regions."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from sklearn_einet.circuit.leaves.joint_normal import JointGroup
from sklearn_einet.circuit.queries.joint import completed_blocks, missing_variances
from sklearn_einet.families import Normal

__all__ = ["CurvedColumn", "add_moments", "covariances_within", "means_within"]

# Densities with a smaller share of a cell do not change its moments.
LEAST_SHARE = 1e-12

# How many products of Hermite polynomials are summed for covariances on curved axes.
HERMITE_TERMS = 48

# The span of the quadrature in standard deviations, and its pieces of 8 nodes each.
QUADRATURE_WIDTH, QUADRATURE_PIECES = 9.0, 48


class CurvedColumn(Protocol):
    """A column whose values are not linear functions of the axis of normal densities."""

    def moments(self, mean: Tensor, variance: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and variance of the values, given those on the axis, of any shape."""

    def values(self, y: Tensor) -> Tensor:
        """Return the values at points of the axis."""


@dataclass(frozen=True)
class FamilyColumn:
    """A column of a normal family with an axis of its own."""

    family: Normal

    def moments(self, mean: Tensor, variance: Tensor) -> tuple[Tensor, Tensor]:
        phi = torch.stack([mean, mean * mean + variance], -2)
        return self.family.mean(phi), self.family.variance(phi)

    def values(self, y: Tensor) -> Tensor:
        return self.family.from_axis(y)


def _curved_positions(
    group: JointGroup, curved: Mapping[int, CurvedColumn]
) -> dict[int, CurvedColumn]:
    """Return the curved columns of a group, by their positions in it."""
    result: dict[int, CurvedColumn] = {}
    families = [f for f, n in zip(group.families, group.sizes, strict=True) for _ in range(n)]
    for position, (column, family) in enumerate(zip(group.columns.tolist(), families, strict=True)):
        if column in curved:
            result[position] = curved[column]
        elif type(family) is not Normal:
            result[position] = FamilyColumn(family)
    return result


def means_within(group: JointGroup, curved: Mapping[int, CurvedColumn]) -> tuple[Tensor, Tensor]:
    """Return means and variances of the columns under every density, (n, d) each."""
    mean = group.normals.mean.clone()
    variance = group.normals.covariance.diagonal(dim1=1, dim2=2).clone()
    for position, column in _curved_positions(group, curved).items():
        found = column.moments(mean[:, position], variance[:, position])
        mean[:, position], variance[:, position] = found
    return mean, variance


def add_moments(
    group: JointGroup,
    posterior: Tensor,
    evidence: Tensor,
    center: Tensor,
    curved: Mapping[int, CurvedColumn],
    first: Tensor,
    second: Tensor,
) -> None:
    """Add contributions of joint densities given evidence to the moments of columns, in place.

    Parameters
    ----------
    group : JointGroup
    posterior : Tensor of shape (n_leaf_regions, K, batch)
    evidence : Tensor of shape (n_features, batch)
        The evidence of the posterior.
    center : Tensor of shape (n_features, 1)
        The centers about which moments are taken.
    curved : mapping of int to CurvedColumn
        By columns of the circuit; columns of curved families may be left out.
    first, second : Tensor of shape (n_features, batch)
    """
    share = posterior[group.regions].flatten(0, 1)
    middle = center[group.columns]
    positions = _curved_positions(group, curved)
    z = group.axis(evidence)
    for part, completed in completed_blocks(group, z):
        mean = completed.deviation + group.normals.mean.unsqueeze(2)
        variance = missing_variances(group, completed)
        here, missing = share[:, part], torch.isnan(z[:, part])
        has_gaps = missing.any(1).tolist()
        for position, column in positions.items():
            if not has_gaps[position]:
                continue
            # Only where requested, and where it matters.
            density, row = torch.nonzero(missing[position] & (here > LEAST_SHARE)).unbind(1)
            cells = density, torch.full_like(row, position), row
            mean[cells], variance[cells] = column.moments(mean[cells], variance[cells])
        deviation = mean - middle
        first[group.columns, part] += (deviation * here.unsqueeze(1)).sum(0)
        second[group.columns, part] += ((deviation**2 + variance) * here.unsqueeze(1)).sum(0)


def covariances_within(group: JointGroup, curved: Mapping[int, CurvedColumn]) -> Tensor:
    """Return covariances of the columns under every density, (n, d, d).

    For curved columns, they are sums over products of Hermite coefficients and powers of the
    correlation (Mehler's formula).
    """
    covariance = group.normals.covariance
    positions = _curved_positions(group, curved)
    if not positions:
        return covariance
    deviation = covariance.diagonal(dim1=1, dim2=2).sqrt()
    correlation = covariance / (deviation.unsqueeze(2) * deviation.unsqueeze(1))
    coefficients = _hermite_coefficients(group, positions, deviation)
    result = torch.zeros_like(covariance)
    power = torch.ones_like(correlation)
    for own in coefficients:
        power = power * correlation
        result += own.unsqueeze(2) * own.unsqueeze(1) * power
    return result


def _hermite_coefficients(
    group: JointGroup, curved: Mapping[int, CurvedColumn], deviation: Tensor
) -> Tensor:
    """Return expectations of the columns times normalised Hermite polynomials of their
    standardised axes, from the first degree on, (n_terms, n, d)."""
    nodes, products = (torch.as_tensor(each).to(deviation.device) for each in _quadrature())
    result = deviation.new_zeros(HERMITE_TERMS, *deviation.shape)
    result[0] = deviation
    for position, column in curved.items():
        mean, sd = group.normals.mean[:, position], deviation[:, position]
        values = column.values(mean.unsqueeze(1) + sd.unsqueeze(1) * nodes)
        values = values - column.values(mean).unsqueeze(1)
        result[:, :, position] = products @ values.T
    return result


@cache
def _quadrature() -> tuple[np.ndarray, np.ndarray]:
    """Return nodes and, for each Hermite polynomial, its values there times the weights for a
    standard normal density."""
    inner, weight = np.polynomial.legendre.leggauss(8)
    edges = np.linspace(-QUADRATURE_WIDTH, QUADRATURE_WIDTH, QUADRATURE_PIECES + 1)
    half = np.diff(edges)[:, None] / 2
    nodes = ((edges[:-1, None] + half) + half * inner).ravel()
    weights = (half * weight).ravel() * np.exp(-0.5 * nodes**2) / math.sqrt(2 * math.pi)
    polynomials = [np.ones_like(nodes), nodes]
    for n in range(1, HERMITE_TERMS):
        more = nodes * polynomials[n] - math.sqrt(n) * polynomials[n - 1]
        polynomials.append(more / math.sqrt(n + 1))
    return nodes, np.array(polynomials[1:]) * weights

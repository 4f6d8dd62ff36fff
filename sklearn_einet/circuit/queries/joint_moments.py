"""Means, variances and covariances of the columns of joint leaf regions."""

from __future__ import annotations

import math
from functools import cache

import numpy as np
import torch
from torch import Tensor

from sklearn_einet.circuit.leaves.joint_normal import JointGroup
from sklearn_einet.circuit.queries.joint import completed_blocks, missing_variances
from sklearn_einet.families import Normal

__all__ = ["add_moments", "covariances_within", "means_within"]

# Products of that many Hermite polynomials are summed for covariances on curved axes.
HERMITE_TERMS = 48

# Standard deviations that the quadrature spans, and its pieces of 8 nodes each.
QUADRATURE_WIDTH, QUADRATURE_PIECES = 9.0, 48


def means_within(group: JointGroup) -> tuple[Tensor, Tensor]:
    """Return means and variances of the columns under every density, (n, d) each."""
    variance = group.normals.covariance.diagonal(dim1=1, dim2=2)
    mean, spread = _on_columns(group, group.normals.mean.unsqueeze(2), variance.unsqueeze(2))
    return mean.squeeze(2), spread.squeeze(2)


def add_moments(
    group: JointGroup,
    posterior: Tensor,
    evidence: Tensor | None,
    center: Tensor,
    first: Tensor,
    second: Tensor,
) -> None:
    """Add what joint densities contribute to the moments of their columns, in place.

    Parameters
    ----------
    group : JointGroup
    posterior : Tensor of shape (n_leaf_regions, K, batch)
    evidence : Tensor of shape (n_features, batch), or None
        What the posterior is given; None: nothing.
    center : Tensor of shape (n_features, 1)
        What moments are taken about.
    first, second : Tensor of shape (n_features, batch)
    """
    share = posterior[group.regions].flatten(0, 1)
    middle = center[group.columns]
    if evidence is None:
        mean, variance = means_within(group)
        deviation = mean - middle.T
        first[group.columns] += deviation.T @ share
        second[group.columns] += (deviation**2 + variance).T @ share
        return
    for part, completed in completed_blocks(group, group.axis(evidence)):
        z = completed.deviation + group.normals.mean.unsqueeze(2)
        mean, variance = _on_columns(group, z, missing_variances(group, completed))
        deviation = mean - middle
        here = share[:, part].unsqueeze(1)
        first[group.columns, part] += (deviation * here).sum(0)
        second[group.columns, part] += ((deviation**2 + variance) * here).sum(0)


def _on_columns(group: JointGroup, mean: Tensor, variance: Tensor) -> tuple[Tensor, Tensor]:
    """Return means and variances of columns, given those on their axes, (n, d, batch); where
    these have no variance, the results have no meaning."""
    if all(type(family) is Normal for family in group.families):
        return mean, variance
    means, variances = [], []
    positive = torch.where(variance > 0, variance, 1.0)
    pairs = zip(
        group.by_family(mean.transpose(0, 1)),
        group.by_family(positive.transpose(0, 1)),
        strict=True,
    )
    for (family, m), (_, v) in pairs:
        phi = torch.stack([m, m * m + v], -2)
        means.append(family.mean(phi))
        variances.append(family.variance(phi))
    return torch.cat(means).transpose(0, 1), torch.cat(variances).transpose(0, 1)


def covariances_within(group: JointGroup) -> Tensor:
    """Return covariances of the columns under every density, (n, d, d).

    On curved axes they are sums over products of Hermite coefficients by powers of the
    correlation (Mehler's formula).
    """
    covariance = group.normals.covariance
    if all(type(family) is Normal for family in group.families):
        return covariance
    deviation = covariance.diagonal(dim1=1, dim2=2).sqrt()
    correlation = covariance / (deviation.unsqueeze(2) * deviation.unsqueeze(1))
    coefficients = _hermite_coefficients(group, deviation)
    result = torch.zeros_like(covariance)
    power = torch.ones_like(correlation)
    for n in range(1, HERMITE_TERMS):
        power = power * correlation
        own = coefficients[n]
        result += own.unsqueeze(2) * own.unsqueeze(1) * power
    return result


def _hermite_coefficients(group: JointGroup, deviation: Tensor) -> Tensor:
    """Return expectations of the columns times normalised Hermite polynomials of their
    standardised axes, (n_terms, n, d)."""
    nodes, products = (torch.as_tensor(each).to(deviation.device) for each in _quadrature())
    axis = group.normals.mean.unsqueeze(2) + deviation.unsqueeze(2) * nodes
    parts = [family.from_axis(y) for family, y in group.by_family(axis.transpose(0, 1))]
    return torch.einsum("dnq,tq->tnd", torch.cat(parts), products)


@cache
def _quadrature() -> tuple[np.ndarray, np.ndarray]:
    """Return nodes and, for each Hermite polynomial, its values there times weights of a standard
    normal density."""
    inner, weight = np.polynomial.legendre.leggauss(8)
    edges = np.linspace(-QUADRATURE_WIDTH, QUADRATURE_WIDTH, QUADRATURE_PIECES + 1)
    half = np.diff(edges)[:, None] / 2
    nodes = ((edges[:-1, None] + half) + half * inner).ravel()
    weights = (half * weight).ravel() * np.exp(-0.5 * nodes**2) / math.sqrt(2 * math.pi)
    polynomials = [np.ones_like(nodes), nodes]
    for n in range(1, HERMITE_TERMS - 1):
        more = nodes * polynomials[n] - math.sqrt(n) * polynomials[n - 1]
        polynomials.append(more / math.sqrt(n + 1))
    return nodes, np.array(polynomials) * weights

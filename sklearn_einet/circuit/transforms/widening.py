"""Convolution of a circuit's densities with normal noise."""

from __future__ import annotations

import torch

from sklearn_einet.circuit.circuit import Circuit
from sklearn_einet.circuit.queries.moments import expected, posterior
from sklearn_einet.families import MultivariateNormal, Normal

__all__ = ["widened"]


def widened(circuit: Circuit, bandwidth: float) -> Circuit:
    """Return the density of rows with independent normal noise added to their numbers.

    Sums and products keep their form, and normal leaves stay normal, so that this is the exact
    convolution of the density with the noise, on the axes on which leaves are normal. Leaves of
    other families, and leaves with absolute variance bounds, are not changed.

    Parameters
    ----------
    circuit : Circuit
    bandwidth : float
        Standard deviation of the noise in a column, in standard deviations of the column under the
        circuit.
    """
    result = circuit.to(circuit.device)
    shares = posterior(circuit, circuit.propagate(circuit.nothing)).to(torch.float64)
    for joint in result.joint_groups:
        share = shares[joint.regions].view(-1)
        mean, covariance = joint.normals.mean, joint.normals.covariance
        square = mean**2 + covariance.diagonal(dim1=1, dim2=2)
        noise = bandwidth**2 * (share @ square - (share @ mean) ** 2)
        joint.normals = MultivariateNormal(mean, covariance + torch.diag(noise))
    for group in result.leaf_groups:
        if isinstance(group.family, Normal) and group.family.variance_bounds is None:
            mean, square = expected(group, shares, group.phi)[..., 0].unbind(1)
            noise = bandwidth**2 * (square - mean**2)
            of_slots = noise[group.index.clamp_max(len(noise) - 1)].view(*group.index.shape, 1, 1)
            first, second = group.phi[..., :1, :], group.phi[..., 1:, :]
            group.phi = torch.cat([first, second + of_slots.to(second.dtype)], -2)
    return result

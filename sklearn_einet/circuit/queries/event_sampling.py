"""Draws of rows given values, ranges and sets of values in some columns."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from sklearn_einet.circuit.block_rows import slices
from sklearn_einet.circuit.circuit import Circuit
from sklearn_einet.circuit.leaves.base import LeafGroup
from sklearn_einet.circuit.leaves.joint_normal import JointGroup
from sklearn_einet.circuit.queries.events import (
    Event,
    axis_ends,
    conditionals,
    event_log_densities,
)
from sklearn_einet.circuit.queries.joint import completed_blocks
from sklearn_einet.circuit.queries.sampling import (
    PosteriorChoices,
    Values,
    fill,
    walk,
    walks_at_a_time,
)
from sklearn_einet.families import ExponentialFamily
from sklearn_einet.families.truncated_normal import draw_inside, uniforms

__all__ = ["sample_given"]

# How many log-probabilities of values are held at a time.
VALUES_AT_A_TIME = 2**21


def sample_given(
    circuit: Circuit,
    known: Tensor,
    event: Event,
    n_samples: int,
    random_state: np.random.RandomState,
    noise: bool = True,
) -> np.ndarray:
    """Draw rows given values of some columns and an event in others.

    Parameters
    ----------
    circuit : Circuit
    known : Tensor of shape (n_features,)
        NaN where only the event is known.
    event : Event
        With a positive probability, given the known values.
    n_samples : int
    random_state : RandomState
    noise : bool, default=True
        False: leaves return their modes, or the nearest possible value.

    Returns
    -------
    rows : ndarray of shape (n_samples, n_features)
        In the units of the circuit.
    """
    columns = known.unsqueeze(1)
    leaves, _, _ = event_log_densities(circuit, columns, event)
    choices = PosteriorChoices(circuit.propagate(leaves), random_state)
    blocks = [
        _block(circuit, columns, event, part.stop - part.start, choices, noise)
        for part in slices(n_samples, walks_at_a_time(circuit))
    ]
    return np.concatenate(blocks)


def _block(
    circuit: Circuit,
    columns: Tensor,
    event: Event,
    n_samples: int,
    choices: PosteriorChoices,
    noise: bool,
) -> np.ndarray:
    """Return rows drawn together, given columns (n_features, 1)."""
    random_state = choices.random_state
    visits = walk(circuit, n_samples, choices)
    rows = np.repeat(columns.T.cpu().numpy(), n_samples, axis=0)
    for group in circuit.leaf_groups:
        _fill_ranges(group, visits, rows, event, random_state, noise)
        _fill_sets(group, visits, rows, event, random_state, noise)
    for joint in circuit.joint_groups:
        _fill_joint_ranges(joint, visits, rows, columns, event, random_state, noise)
    evidence = torch.from_numpy(rows.T.copy()).to(circuit.device)
    fill(circuit, visits, rows, Values(random_state if noise else None), evidence)
    return rows


def _restricted(
    group: LeafGroup, visits: Tensor, restricted: np.ndarray
) -> tuple[np.ndarray, np.ndarray, Tensor]:
    """Return rows and columns of the cells that walks have reached in some columns of a leaf group,
    and the parameters of their densities, (n_statistics, n_cells)."""
    walk, region, unit = visits
    mask = torch.as_tensor(np.append(restricted, False), device=visits.device)
    columns = torch.nn.functional.pad(group.columns, (0, 1), value=-1)[group.index]
    wanted = mask[columns[region]] & group.present[region, :, 0]
    visit, slot = torch.nonzero(wanted, as_tuple=True)
    phi = group.phi[region[visit], slot, :, unit[visit]].T
    return walk[visit].cpu().numpy(), columns[region[visit], slot].cpu().numpy(), phi.cpu()


def _fill_ranges(
    group: LeafGroup,
    visits: Tensor,
    rows: np.ndarray,
    event: Event,
    random_state: np.random.RandomState,
    noise: bool,
) -> None:
    """Fill cells of univariate densities with values inside their ranges, in place."""
    if not event.has_range[group.columns.cpu().numpy()].any():
        return
    row, column, phi = _restricted(group, visits, event.has_range)
    low, high = (torch.from_numpy(end[column]) for end in (event.low, event.high))
    if noise:
        u = torch.from_numpy(uniforms(random_state, len(row)))
        values = group.family.truncated_quantile(u, low, high, phi)
    else:
        ends = (low.ceil(), high.floor()) if group.family.is_discrete else (low, high)
        values = group.family.peak(phi).clamp(*ends)
    rows[row, column] = values.numpy()


def _fill_sets(
    group: LeafGroup,
    visits: Tensor,
    rows: np.ndarray,
    event: Event,
    random_state: np.random.RandomState,
    noise: bool,
) -> None:
    """Fill cells of univariate densities with one of their allowed values, in place."""
    for number in group.columns.tolist():
        if number not in event.sets:
            continue
        row, column, phi = _restricted(group, visits, np.arange(rows.shape[1]) == number)
        u = torch.from_numpy(uniforms(random_state, len(row))) if noise else None
        rows[row, column] = _chosen(group.family, event.sets[number], phi, u)


def _chosen(
    family: ExponentialFamily, values: np.ndarray, phi: Tensor, u: Tensor | None
) -> np.ndarray:
    """Return one of the given values for every density, by numbers u, or the most probable values
    without these."""
    result = np.empty(phi.shape[1])
    for start in range(0, len(result), step := max(1, VALUES_AT_A_TIME // len(values))):
        part = slice(start, start + step)
        log_p = family.log_probabilities(torch.from_numpy(values), phi[:, part])
        if u is None:
            place = log_p.argmax(0)
        else:
            cumulative = (log_p - log_p.amax(0)).exp().cumsum(0)
            # Rounding must not reach the total, or a last value of probability 0 might be chosen.
            largest = torch.nextafter(cumulative[-1], torch.zeros_like(cumulative[-1]))
            place = (cumulative <= torch.minimum(u[part] * cumulative[-1], largest)).sum(0)
        result[part] = values[place.numpy()]
    return result


def _fill_joint_ranges(
    group: JointGroup,
    visits: Tensor,
    rows: np.ndarray,
    columns: Tensor,
    event: Event,
    random_state: np.random.RandomState,
    noise: bool,
) -> None:
    """Fill cells of joint densities with values inside their ranges, in place."""
    own = group.columns.cpu().numpy()
    bounded = np.flatnonzero(event.has_range[own])
    walk, region, unit = visits[:, torch.isin(visits[1], group.regions)]
    if not len(bounded) or not len(walk):
        return
    low, high = axis_ends(group, event, bounded)
    density = (torch.searchsorted(group.regions, region) * group.K + unit).cpu().numpy()
    _, completed = next(iter(completed_blocks(group, group.axis(columns))))
    _, mean, covariance = next(conditionals(group, completed, bounded))
    found = np.empty((len(density), len(bounded)))
    for number in np.unique(density):
        here = np.flatnonzero(density == number)
        given = mean[number, 0], covariance[number]
        found[here] = (
            draw_inside(low, high, *given, len(here), random_state)
            if noise
            else np.clip(given[0], low, high)
        )
    whole = np.full((len(own), len(density)), np.nan)
    whole[bounded] = found.T
    parts = [family.from_axis(y) for family, y in group.by_family(torch.from_numpy(whole))]
    values = torch.cat(parts).numpy()[bounded].T
    bounds = (end[own[bounded]] for end in (event.low, event.high))
    rows[np.ix_(walk.cpu().numpy(), own[bounded])] = np.clip(values, *bounds)

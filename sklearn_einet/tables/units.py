"""Families, units and mean statistics of columns, read off their cells."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch
from sklearn.utils import gen_batches

from sklearn_einet.families import (
    Bernoulli,
    Binomial,
    Categorical,
    Constant,
    ExponentialFamily,
    Normal,
    SymlogNormal,
)
from sklearn_einet.tables.column_maps import ColumnMap
from sklearn_einet.tables.columns import (
    COLUMN_CELLS,
    FAR,
    Extremes,
    SampledColumns,
    Summary,
    summary,
)
from sklearn_einet.tables.map_fitting import fit_maps

__all__ = ["FarOut", "Units", "all_usual", "column_units"]

# Squares of larger distances are no numbers.
LARGEST_DISTANCE = 1e150

# Share of a column's variance from which values that are far out determine it.
DOMINANT_SHARE = 0.5


class FarOut(NamedTuple):
    """Values of a column that are far from all others.

    Attributes
    ----------
    value : float
        The one that is farthest out.
    share : float
        Share of the observed cells that are far out.
    """

    value: float
    share: float


@dataclass(frozen=True)
class Units:
    """How the circuit sees columns of one family.

    Attributes
    ----------
    family : ExponentialFamily
    columns : ndarray of int of shape (n_columns,)
    location, scale : ndarray of shape (n_columns,)
    usual : ndarray of shape (2, n_columns)
        The ends of the values that are not far out; infinite where all are usual.
    reference : ndarray of shape (n_columns, family.n_statistics)
        Mean statistics of the usual values, in the circuit's units.
    least_variance : ndarray of shape (n_columns,)
        What ties tell of the least variance of normal leaves; see `LeafColumns`.
    bounds_support : bool
        Whether the cells bound what leaves of the family can have.
    far_out : dict of int to FarOut
        Columns whose variance is that of values that are far out.
    maps : dict of int to ColumnMap
        Columns that are mapped, in the units of location and scale.
    """

    family: ExponentialFamily
    columns: np.ndarray
    location: np.ndarray
    scale: np.ndarray
    usual: np.ndarray
    reference: np.ndarray
    least_variance: np.ndarray
    bounds_support: bool
    far_out: dict[int, FarOut]
    maps: dict[int, ColumnMap] = field(default_factory=dict)


def all_usual(n_columns: int) -> np.ndarray:
    """Return the ends of usual values of columns without any that are far out."""
    return np.repeat([[-np.inf], [np.inf]], n_columns, axis=1)


def column_units(
    requested: ExponentialFamily,
    columns: np.ndarray,
    extremes: Extremes,
    sample: SampledColumns,
    kinds_of_maps: Mapping[int, str] | None = None,
) -> Iterator[Units]:
    """Yield the units of some columns, by the families that model them in the end.

    Parameters
    ----------
    requested : ExponentialFamily
        The family that was asked for. Constant columns become `Constant`, normal ones with values
        that are far out `SymlogNormal`, whatever was asked for; families whose hyperparameters are
        to be read off the data have these set.
    columns : ndarray of int
    extremes : Extremes
        Of all columns of the table.
    sample : SampledColumns
    kinds_of_maps : mapping of int to str, default=None
        The columns that maps are asked for, see `map_fitting.fit_maps`. Those whose leaves do not
        end up normal get none.
    """
    if not _has_units(requested):
        for family, which in requested.fit_columns(extremes.largest[columns]):
            yield _read(family, columns[which], {}, sample, bounds_support=False)
        return
    constant = extremes.constant[columns]
    if constant.any():
        here = columns[constant]
        yield _of_constants(here, extremes.smallest[here])
    columns = columns[~constant]
    if not len(columns):
        return
    summaries = _summaries(requested, columns, sample)
    with np.errstate(over="ignore", invalid="ignore"):
        ends = [requested.on_axis(end[columns]) for end in (extremes.smallest, extremes.largest)]
    low, high = np.array([each.usual for each in summaries.values()]).T
    far = (ends[0] < low) | (ends[1] > high)
    # Far-out counts are no numbers of trials.
    largest = np.where(far, np.floor(high), extremes.largest[columns])
    for family, which in _families(requested, largest, far):
        here = columns[which]
        known = {int(c): summaries[int(c)] for c in here}
        bounded = isinstance(family, Binomial) and family != requested
        kinds = kinds_of_maps if type(family) is Normal else None
        yield _read(family, here, known, sample, bounds_support=bounded, kinds_of_maps=kinds)


def _has_units(family: ExponentialFamily) -> bool:
    """Return whether a family is of numbers, whose unit is read off the column."""
    if isinstance(family, Bernoulli | Categorical):
        return False
    return not isinstance(family, Normal) or family.variance_bounds is None


def _families(
    requested: ExponentialFamily, largest: np.ndarray, far: np.ndarray
) -> list[tuple[ExponentialFamily, np.ndarray]]:
    """Return the families of columns with a summary, and which of them each one models."""
    if type(requested) is not Normal:
        return requested.fit_columns(largest)
    choices = [(requested, np.flatnonzero(~far)), (SymlogNormal(FAR), np.flatnonzero(far))]
    return [(family, which) for family, which in choices if len(which)]


def _summaries(
    family: ExponentialFamily, columns: np.ndarray, sample: SampledColumns
) -> dict[int, Summary]:
    result = {}
    for part in sample.blocks(columns):
        x = family.on_axis(sample.cells(part))
        for column, cells in zip(part.tolist(), x.T, strict=True):
            result[column] = summary(cells, sample.weight)
    return result


def _of_constants(columns: np.ndarray, value: np.ndarray) -> Units:
    n = len(columns)
    return Units(
        Constant(),
        columns,
        value,
        Constant.rounding(value),
        all_usual(n),
        np.zeros((n, 1)),
        np.zeros(n),
        True,
        {},
    )


def _read(
    family: ExponentialFamily,
    columns: np.ndarray,
    summaries: dict[int, Summary],
    sample: SampledColumns,
    bounds_support: bool,
    kinds_of_maps: Mapping[int, str] | None = None,
) -> Units:
    """Return the units of the columns of a family, from their usual cells."""
    location, scale, least = np.zeros((3, len(columns)))
    usual = all_usual(len(columns))
    reference = np.zeros((len(columns), family.n_statistics))
    far_out: dict[int, FarOut] = {}
    maps: dict[int, ColumnMap] = {}
    start = 0
    for part in sample.blocks(columns):
        here = slice(start, start + len(part))
        start = here.stop
        x = sample.cells(part)
        if summaries:
            known = [summaries[int(column)] for column in part]
            if isinstance(family, Normal):
                # Maps leave ties, and so their share, as they are.
                least[here] = [each.least_variance for each in known]
            far = _far_cells(family.on_axis(x), known)
            for j in np.flatnonzero(far.any(axis=0)):
                usual[:, here.start + j] = _ends(x[~far[:, j], j])
                found = _far_out(family, x[:, j], far[:, j], known[j], sample.weight)
                if found is not None:
                    far_out[int(part[j])] = found
            x = np.where(far, np.nan, x)
        location[here], scale[here] = family.scaling(x, sample.weight)
        z = (x - location[here]) / scale[here]
        if kinds_of_maps:
            maps |= _mapped(z, part, kinds_of_maps, sample.weight)
        reference[here] = _mean_statistics(family, z, sample.weight)
    return Units(
        family,
        columns,
        location,
        scale,
        usual,
        reference,
        least,
        bounds_support,
        far_out,
        maps,
    )


def _mapped(
    z: np.ndarray, columns: np.ndarray, kinds: Mapping[int, str], weight: np.ndarray
) -> dict[int, ColumnMap]:
    """Map columns in place, where that is asked for; return their maps."""
    found = fit_maps(z, weight, [kinds.get(int(column)) for column in columns])
    maps = {}
    for j, column_map in enumerate(found):
        if column_map is not None:
            z[:, j] = column_map.forward(z[:, j])
            maps[int(columns[j])] = column_map
    return maps


def _mean_statistics(family: ExponentialFamily, z: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Return the mean statistics of columns, (n_columns, n_statistics)."""
    total = torch.zeros(z.shape[1], family.n_statistics, dtype=torch.float64)
    mass = torch.zeros(z.shape[1], 1, dtype=torch.float64)
    for block in gen_batches(len(z), max(1, 8 * COLUMN_CELLS // total.numel())):
        cells = torch.from_numpy(z[block].T)
        seen = family.in_support(cells)
        cell_weight = torch.from_numpy(weight[block]) * seen
        total += family.weighted_sum(torch.where(seen, cells, family.fill_value), cell_weight)
        mass += cell_weight.sum(1, keepdim=True)
    return family.interior((total / mass).numpy(), float(weight.sum()))


def _far_cells(x: np.ndarray, summaries: list[Summary]) -> np.ndarray:
    """Return which cells, on the axis of their family, are far out."""
    low, high = np.array([each.usual for each in summaries]).T
    with np.errstate(invalid="ignore"):
        return (x < low) | (x > high)


def _ends(x: np.ndarray) -> tuple[float, float]:
    return float(np.nanmin(x)), float(np.nanmax(x))


def _far_out(
    family: ExponentialFamily,
    x: np.ndarray,
    far: np.ndarray,
    known: Summary,
    weight: np.ndarray,
) -> FarOut | None:
    """Return what is far out in a column, if the variance is that of these cells."""
    distance = np.abs(family.on_axis(x) - known.middle) / known.spread
    square = np.minimum(distance, LARGEST_DISTANCE) ** 2 * weight
    if square[far].sum() <= DOMINANT_SHARE * np.nansum(square):
        return None
    furthest = int(np.nanargmax(distance))
    share = weight[far].sum() / weight[~np.isnan(x)].sum()
    return FarOut(float(x[furthest]), float(share))

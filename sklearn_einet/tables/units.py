"""Families, units and mean statistics of columns, found from their cells."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch

from sklearn_einet.circuit.block_rows import slices
from sklearn_einet.families import (
    Bernoulli,
    Binomial,
    Categorical,
    Constant,
    ExponentialFamily,
    Normal,
    SymlogNormal,
)
from sklearn_einet.families.base import weighted_mean
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

__all__ = ["FarOut", "Units", "all_typical", "column_units", "on_circuit_axis"]

# Squares of larger distances overflow.
LARGEST_DISTANCE = 1e150

# Maps do not help for values farther out than this, in widths of the typical range.
FARTHEST_MAPPED = 1e8

# Far-out values determine a column's variance if they contribute this share of it.
DOMINANT_SHARE = 0.5


class FarOut(NamedTuple):
    """Values of a column that are far from all others.

    Attributes
    ----------
    value : float
        The value that is farthest out.
    share : float
        Share of the observed cells that are far out.
    """

    value: float
    share: float


@dataclass(frozen=True)
class Units:
    """Columns of one family as the circuit sees them.

    Attributes
    ----------
    family : ExponentialFamily
    columns : ndarray of int of shape (n_columns,)
    location, scale : ndarray of shape (n_columns,)
    typical : ndarray of shape (2, n_columns)
        The ends of the values that are not far out; infinite if none are.
    spread : ndarray of shape (n_columns,)
        Standard deviation of the typical values, on the axis of `on_circuit_axis`.
    reference : ndarray of shape (n_columns, family.n_statistics)
        Mean statistics of the typical values, in the circuit's units.
    least_variance : ndarray of shape (n_columns,)
        The least variance of normal leaves because of ties; see `LeafColumns`.
    bounds_support : bool
        Whether the cells bound the values of the family's leaves.
    far_out : dict of int to FarOut
        Columns whose variance is mostly due to far-out values.
    maps : dict of int to ColumnMap
        Maps of columns, in the units of location and scale.
    """

    family: ExponentialFamily
    columns: np.ndarray
    location: np.ndarray
    scale: np.ndarray
    typical: np.ndarray
    spread: np.ndarray
    reference: np.ndarray
    least_variance: np.ndarray
    bounds_support: bool
    far_out: dict[int, FarOut]
    maps: dict[int, ColumnMap] = field(default_factory=dict)


def all_typical(n_columns: int) -> np.ndarray:
    """Return the ends of typical values for columns without far-out values."""
    return np.repeat([[-np.inf], [np.inf]], n_columns, axis=1)


def column_units(
    requested: ExponentialFamily,
    columns: np.ndarray,
    extremes: Extremes,
    sample: SampledColumns,
    kinds_of_maps: Mapping[int, str] | None = None,
) -> Iterator[Units]:
    """Yield the units of some columns, grouped by the families that finally model them.

    Parameters
    ----------
    requested : ExponentialFamily
        The requested family. Whatever it is, constant columns become `Constant`, and normal ones
        with far-out values `SymlogNormal`. Hyperparameters that are found from the data are set.
    columns : ndarray of int
    extremes : Extremes
        Of all columns of the table.
    sample : SampledColumns
    kinds_of_maps : mapping of int to str, default=None
        The kinds of maps requested for columns; see `map_fitting.fit_maps`. Columns whose leaves
        do not end up normal get no map.
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
    kinds_of_maps = {
        column: kind
        for column, kind in (kinds_of_maps or {}).items()
        # A column with many ties has no density that could be mapped.
        if kind != "auto" or column not in summaries or summaries[column].least_variance == 0
    }
    with np.errstate(over="ignore", invalid="ignore"):
        ends = [requested.on_axis(end[columns]) for end in (extremes.smallest, extremes.largest)]
    low, high = np.array([each.typical for each in summaries.values()]).T
    far = (ends[0] < low) | (ends[1] > high)
    tamed: dict[int, ColumnMap] = {}
    if kinds_of_maps and type(requested) is Normal and far.any():
        distance = np.maximum(low - ends[0], ends[1] - high) / (high - low)
        near = columns[far & (distance < FARTHEST_MAPPED)]
        asked = {int(c): kinds_of_maps[int(c)] for c in near if int(c) in kinds_of_maps}
        tamed = _tamed(asked, summaries, sample) if asked else {}
        far &= ~np.isin(columns, list(tamed))
    # Far-out counts are not numbers of trials.
    largest = np.where(far, np.floor(high), extremes.largest[columns])
    if requested.reads_cells:
        families = _by_cells(requested, columns, sample, low, high)
    else:
        families = _families(requested, largest, far)
    for family, which in families:
        here = columns[which]
        known = {int(c): summaries[int(c)] for c in here}
        bounded = isinstance(family, Binomial) and family != requested
        kinds = kinds_of_maps if type(family) is Normal else None
        known_maps = {column: tamed[column] for column in known if column in tamed}
        yield _read(family, here, known, sample, bounded, kinds, known_maps)


def _has_units(family: ExponentialFamily) -> bool:
    """Return whether a family models numbers with a unit that is found from the column."""
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


def _by_cells(
    requested: ExponentialFamily,
    columns: np.ndarray,
    sample: SampledColumns,
    low: np.ndarray,
    high: np.ndarray,
) -> list[tuple[ExponentialFamily, np.ndarray]]:
    """Return the families found from typical cells, and which columns each one models."""
    found: list[ExponentialFamily] = []
    for part in sample.blocks(columns):
        here = slice(len(found), len(found) + len(part))
        x = sample.cells(part)
        x = np.where((x < low[here]) | (x > high[here]), np.nan, x)
        found += [requested.fit_cells(cells, sample.weight) for cells in x.T]
    return [(f, np.flatnonzero([f == other for other in found])) for f in dict.fromkeys(found)]


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
        all_typical(n),
        np.zeros(n),
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
    known_maps: Mapping[int, ColumnMap] | None = None,
) -> Units:
    """Return the units of the columns of a family, from their typical cells; columns with known
    maps, see `_tamed`, have only such cells."""
    location, scale, least, spread = np.zeros((4, len(columns)))
    typical = all_typical(len(columns))
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
                # Maps do not change ties and their share.
                least[here] = [each.least_variance for each in known]
            far = _far_cells(family.on_axis(x), known)
            far[:, [int(column) in (known_maps or {}) for column in part]] = False
            for j in np.flatnonzero(far.any(axis=0)):
                typical[:, here.start + j] = _ends(x[~far[:, j], j])
                found = _far_out(family, x[:, j], far[:, j], known[j], sample.weight)
                if found is not None:
                    far_out[int(part[j])] = found
            x = np.where(far, np.nan, x)
        location[here], scale[here] = family.scaling(x, sample.weight)
        for place, column in enumerate(part.tolist(), start=here.start):
            if column in (known_maps or {}):
                location[place], scale[place] = summaries[column][:2]
        z = (x - location[here]) / scale[here]
        if kinds_of_maps:
            maps |= _mapped(z, part, kinds_of_maps, known_maps or {}, sample.weight)
        reference[here] = _mean_statistics(family, z, sample.weight)
        spread[here] = _deviation(on_circuit_axis(family, z), sample.weight)
    return Units(
        family,
        columns,
        location,
        scale,
        typical,
        spread,
        reference,
        least,
        bounds_support,
        far_out,
        maps,
    )


def on_circuit_axis(family: ExponentialFamily, z: np.ndarray) -> np.ndarray:
    """Return values in the circuit's units on the axis on which leaves measure distances:
    logarithmic for log-normal leaves, and far out for symlog-normal ones."""
    if not isinstance(family, Normal):
        return z
    return family.statistics(torch.from_numpy(z))[..., 0, :].numpy()


def _deviation(x: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Return the standard deviation of the observed values of every column; infinite for a single
    value, which tells nothing about the spread."""
    with np.errstate(over="ignore"):
        variance = weighted_mean((x - weighted_mean(x, weight)) ** 2, weight)
    return np.where(variance > 0, np.sqrt(variance), np.inf)


def _mapped(
    z: np.ndarray,
    columns: np.ndarray,
    kinds: Mapping[int, str],
    known: Mapping[int, ColumnMap],
    weight: np.ndarray,
) -> dict[int, ColumnMap]:
    """Map columns in place where requested; return their maps."""
    asked = [None if int(c) in known else kinds.get(int(c)) for c in columns]
    maps = {}
    for j, found in enumerate(fit_maps(z, weight, asked)):
        column_map = known.get(int(columns[j]), found)
        if column_map is not None:
            z[:, j] = column_map.forward(z[:, j])
            maps[int(columns[j])] = column_map
    return maps


def _tamed(
    kinds: Mapping[int, str], summaries: Mapping[int, Summary], sample: SampledColumns
) -> dict[int, ColumnMap]:
    """Return maps of columns with values that are far out, but not on the mapped axis.

    The units are medians and spreads of the body, because far-out values determine other units.
    """
    result = {}
    for part in sample.blocks(np.array(list(kinds))):
        known = [summaries[int(column)] for column in part]
        middle, spread = np.array([(each.middle, each.spread) for each in known]).T
        z = (sample.cells(part) - middle) / spread
        found = fit_maps(z, sample.weight, [kinds[int(column)] for column in part])
        for j, column_map in enumerate(found):
            if column_map is None:
                continue
            y = column_map.forward(z[:, j])
            low, high = summary(y, sample.weight).typical
            if np.nanmin(y) >= low and np.nanmax(y) <= high:
                result[int(part[j])] = column_map
    return result


def _mean_statistics(family: ExponentialFamily, z: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Return the mean statistics of columns, (n_columns, n_statistics)."""
    total = torch.zeros(z.shape[1], family.n_statistics, dtype=torch.float64)
    mass = torch.zeros(z.shape[1], 1, dtype=torch.float64)
    for block in slices(len(z), max(1, 8 * COLUMN_CELLS // total.numel())):
        cells = torch.from_numpy(z[block].T)
        seen = family.in_support(cells)
        cell_weight = torch.from_numpy(weight[block]) * seen
        total += family.weighted_sum(torch.where(seen, cells, family.fill_value), cell_weight)
        mass += cell_weight.sum(1, keepdim=True)
    return family.interior((total / mass).numpy(), float(weight.sum()))


def _far_cells(x: np.ndarray, summaries: list[Summary]) -> np.ndarray:
    """Return which cells are far out on the axis of their family."""
    low, high = np.array([each.typical for each in summaries]).T
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
    """Return the far-out values of a column, if they determine its variance."""
    distance = np.abs(family.on_axis(x) - known.middle) / known.spread
    square = np.minimum(distance, LARGEST_DISTANCE) ** 2 * weight
    if square[far].sum() <= DOMINANT_SHARE * np.nansum(square):
        return None
    furthest = int(np.nanargmax(distance))
    share = weight[far].sum() / weight[~np.isnan(x)].sum()
    return FarOut(float(x[furthest]), float(share))

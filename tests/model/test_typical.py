"""What is typical of missing cells: atoms, grids, bounds and categories, against events."""

import numpy as np
import pandas as pd
import pytest

from sklearn_einet import EinetDensity
from tests.helpers.atoms import FAST, NAMES, STRUCTURES, new, table

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

LEVELS = np.array([0.05, 0.3, 0.5, 0.8, 0.95])


def typical(model, rows):
    """The missing cells of rows, (n_cells, 2), and their quantiles, (n_levels, n_cells)."""
    X = model.as_numbers(rows)
    row, column = np.nonzero(np.isnan(X))
    return np.c_[row, column], model.table_density_.typical_cells(X, row, column, LEVELS)


def share(model, rows, row, column, low, high):
    """P(low <= cell <= high | its row)."""
    names = list(rows)
    given = {name: rows[name].iloc[row] for name in names if not pd.isna(rows[name].iloc[row])}
    return np.exp(model.event_log_proba({names[column]: (low, high)}, given))


def is_least(model, rows, cell, values):
    """Whether each level is reached at its quantile, and not before it."""
    for level, value in zip(LEVELS, values, strict=True):
        assert share(model, rows, *cell, None, value) >= level - 1e-7
        assert share(model, rows, *cell, None, value - 1e-5) <= level + 1e-7


@pytest.mark.parametrize("structure", [*STRUCTURES, "mixture"])
def test_quantiles_are_the_least_values_that_reach_a_level(structure):
    model = new(structure).fit(table())
    rows = table(6, seed=3, gaps=0.5)
    cells, found = typical(model, rows)
    assert len(set(cells[:, 1])) == len(NAMES)
    atoms = model.table_density_.schema.states.forms
    n_atoms = 0
    for cell, values in zip(cells.tolist(), found.T, strict=True):
        if NAMES[cell[1]] == "kind":
            each = rows.iloc[[cell[0]] * 3].assign(kind=["a", "b", "c"])
            p = model.score_samples(each)
            assert set(values) == {float(np.argmax(p))}
        else:
            is_least(model, rows, cell, values)
            n_atoms += np.isin(values, atoms[cell[1]].atoms).sum() if cell[1] in atoms else 0
    assert n_atoms > 0


def test_atoms_on_both_sides_of_numbers():
    """Two caps, and an atom between numbers; shares from the table itself."""
    rng = np.random.RandomState(0)
    x = rng.choice([0.0, 0.5, 1.0], 4000, p=[0.25, 0.5, 0.25])
    x = np.where(rng.rand(4000) < 0.4, rng.rand(4000), x)
    model = EinetDensity(**FAST, atoms={"x": [0, 0.5, 1]}).fit(pd.DataFrame({"x": x, "y": x + 1}))
    _, found = typical(model, pd.DataFrame({"x": [np.nan], "y": [np.nan]}))
    for value, level in zip(found[:, 0], LEVELS, strict=True):
        assert np.mean(x < value) - 0.02 < level < np.mean(x <= value) + 0.02
    assert found[0, 0] == 0
    assert found[2, 0] == 0.5
    assert found[4, 0] == 1


def test_units_and_maps_do_not_matter():
    rng = np.random.RandomState(0)
    z = rng.randn(2000)
    frame = pd.DataFrame({"a": np.exp(2 * z), "b": z + 0.3 * rng.randn(2000)})
    rows = pd.DataFrame({"a": [np.nan, np.nan], "b": [-1.0, 1.0]})
    kinds = [EinetDensity(**FAST, numeric_transform=kind) for kind in (None, "quantile-spline")]
    for model in kinds:
        one = typical(model.fit(frame), rows)[1]
        other = typical(model.fit(frame * 1e6), rows * 1e6)[1]
        np.testing.assert_allclose(other, one * 1e6, rtol=1e-6)
        for cell, values in zip(((0, 0), (1, 0)), (one * 1e6).T, strict=True):
            at = [share(model, rows * 1e6, *cell, None, value) for value in values]
            np.testing.assert_allclose(at, LEVELS, atol=1e-7)

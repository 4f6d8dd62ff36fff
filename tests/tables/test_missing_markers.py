"""Warnings of numbers that may mark missing cells."""

import re
import warnings

import dask.array as da
import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone

from sklearn_einet import EinetDensity, EinetImputer

N_ROWS = 300
FAST = {"K": 2, "max_iter": 2, "random_state": 0}
DENSITY = EinetDensity(**FAST)
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def columns(seed=0):
    """Columns of numbers without markers, at several scales."""
    rng = np.random.RandomState(seed)
    return {
        "mass": np.round(rng.normal(4200, 800, N_ROWS) / 25) * 25,
        "length": np.round(rng.normal(44, 5, N_ROWS), 1),
        "age": rng.randint(18, 90, N_ROWS).astype(float),
        "change": rng.normal(0, 40, N_ROWS),
        "income": rng.lognormal(10, 1, N_ROWS),
    }


def warned(X, estimator=DENSITY):
    """The names and the text of the one warning, or nothing."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        clone(estimator).fit(X)
    texts = [str(each.message) for each in caught if "mark missing cells:" in str(each.message)]
    assert len(texts) <= 1
    return re.findall(r"'(\w+)' \(", texts[0]) if texts else [], "".join(texts)


@pytest.mark.parametrize("n_marked", [1, 3, 30, 200])
@pytest.mark.parametrize("structure", ["auto", "chow-liu"])
def test_markers_are_named(n_marked, structure):
    """In columns of any scale, unless another warning is about them already."""
    table = pd.DataFrame(columns())
    for place, name in enumerate(table):
        table.loc[place : place + n_marked - 1, name] = -999.0
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        EinetDensity(structure=structure, **FAST).fit(table)
    texts = [str(each.message) for each in caught if "missing cells" in str(each.message)]
    for name in table:
        assert sum(f"'{name}' (" in text for text in texts) == 1, name
    own = [text for text in texts if "may mark missing cells" in text]
    for text in own:
        assert f"(-999; {100 * n_marked / N_ROWS:.2g}% of its cells)" in text


@pytest.mark.parametrize("seed", range(5))
def test_other_numbers_are_not(seed):
    table = pd.DataFrame(columns(seed))
    rng = np.random.RandomState(seed)
    table["degrees"] = rng.randint(-9, 20, N_ROWS)  # -9 is one of many
    table["loss"] = -rng.gamma(2, 300, N_ROWS).round()
    table.loc[0, "loss"] = -9.0
    table["sign"] = rng.choice([-1, 0, 1], N_ROWS)
    table["top"] = rng.lognormal(7, 1, N_ROWS)
    table.loc[:20, "top"] = 99999.0
    table["always"] = -999.0
    table["code"] = pd.Categorical(rng.choice([-99, 1, 2], N_ROWS))
    assert warned(table) == ([], "")


def test_few_values():
    """In columns whose values are all states, too."""
    rng = np.random.RandomState(0)
    table = pd.DataFrame({"rooms": rng.randint(1, 6, N_ROWS), "x": rng.randn(N_ROWS)})
    table.loc[:11, "rooms"] = -9
    assert warned(table) == (
        ["rooms"],
        "Columns have a number that may mark missing cells: 'rooms' (-9; 4% of its cells). If so, "
        "replace it by NaN (in EinetImputer, set missing_values): else means and filled cells mix "
        "it with the other numbers.",
    )


def test_arrays_and_blocks():
    X = np.column_stack(list(columns().values()))
    X[:40, 1] = -99
    X[5:9, 0] = np.nan
    for rows in (X, da.from_array(X, chunks=(70, 5))):
        with pytest.warns(UserWarning, match=re.escape("missing cells: 1 (-99; 13% of its cells)")):
            clone(DENSITY).fit(rows)


def test_the_imputer_has_a_parameter_for_it():
    table = pd.DataFrame(columns())
    table.loc[:40, "age"] = -999.0
    imputer = EinetImputer(DENSITY)
    assert warned(table, imputer)[0] == ["age"]
    assert warned(table, imputer.set_params(missing_values=-999)) == ([], "")

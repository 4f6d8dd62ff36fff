"""Checks of what a query is given say what scikit-learn's do."""

import warnings

import numpy as np
import pandas as pd
import polars as pl
import pytest
from sklearn import config_context
from sklearn.base import BaseEstimator
from sklearn.utils.validation import validate_data

from sklearn_einet.tables.validation import NUMBERS, checked_query

ROWS = np.arange(12.0).reshape(4, 3)
NAMES = ["a", "b", "c"]
GAPS = np.where(ROWS == 5, np.nan, ROWS)
INFINITE = np.where(ROWS == 5, np.inf, ROWS)
TABLES = {
    "numbers": ROWS,
    "gaps": GAPS,
    "single precision": GAPS.astype(np.float32),
    "other byte order": GAPS.astype(">f8"),
    "whole numbers": ROWS.astype(int),
    "infinities": INFINITE,
    "columns one after the other": np.asfortranarray(GAPS),
    "more columns": np.ones((4, 4)),
    "no rows": ROWS[:0],
    "one dimension": ROWS[0],
    "a matrix": np.asmatrix(ROWS),
    "a list": ROWS.tolist(),
    "texts": np.array([["x"] * 3]),
    "frame": pd.DataFrame(GAPS, columns=NAMES),
    "DataFrame of polars": pl.DataFrame(dict(zip(NAMES, ROWS.T, strict=True))),
    "columns in another order": pd.DataFrame(ROWS, columns=["b", "a", "c"]),
    "other names": pd.DataFrame(ROWS, columns=["a", "b", "d"]),
    "no names": pd.DataFrame(ROWS),
    "fewer columns": pd.DataFrame(ROWS[:, :2], columns=NAMES[:2]),
}


def outcome(check, X, **options):
    """What a check returns, or raises, and what it warns of."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            found = check(X, **options)
        except (TypeError, ValueError) as error:
            found = (type(error), str(error))
    return found, [str(each.message) for each in caught]


@pytest.mark.parametrize("name", TABLES)
@pytest.mark.parametrize("has_names", [False, True])
@pytest.mark.parametrize("options", [NUMBERS, {"skip_check_array": True}], ids=["cells", "names"])
@pytest.mark.parametrize("assume_finite", [False, True])
def test_the_result_is_that_of_scikit_learn(name, has_names, options, assume_finite):
    X, estimator = TABLES[name], BaseEstimator()
    fitted_to = pd.DataFrame(ROWS, columns=NAMES) if has_names else ROWS
    validate_data(estimator, fitted_to, reset=True)

    def expected(X, **options):
        return validate_data(estimator, X, reset=False, **options)

    with config_context(assume_finite=assume_finite):
        found, warned = outcome(lambda *a, **o: checked_query(estimator, *a, **o), X, **options)
        wanted, wanted_warnings = outcome(expected, X, **options)
    assert warned == wanted_warnings
    if isinstance(wanted, tuple) or found is X:
        assert found is wanted or found == wanted
    else:
        assert type(found) is type(wanted)
        assert found.dtype == wanted.dtype
        np.testing.assert_array_equal(found, wanted)

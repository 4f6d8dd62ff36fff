"""Columns in single and half precision: decimals are the numbers that they were rounded from."""

import itertools

import narwhals.stable.v2 as nw
import numpy as np
import pandas as pd
import polars as pl
import pytest

from tests.helpers.atoms import new

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

RNG = np.random.RandomState
# In single precision, the first two are above the decimals, the others below.
ATOMS = [0.1, 100.6, 0.7, 100.1]
SIZE = RNG(1).standard_normal(600)


def decimals(offset=0.0, n=600, seed=0):
    """Tenths, some of them one that repeats."""
    rng = RNG(seed)
    x = (offset + rng.standard_normal(n)).round(1)
    return np.where(rng.rand(n) < 0.3, np.round(offset, 1), x)


def fitted(x, kind):
    """A model of decimals in single precision, as a column of a table of some kind."""
    X = np.column_stack([x, SIZE]).astype(np.float32)
    if kind == "array":
        return new("binary-trees").fit(X)
    columns = {"x": X[:, 0], "size": SIZE, "kind": np.where(SIZE > 0, "a", "b")}
    return new("binary-trees").fit({"pandas": pd, "polars": pl}[kind].DataFrame(columns))


KINDS = pytest.mark.parametrize("kind", ["array", "pandas", "polars"])


@KINDS
@pytest.mark.parametrize("offset", ATOMS)
def test_draws_are_decimals_in_the_type_of_the_column(kind, offset):
    x = decimals(offset)
    model = fitted(x, kind)
    report = model.leaf_report_
    assert (report["n_atoms"][0], report["step"][0]) == (1, 0.1)
    drawn = model.sample(2000, random_state=0)
    drawn = drawn[:, 0] if kind == "array" else drawn["x"].to_numpy()
    assert drawn.dtype == (np.float64 if kind == "array" else np.float32)
    nearest = drawn.astype(np.float64).round(1).astype(np.float32)
    np.testing.assert_array_equal(drawn, nearest)
    assert (drawn == np.float32(offset)).mean() == pytest.approx(0.3, abs=0.1)


@KINDS
@pytest.mark.parametrize("value", ATOMS)
def test_queries_in_double_precision_have_the_same_atoms(kind, value):
    model = fitted(decimals(value), kind)
    name = 0 if kind == "array" else "x"
    single = float(np.float32(value))
    assert single != value
    rows = [[value], [single]]
    one = model.marginal([name])
    scores = one.score_samples(rows if kind == "array" else pd.DataFrame(rows, columns=["x"]))
    assert scores[0] == scores[1]
    probability = one.table_density_.schema.states.forms[0].unit * np.exp(scores[0])
    assert 0.25 < probability < 0.45
    for asked in (value, single):
        found = model.event_log_proba({name: asked}), model.event_log_proba({name: [asked]})
        np.testing.assert_allclose(np.exp(found), probability)
        bounds = {name: asked}, {name: asked}
        assert np.exp(model.interval_log_proba(*bounds))[0] == pytest.approx(probability)
        assert model.interval_log_proba(*bounds, "left")[0] == -np.inf
        parts = [
            model.interval_log_proba(None, bounds[1], "left"),
            model.interval_log_proba(*bounds),
            model.interval_log_proba(bounds[0], None, "right"),
        ]
        assert np.exp(parts).sum() == pytest.approx(1)


def test_arrays_of_bounds_and_rows_given_conditions():
    model = fitted(decimals(100.1), "array")
    box = np.array([[100.1, -np.inf]]), np.array([[100.1, np.inf]])
    before = [each.copy() for each in box]
    by_name = model.interval_log_proba({0: 100.1}, {0: 100.1})
    np.testing.assert_array_equal(model.interval_log_proba(*box), by_name)
    np.testing.assert_array_equal(box, before)
    for given in ({0: 100.1}, {0: [100.1, 100.2]}, {0: (100.1, 100.2)}):
        double = model.conditional_score_samples([[100.1, 0.5], [100.2, 0.5]], given=given)
        single = np.array([[100.1, 0.5], [100.2, 0.5]], dtype=np.float32)
        assert np.isfinite(double).tolist() == [True, given != {0: 100.1}]
        np.testing.assert_allclose(
            model.conditional_score_samples(single, given=given), double, rtol=1e-4
        )


@pytest.mark.parametrize("value", ATOMS)
def test_strict_bounds_on_grids_without_atoms(value):
    """Every number of the grid belongs to one of two boxes that share an end."""
    x = (value + RNG(0).standard_normal((500, 1))).round(1)
    model = new("binary-trees").fit(x.astype(np.float32))
    assert model.leaf_report_[["n_atoms", "step"]].iloc[0].tolist() == [0, 0.1]
    cells = np.exp([model.event_log_proba({0: round(value + i / 10, 1)}) for i in range(-3, 4)])
    assert (cells > 0.01).all()
    for closed, (first, last) in zip(
        ("both", "left", "right", "neither"), itertools.product((0, 1), (7, 6)), strict=True
    ):
        low, high = round(value - 0.3, 1), round(value + 0.3, 1)
        found = np.exp(model.interval_log_proba({0: low}, {0: high}, closed))[0]
        assert found == pytest.approx(cells[first:last].sum())


def test_strict_bounds_of_other_numbers():
    x = RNG(0).standard_normal((500, 1)).astype(np.float32)
    model = new("binary-trees", atoms={0: []}).fit(np.abs(x))
    assert model.leaf_report_["step"].tolist() == [0]
    for closed in ("both", "left", "right", "neither"):
        assert np.exp(model.interval_log_proba({0: -1}, None, closed))[0] == pytest.approx(1)
        parts = [({0: 0}, {0: 0.5}), ({0: 0.5}, None)]
        found = [model.interval_log_proba(*each, closed) for each in parts]
        assert np.exp(found).sum() == pytest.approx(1, abs=1e-4)


@pytest.mark.skipif(not hasattr(nw, "Float16"), reason="narwhals knows no half precision")
def test_half_precision():
    x = (2 * RNG(0).standard_normal(500)).round(1).clip(-7, 7)
    X = pd.DataFrame({"x": x.astype(np.float16), "size": SIZE[:500]})
    model = new("binary-trees").fit(X)
    assert model.leaf_report_["step"].iloc[0] == 0.1
    drawn = model.sample(1000, random_state=0)["x"]
    assert drawn.dtype == np.float16
    np.testing.assert_array_equal(drawn, drawn.astype(float).round(1).astype(np.float16))


def test_completed_cells_are_as_those_seen():
    x = decimals(0.7)[:, None].astype(np.float32)
    X = np.hstack([x, x])
    X[::3, 0] = np.nan
    model = new("binary-trees").fit(X)
    filled = model.impute(X, "sample", random_state=0)
    seen = np.unique(X[~np.isnan(X)])
    assert np.isin(filled[:, 0], seen).mean() > 0.9


@pytest.mark.parametrize("leaf", ["auto", {"normal": [0]}])
@pytest.mark.parametrize("atoms", ["auto", {0: [0.7]}])
def test_atoms_that_are_given_and_beside_families(leaf, atoms):
    x = decimals(0.7)[:, None] + np.array([[0.0, 1.0]])
    X = np.where(x == x[0], x, x + RNG(0).standard_normal(x.shape)).astype(np.float32)
    X[:200, 0] = 0.7
    model = new("binary-trees", leaf=leaf, atoms=atoms).fit(X)
    assert model.leaf_report_["n_atoms"][0] == 1
    scores = model.marginal([0]).score_samples([[0.7], [np.float32(0.7)]])
    assert scores[0] == scores[1]
    drawn = model.sample(1000, random_state=0)[:, 0]
    assert (drawn == np.float32(0.7)).mean() > 0.25
    assert np.exp(model.event_log_proba({0: 0.7})) > 0.25

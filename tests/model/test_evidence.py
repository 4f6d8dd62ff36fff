"""Warnings about cells that are conditioned on."""

import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_iris

from sklearn_einet import EinetImputer, EinetMixture
from sklearn_einet.families import Normal
from sklearn_einet.inspection import ConditionalDensityDisplay
from sklearn_einet.model import components
from tests.helpers.densities import LEAVES, mixed_frame, small

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

IRIS = load_iris().data
NAMES = ["sepal", "width", "petal", "inc"]
UNITS = np.array([1e-6, 1.0, 1e3, 1e6])


@pytest.fixture(scope="module")
def model():
    """Of columns in very different units."""
    return small(atoms=None).fit(pd.DataFrame(IRIS * UNITS, columns=NAMES))


def far_row(deviations, column="inc", up=True):
    """Two rows with a gap and with a cell so many standard deviations beyond the values in fit."""
    frame = pd.DataFrame(IRIS[[0, 60]] * UNITS, columns=NAMES)
    frame.iloc[:, 1] = np.nan
    j = NAMES.index(column)
    step = deviations * IRIS[:, j].std() * UNITS[j]
    end = IRIS[:, j].max() if up else IRIS[:, j].min()
    frame.loc[1, column] = end * UNITS[j] + (step if up else -step)
    return frame


def warnings_of(call):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        call()
    return [str(each.message) for each in caught]


QUERIES = {
    "mean": lambda model, X: model.mean(X),
    "variance": lambda model, X: model.variance(X),
    "sample_conditional": lambda model, X: model.sample_conditional(X, random_state=0),
    "several draws": lambda model, X: model.sample_conditional(X, n_draws=3, random_state=0),
    "impute by mean": lambda model, X: model.impute(X),
    "impute by mpe": lambda model, X: model.impute(X, strategy="mpe"),
    "impute by draws": lambda model, X: model.impute(X, strategy="sample", random_state=0),
    "conditional_score_samples": lambda model, X: model.conditional_score_samples(X, NAMES),
    "display": lambda model, X: ConditionalDensityDisplay.from_estimator(model, X[1:], "width"),
}


@pytest.mark.parametrize("name", QUERIES)
@pytest.mark.parametrize("column", NAMES[::2] + NAMES[3:])
@pytest.mark.parametrize("up", [True, False])
def test_queries_warn_once_of_what_they_extrapolate(model, name, column, up):
    (message,) = warnings_of(lambda: QUERIES[name](model, far_row(41, column, up)))
    side = "beyond the largest" if up else "below the smallest"
    assert message.startswith(f"Column {column!r} holds ")
    assert f", 41 standard deviations {side} value seen in fit (" in message
    assert message.endswith("): results conditioned on it are extrapolations.")
    assert not warnings_of(lambda: QUERIES[name](model, far_row(9, column, up)))


def test_the_message_has_the_values(model):
    row = far_row(41)
    (message,) = warnings_of(lambda: model.mean(row))
    assert f"holds {row['inc'][1]:g}, 41 standard" in message
    assert f"seen in fit ({IRIS[:, 3].max() * 1e6:g})" in message


def test_cells_beyond_bounds_are_no_evidence():
    bounded = small().fit(pd.DataFrame(IRIS * UNITS, columns=NAMES))
    (message,) = warnings_of(lambda: bounded.mean(far_row(41, "petal", up=False)))
    assert message.startswith("Column 'petal' holds -")
    assert "beyond the bounds of the column: such cells are not conditioned on" in message
    (message,) = warnings_of(lambda: bounded.mean(far_row(41, "petal")))
    assert "beyond the largest value seen in fit" in message


def test_numbers_far_from_all_states():
    rng = np.random.default_rng(0)
    X = np.column_stack([rng.integers(1, 6, 300), rng.normal(size=300)])
    states = small().fit(X)
    row = np.array([[400.0, np.nan]])
    (message,) = warnings_of(lambda: states.mean(row))
    assert "beyond the largest value seen in fit (5)" in message
    assert states.mean(row)[0, 1] == pytest.approx(states.mean([[5.0, np.nan]])[0, 1])


def test_the_farthest_cell_is_named(model):
    rows = far_row(12)
    rows.loc[0, "petal"] = 1e6
    (message,) = warnings_of(lambda: model.mean(rows))
    assert "'petal'" in message


def test_queries_that_condition_on_nothing_do_not_warn(model):
    rows = far_row(41)
    for call in (model.score_samples, model.predict, model.decision_function, model.feature_scores):
        assert not warnings_of(lambda call=call: call(rows))
    complete = rows.fillna(3.0)
    assert not warnings_of(lambda: model.impute(complete))
    # The column is not among the given ones.
    given = ["sepal", "petal"]
    assert not warnings_of(lambda: model.conditional_score_samples(rows, given))


def test_impossible_cells_come_first(model):
    rows = far_row(41)
    rows.loc[0, "petal"] = 1e300
    (message,) = warnings_of(lambda: model.mean(rows))
    assert "is impossible under the fitted model" in message


def test_marginals_and_pickles_remember(model):
    rows = far_row(41)
    part = model.marginal(["inc", "width"])
    for fitted in (part, pickle.loads(pickle.dumps(part)), pickle.loads(pickle.dumps(model))):
        X = rows[list(fitted.feature_names_in_)]
        (message,) = warnings_of(lambda fitted=fitted, X=X: fitted.mean(X))
        assert "Column 'inc'" in message


def test_imputer():
    imputer = EinetImputer(small()).fit(IRIS)
    row = IRIS[:1].copy()
    row[0, [1, 3]] = np.nan, 100.0
    (message,) = warnings_of(lambda: imputer.transform(row))
    assert "Column 3 holds 100" in message
    assert not warnings_of(lambda: imputer.transform(np.where(IRIS > 5, np.nan, IRIS)))


def test_responsibilities_warn_once_whatever_the_blocks(monkeypatch):
    monkeypatch.setattr(components, "ROWS_OF_EVIDENCE", 2)
    mixture = EinetMixture(2, K=2, max_iter=5, random_state=0).fit(IRIS)
    rows = IRIS[:7].copy()
    rows[1:, 2] = 1000
    (message,) = warnings_of(lambda: mixture.responsibilities(rows))
    assert "Column 2 holds 1000" in message
    rows[1:, 2] = 1e300
    (message,) = warnings_of(lambda: mixture.responsibilities(rows))
    assert "impossible" in message


def test_other_families():
    frame = mixed_frame()
    model = small(leaf=LEAVES).fit(frame)

    def messages(**cells):
        row = frame[:1].astype(float).assign(age=np.nan, **cells)
        return warnings_of(lambda: model.mean(row))

    # On the axis of logarithms, of which the standard deviation is about 0.7.
    largest = frame["income"].max()
    assert not messages(income=largest * np.exp(5))
    assert "'income'" in messages(income=largest * np.exp(11))[0]
    assert "'income'" in messages(income=frame["income"].min() * np.exp(-11))[0]
    assert "'visits'" in messages(visits=200)[0]
    assert "'cost'" in messages(cost=1e4)[0]
    assert not messages(visits=0, cost=1.0, share=0.999, city=0.0, passed=8)
    # Categories have no distances, and codes that fit has not seen have a warning of their own.
    (message,) = messages(city=9.0)
    assert "extrapolation" not in message


def test_columns_with_values_that_are_far_out():
    rng = np.random.RandomState(0)
    X = rng.normal(size=(500, 2))
    X[:5, 0] = 1e4
    with pytest.warns(UserWarning, match="so far from all others"):
        model = small().fit(X)
    assert not warnings_of(lambda: model.mean([[12_000.0, np.nan]]))
    (message,) = warnings_of(lambda: model.mean([[1e6, np.nan]]))
    assert "Column 0 holds 1e+06" in message


def test_bounded_variances_leave_the_units_alone():
    X = IRIS * 1e-3
    leaf = {Normal((1e-9, 1.0)): [0, 1, 2, 3]}
    model = small(leaf=leaf).fit(X)
    row = X[:1].copy()
    row[0, 0] = np.nan
    assert not warnings_of(lambda: model.mean(row))
    row[0, 2] += 0.1
    assert "Column 2 holds 0.1014" in warnings_of(lambda: model.mean(row))[0]


def test_constant_and_binary_columns_have_no_distances():
    rng = np.random.RandomState(0)
    X = np.column_stack([np.full(50, 3.0), rng.randint(2, size=50), rng.normal(size=50)])
    model = small(leaf={"bernoulli": [1]}).fit(X)
    assert np.isinf(model.table_density_.schema.seen[:, :2]).all()
    np.testing.assert_array_equal(
        model.table_density_.schema.seen[:, 2], [X[:, 2].min(), X[:, 2].max()]
    )
    assert not warnings_of(lambda: model.mean([[3.0, 1.0, np.nan]]))


def test_fits_that_go_on_have_seen_both_tables():
    more = IRIS.copy()
    more[:50, 3] += 100
    row = np.array([[5.0, 3.0, np.nan, 99.0]])
    model = small().partial_fit(IRIS)
    assert len(warnings_of(lambda: model.mean(row))) == 1
    model.partial_fit(more)
    assert not warnings_of(lambda: model.mean(row))
    model.partial_fit(IRIS)
    assert not warnings_of(lambda: model.mean(row))
    warm = small(warm_start=True).fit(IRIS)
    warm.fit(more)
    assert not warnings_of(lambda: warm.mean(row))

"""Bad input is refused with the name of the column or parameter, or gets a sensible fit."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
from scipy import sparse

from sklearn_einet import EinetDensity

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def model(**parameters):
    return EinetDensity(**({"replicas": 2, "K": 2, "max_iter": 3, "random_state": 0} | parameters))


def table(column=None, values=None):
    frame = pd.DataFrame({"age": [30.0, 40, 50, 60], "income": [1.0, 2, 3, 2], "n": [0, 1, 2, 5]})
    if column is not None:
        frame[column] = values
    return frame


DATA = {
    "infinite cell": (table("income", [1, np.inf, 2, 3]), "Column 'income'.*infinity"),
    "infinite cell, polars": (
        pl.DataFrame({"age": [1.0, 2.0], "income": [1.0, -np.inf]}),
        "Column 'income'.*infinity",
    ),
    "infinite cell, array": (np.array([[1.0, 2.0, np.inf], [3.0, 4.0, 5.0]]), "Column 2.*infinity"),
    "column without values": (table("age", [np.nan] * 4), "Column 'age' has no observed value"),
    "strings, array": (np.array([["1", "a"], ["2", "b"]], dtype=object), "Column 1.*'a'"),
    "sparse": (sparse.csr_array(np.eye(4)), "[Ss]parse"),
    "no rows": (np.empty((0, 3)), "0 sample"),
    "no columns": (np.empty((3, 0)), "0 feature"),
    "one dimension": (np.arange(4.0), "Expected 2D array"),
    "a series": (table()["age"], "Expected a 2-dimensional container"),
    "three dimensions": (np.zeros((2, 2, 2)), "dim 3"),
    "complex": (np.ones((3, 2)) * 1j, "[Cc]omplex"),
}


@pytest.mark.parametrize("case", DATA)
@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_data(case, method):
    X, message = DATA[case]
    with pytest.raises((ValueError, TypeError), match=message):
        getattr(model(), method)(X)


@pytest.mark.parametrize(
    ("X", "message"),
    [
        (table("age", ["a", "b", "c", "d"]), "Column 'age'.*'a'.*categorical_features"),
        (pl.DataFrame({"age": [1, 2], "city": ["a", "b"]}), "Column 'city'"),
    ],
    ids=["pandas", "polars"],
)
@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_texts_that_are_no_categories(X, message, method):
    with pytest.raises((ValueError, TypeError), match=message):
        getattr(model(categorical_features=None), method)(X)


LEAVES = {
    "negative count": ({"poisson": ["n"]}, table("n", [0, 1, -2, 3]), "Column 'n' holds -2"),
    "fractional count": ({"poisson": ["n"]}, table("n", [0, 1, 0.5, 3]), "Column 'n' holds 0.5"),
    "share above 1": ({"beta": ["n"]}, table("n", [0.5, 0.1, 1.5, 0.2]), "Column 'n' holds 1.5"),
    "share of exactly 1": ({"beta": ["n"]}, table("n", [0.5, 0.1, 1, 0.2]), "both excluded"),
    "two in a binary column": ({"bernoulli": ["n"]}, table(), "Column 'n' holds 2.*0 to 1"),
    "fractional category": ({"categorical": ["n"]}, table("n", [0, 1, 1.5, 0]), "holds 1.5"),
    "negative category": ({"categorical": ["n"]}, table("n", [0, 1, -1, 0]), "holds -1"),
    "negative amount": ({"exponential": ["n"]}, table("n", [0, 1, -1, 0]), "non-negative"),
    "zero amount": ({"gamma": ["n"]}, table("n", [0, 1, 2, 1]), "positive numbers"),
    "zero amount, log-normal": ({"log-normal": ["n"]}, table(), "Column 'n' holds 0"),
    "unknown leaf": ("student", table(), "leaf='student' is unknown; choose"),
    "unknown leaf in a dict": ({"student": ["n"]}, table(), "leaf='student' is unknown"),
    "unknown column": ({"poisson": ["m"]}, table(), "leaf names the column 'm'"),
    "column out of range": ({"poisson": [7]}, table(), r"leaf names the columns \[7\]"),
    "column twice in one family": ({"poisson": ["n", "n"]}, table(), "Column 'n' appears more"),
    "category code without end": (
        {"categorical": ["n"]},
        table("n", [0, 1, 2, 10**8]),
        r"'n'.*1e.08",
    ),
    "column twice": ({"poisson": ["n"], "normal": [2]}, table(), "Column 'n' appears more"),
    "names without names": ({"poisson": ["n"]}, table().to_numpy(), "leaf names the column"),
    "leaf of a wrong type": ({3: ["n"]}, table(), "leaf must be a name"),
    "all columns": ("poisson", table("age", [30, 40, 50, -1]), "Column 'age' holds -1"),
}


@pytest.mark.parametrize("case", LEAVES)
def test_leaves(case):
    leaf, X, message = LEAVES[case]
    with pytest.raises((ValueError, TypeError), match=message):
        model(leaf=leaf, atoms=None).fit(X)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("depth", -1),
        ("depth", 1.5),
        ("replicas", 0),
        ("K", 0),
        ("K", "many"),
        ("leaf", 3),
        ("solver", "newton"),
        ("step_size", 0),
        ("step_size", -0.1),
        ("batch_size", 0),
        ("max_iter", 0),
        ("tol", -1),
        ("n_iter_no_change", 0),
        ("early_stopping", "always"),
        ("validation_fraction", 1.0),
        ("min_variance", 0),
        ("pseudocount", -1),
        ("contamination", 0.6),
        ("contamination", 0.0),
        ("device", "toaster"),
        ("dtype", "float16"),
        ("random_state", "seed"),
        ("verbose", -1),
    ],
)
def test_parameters(name, value):
    with pytest.raises((ValueError, TypeError), match=name):
        model(**{name: value}).fit(table())


@pytest.mark.parametrize("weight", [[1, 1, 1], [1, -1, 1, 1], [1, np.nan, 1, 1], [0, 0, 0, 0]])
def test_sample_weight(weight):
    with pytest.raises(ValueError, match=r"(?i)weight"):
        model().fit(table(), sample_weight=weight)


def test_step_size_above_one_is_refused_by_stochastic_em():
    with pytest.raises(ValueError, match="step_size"):
        model(step_size=1.5).fit(table())


def test_queries_check_their_rows():
    fitted = model().fit(table())
    with pytest.raises(ValueError, match="2 features"):
        fitted.score_samples(table().to_numpy()[:, :2])
    with pytest.raises(ValueError, match=r"Column .age..*infinity"):
        fitted.score_samples(table("age", [1, np.inf, 2, 3]))
    with pytest.raises(ValueError, match="0 sample"):
        fitted.score_samples(table()[:0])
    for n_samples in (0, -1):
        with pytest.raises(ValueError, match="n_samples"):
            fitted.sample(n_samples)
    with pytest.raises(TypeError, match="n_samples"):
        fitted.sample(1.5)


def test_nothing_held_back_for_training():
    with pytest.raises(ValueError, match="validation_fraction"):
        model(early_stopping=True).fit(table()[:1])


SENSIBLE = {
    "one row": table()[:1],
    "one column": table()[["age"]],
    "one cell": table()[["age"]][:1],
    "constant column": table("age", [7.0] * 4),
    "constant table": np.ones((5, 3)),
    "zeros": np.zeros((5, 3)),
    "duplicate rows": np.repeat(table().to_numpy(), 10, axis=0),
    "a column with one value": table("age", [np.nan, np.nan, 3.0, np.nan]),
    "a row without values": table().astype(float).drop(1).reindex(range(4)),
    "huge and tiny numbers": np.array([[1e300, 1e-300], [2e300, 3e-300], [1.5e300, 2e-300]]),
    "strings that are numbers": np.array([["1", "2"], ["3", "4"]], dtype=object),
}


@pytest.mark.parametrize("solver", ["sem", "em", "adam"])
@pytest.mark.parametrize("case", SENSIBLE)
def test_unusual_but_sensible(case, solver):
    X = SENSIBLE[case]
    fitted = model(solver=solver).fit(X)
    assert np.isfinite(fitted.score_samples(X)).all()
    assert np.isfinite(np.asarray(fitted.sample(5))).all()
    assert set(fitted.predict(X)) <= {-1, 1}


@pytest.mark.parametrize("leaf", ["poisson", "bernoulli", "binomial", "categorical", "exponential"])
def test_columns_of_zeros(leaf):
    fitted = model(leaf=leaf).fit(np.zeros((6, 2)))
    assert np.isfinite(fitted.score_samples(np.zeros((1, 2)))).all()
    assert (fitted.score_samples(np.ones((1, 2))) < fitted.score_samples(np.zeros((1, 2)))).all()


# --- a failed fit changes nothing


class Interrupt(KeyboardInterrupt):
    pass


class InterruptInEpoch:
    """A callback that interrupts the second epoch."""

    def setup(self, estimator, context):
        self.n_epochs = 0

    def teardown(self, estimator, context):
        self.torn_down = True

    def on_fit_task_begin(self, estimator, context):
        self.n_epochs += context.parent is not None
        if self.n_epochs == 2:
            raise Interrupt

    def on_fit_task_end(self, estimator, context):
        pass


@pytest.mark.parametrize("warm_start", [False, True])
def test_interrupted_fit_leaves_the_model_unchanged(warm_start):
    X = np.random.RandomState(0).randn(50, 3)
    fitted = model(warm_start=warm_start).fit(X)
    scores, state = fitted.score_samples(X), vars(fitted).copy()
    callback = InterruptInEpoch()
    fitted.set_callbacks(callback)
    with pytest.raises(Interrupt):
        fitted.fit(X[:20] if warm_start else np.vstack([X, X])[:, ::-1] * 7)
    assert callback.torn_down
    fitted.set_callbacks()
    assert vars(fitted) == state
    np.testing.assert_array_equal(fitted.score_samples(X), scores)


def test_failed_fits_leave_the_model_unchanged():
    X = np.abs(np.random.RandomState(0).randn(50, 3))
    fitted = model(leaf="gamma").fit(X)
    scores, state = fitted.score_samples(X), vars(fitted).copy()
    for bad in (np.zeros((9, 5)), pd.DataFrame(-X, columns=list("abc")), np.full((3, 3), np.inf)):
        for method in ("fit", "partial_fit"):
            with pytest.raises(ValueError, match=r"holds|features|infinity|feature names"):
                getattr(fitted, method)(bad)
            assert vars(fitted) == state
    np.testing.assert_array_equal(fitted.score_samples(X), scores)


def test_failed_first_fit_leaves_the_model_unfitted():
    unfitted = model()
    with pytest.raises(ValueError, match="no observed value"):
        unfitted.fit(table("age", [np.nan] * 4))
    assert not hasattr(unfitted, "n_features_in_")
    assert not hasattr(unfitted, "feature_names_in_")

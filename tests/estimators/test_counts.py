"""Columns of counts: the capabilities and limits of Poisson and negative binomial leaves."""

import warnings

import numpy as np
import pandas as pd
import pytest

from sklearn_einet import EinetDensity
from sklearn_einet.families import NegativeBinomial, Poisson
from tests.helpers.densities import small

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

N_ROWS = 2000


def counts(n_failures, mean=10, n_rows=N_ROWS, seed=0):
    rng = np.random.RandomState(seed)
    p = np.divide(n_failures, n_failures + np.array(mean))
    return rng.negative_binomial(n_failures, p, n_rows).astype(float)


def families(model):
    groups = model.circuit_.leaf_groups
    return {int(column): group.family for group in groups for column in group.columns}


def test_numbers_of_failures_are_read_off_each_column():
    X = np.column_stack([counts(1.5), counts(8, seed=1), counts(3, seed=2)])
    X[::3, 1] = np.nan
    X[0, 0] = 1e9  # far out, and no count
    model = small(leaf={"negative-binomial": [0, 1], NegativeBinomial(3): [2]}).fit(X)
    found = families(model)
    assert found[0].n_failures == pytest.approx(1.5, rel=0.15)
    assert found[1].n_failures == pytest.approx(8, rel=0.2)
    assert found[2] == NegativeBinomial(3)


def test_weights_count_for_the_number_of_failures():
    x = np.concatenate([counts(1), counts(20)])
    weight = np.repeat([0.0, 2.0], N_ROWS)
    model = small(leaf="negative-binomial").fit(x[:, None], sample_weight=weight)
    assert families(model)[0].n_failures == pytest.approx(20, rel=0.3)


def test_wide_counts_are_more_likely_than_under_poisson_leaves():
    X, new = (counts(0.8, mean=40, n_rows=(800, 1), seed=seed) for seed in (0, 1))
    wide, poisson = (
        EinetDensity(leaf=leaf, K=4, replicas=1, random_state=0).fit(X).score(new)
        for leaf in ("negative-binomial", "poisson")
    )
    assert wide > poisson + 0.1


def test_all_probabilities_add_up_to_one():
    X = np.column_stack([counts(2, mean=4), counts(5, mean=3, seed=1)])
    model = small(leaf="negative-binomial").fit(X)
    states = np.stack(np.meshgrid(*[np.arange(150.0)] * 2), axis=-1).reshape(-1, 2)
    p = np.exp(model.score_samples(states))
    assert p.sum() == pytest.approx(1, abs=1e-5)
    np.testing.assert_allclose(model.mean(), p @ states, rtol=1e-4)
    np.testing.assert_allclose(model.variance(), p @ states**2 - (p @ states) ** 2, rtol=1e-3)
    box = np.exp(model.interval_log_proba({0: 2}, {0: 6, 1: 3}))[0]
    inside = (states[:, 0] >= 2) & (states[:, 0] <= 6) & (states[:, 1] <= 3)
    assert box == pytest.approx(p[inside].sum(), rel=1e-5)
    draws = model.sample(500, random_state=0)
    assert np.isfinite(model.score_samples(draws)).all()
    assert np.isneginf(model.score_samples([[-1, 0], [0.5, 0]])).all()


def test_gradients_learn_negative_binomial_leaves():
    X = counts(2, n_rows=(300, 2))
    scores = [
        small(leaf="negative-binomial", solver="adam", max_iter=n).fit(X).score(X) for n in (1, 30)
    ]
    assert scores[0] < scores[1]


# --- counts that are too narrow


def narrow_frame(n_rows=N_ROWS):
    rng = np.random.RandomState(0)
    return pd.DataFrame(
        {
            "visits": rng.poisson(5, n_rows),
            "school": rng.binomial(12, 0.9, n_rows),
            "rooms": 3 + rng.randint(3, size=n_rows),
            "claims": counts(1, mean=2, n_rows=n_rows),
        }
    )


@pytest.mark.parametrize("leaf", ["poisson", "negative-binomial"])
def test_a_warning_names_counts_that_vary_too_little(leaf):
    X = narrow_frame()
    with pytest.warns(UserWarning, match="vary less than the requested leaf family") as caught:
        model = small(leaf=leaf, max_iter=1).fit(X)
    (message,) = [str(w.message) for w in caught if "vary less" in str(w.message)]
    assert "'school' (mean 10.8, variance 0.998)" in message
    assert "'rooms'" in message
    assert "leaf='auto'" in message
    assert "'visits'" not in message
    assert "'claims'" not in message
    assert caught[0].filename == __file__
    # The warning is right.
    assert (model.variance()[1:3] > X.var().to_numpy()[1:3] * 2).all()


@pytest.mark.parametrize("seed", range(20))
def test_no_warning_of_counts_as_wide_as_they_are_expected_to_be(seed):
    rng = np.random.RandomState(seed)
    X = np.column_stack([rng.poisson(mean, 100) for mean in (0.05, 1, 30)])
    X = X[:, X.max(axis=0) > 0]
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "Columns vary less")
        small(leaf="poisson", max_iter=1, replicas=1, K=2).fit(X)


def test_no_warning_of_columns_that_are_left_to_auto():
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "Columns vary less")
        model = small(leaf={"poisson": ["visits"]}, max_iter=1).fit(narrow_frame())
    assert sum(family == Poisson() for family in families(model).values()) == 1

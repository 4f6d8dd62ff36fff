"""Scores of columns on a grid: probabilities of its cells, as boxes and draws have them."""

import numpy as np
import pandas as pd
import pytest

from sklearn_einet import EinetDensity, EinetOutlierDetector

COLUMNS = ["rings", "share", "gain", "other"]
STRUCTURES = ["chow-liu", "binary-trees"]


def table(n=1500, seed=0):
    """Counts in narrow clusters, rounded shares up to 1, whole numbers with a cap, and numbers."""
    rng = np.random.RandomState(seed)
    cluster = rng.randint(3, size=n)
    gain = rng.normal(20, 6, n).round()
    frame = pd.DataFrame(
        {
            "rings": (1 + 9 * cluster + rng.normal(0, 3, n)).round().clip(1),
            "share": rng.beta(1 + cluster, 2, n).round(2),
            "gain": np.where(rng.rand(n) < 0.4, 25.0, np.abs(gain)),
            "other": cluster + rng.randn(n),
        }
    )
    return frame.mask(rng.rand(n, 4) < 0.05)


def fitted(**parameters):
    setting = {"structure": "chow-liu", "K": 6, "random_state": 0, "max_iter": 15, "tol": 1}
    return EinetDensity(**(setting | parameters)).fit(table())


@pytest.fixture(scope="module", params=STRUCTURES)
def model(request):
    return fitted(structure=request.param, min_variance=1e-4)


def grid(model, column):
    """All values of a column that the model can have, and more."""
    form = model.table_density_.schema.states.forms[COLUMNS.index(column)]
    steps = np.arange(-400, 500)
    values = (form.origin / form.step + steps) * form.step
    return values[(values > form.low - 1e-9) & (values < form.high + 1e-9)].round(6), form


def masses(model, column, values, form):
    """Probabilities of values by their scores."""
    return (
        np.exp(model.marginal([column]).score_samples(pd.DataFrame({column: values}))) * form.step
    )


@pytest.mark.parametrize("column", COLUMNS[:3])
def test_scores_are_probabilities_of_cells(model, column):
    values, form = grid(model, column)
    p = masses(model, column, values, form)
    assert p.sum() == pytest.approx(1, abs=2e-6)
    here = p > 1e-9
    ends = pd.DataFrame({column: values[here]})
    boxes = np.exp(model.interval_log_proba(ends, ends))
    np.testing.assert_allclose(p[here], boxes, atol=1e-6)
    # Where rows have been, and around.
    seen = table()[column]
    here = (values >= seen.min() - 5 * form.step) & (values <= seen.max() + 5 * form.step)
    ends = pd.DataFrame({column: values[here]})
    np.testing.assert_allclose(
        np.log(p[here]), model.interval_log_proba(ends, ends), atol=5e-6, rtol=1e-6
    )


def test_forms_of_the_columns(model):
    schema = model.table_density_.schema
    forms = [schema.states.forms[i] for i in range(3)]
    assert [form.step for form in forms] == [1.0, 0.01, 1.0]
    assert not any(form.is_complete for form in forms)
    assert list(forms[2].atoms) == [25.0]
    assert forms[1].near_high
    assert forms[0].near_low
    grids = [group for group in schema.leaf_columns if group.grid is not None]
    assert [group.columns.tolist() for group in grids] == [[0, 1, 2]]


@pytest.mark.parametrize("kind", ["yeo-johnson", "quantile-spline"])
def test_numeric_maps(kind):
    model = fitted(numeric_transform=kind)
    for column in COLUMNS[:3]:
        values, form = grid(model, column)
        p = masses(model, column, values, form)
        assert p.sum() == pytest.approx(1, abs=2e-6)
        value = values[p.argmax()]
        box = model.interval_log_proba({column: value}, {column: value})[0]
        assert np.log(p.max()) == pytest.approx(box, abs=3e-6)


def test_draws_have_these_probabilities(model):
    drawn = model.sample(40000, random_state=0)["rings"]
    values, form = grid(model, "rings")
    p = masses(model, "rings", values, form)
    for place in np.argsort(p)[-5:]:
        error = 4.5 * np.sqrt(p[place] / len(drawn))
        assert (drawn == values[place]).mean() == pytest.approx(p[place], abs=error)


def test_conditionals_and_explanations(model):
    X = table(30, seed=1)
    rest = X.copy()
    rest["rings"] = np.nan
    expected = model.score_samples(X) - model.score_samples(rest)
    scores = model.feature_scores(X)["rings"]
    seen = X["rings"].notna()
    np.testing.assert_allclose(scores[seen], -expected[seen], atol=2e-4)
    given = ["rings", "gain"]
    parts = model.score_samples(X) - model.marginal(given).score_samples(X[given])
    found = model.conditional_score_samples(X, given)
    np.testing.assert_allclose(found, parts, atol=2e-4)


def test_most_probable_values_have_the_most_probable_cells():
    x = np.random.RandomState(0).normal(60, [[2], [5]], (2, 300)).round().ravel()
    X = pd.DataFrame({"x": x, "y": -x})
    model = EinetDensity(structure="chow-liu", K=1, max_iter=3, tol=1, random_state=0).fit(X)
    for name in X:
        values = np.sign(X[name][0]) * np.arange(30.0, 90)
        scores = model.marginal([name]).score_samples(pd.DataFrame({name: values}))
        filled = model.impute(pd.DataFrame({"x": [np.nan], "y": [np.nan]}), "mpe")
        assert filled[name][0] == values[scores.argmax()]


@pytest.mark.parametrize("solver", ["em", "adam"])
def test_other_solvers(solver):
    model = fitted(solver=solver, max_iter=30, min_variance=1e-4)
    score = model.score(table(seed=1))
    assert score == pytest.approx(
        fitted(max_iter=30, min_variance=1e-4).score(table(seed=1)), abs=0.6
    )
    values, form = grid(model, "rings")
    assert masses(model, "rings", values, form).sum() == pytest.approx(1, abs=2e-6)


def test_rows_beyond_what_fit_has_seen():
    model = fitted()
    more = table(200, seed=2).assign(rings=lambda X: X["rings"] + 60)
    model.partial_fit(more)
    values, form = grid(model, "rings")
    assert masses(model, "rings", values, form).sum() == pytest.approx(1, abs=1e-3)
    assert np.isfinite(model.score_samples(more)).all()


def test_many_cells_have_densities():
    rng = np.random.RandomState(0)
    X = pd.DataFrame(
        {"many": rng.normal(0, 400, 800).round(), "few": rng.normal(0, 20, 800).round()}
    )
    model = EinetDensity(structure="chow-liu", max_iter=3, tol=1, random_state=0).fit(X)
    grids = [
        g.columns.tolist() for g in model.table_density_.circuit.leaf_columns if g.grid is not None
    ]
    assert grids == [[1]]


def test_no_grid_without_atoms():
    density = fitted(atoms=None).table_density_
    assert all(group.grid is None for group in density.circuit.leaf_columns)
    assert all(g.grid is None for g in fitted(leaf="normal").table_density_.circuit.leaf_columns)


def test_detectors_and_single_rows():
    X = table(400)
    detector = EinetOutlierDetector(random_state=0).fit(X)
    scores = detector.score_samples(X)
    one_by_one = [detector.score_samples(X.iloc[[i]])[0] for i in range(5)]
    np.testing.assert_allclose(scores[:5], one_by_one, rtol=1e-5)

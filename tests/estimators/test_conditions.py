"""Draws, densities and probabilities given values, ranges and sets."""

import warnings
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats
from sklearn.exceptions import NotFittedError

from sklearn_einet import EinetDensity, EinetMixture
from tests.helpers.chi_square import chi_square_p
from tests.helpers.people import FRAME, LEAF, NAMES, SMALL


@pytest.fixture(scope="module", params=["default", "tree", "mixture"])
def model(request):
    if request.param == "mixture":
        return EinetMixture(2, leaf=LEAF, **SMALL).fit(FRAME)
    structure = "auto" if request.param == "default" else "chow-liu"
    transform = {"quantile-spline": ["age"]} if request.param == "default" else None
    settings = {**SMALL, "structure": structure, "numeric_transform": transform}
    return EinetDensity(leaf=LEAF, **settings).fit(FRAME)


@pytest.fixture(scope="module")
def rows(model):
    return model.sample(60_000, random_state=1)


def meets(rows, given):
    result = np.ones(len(rows), dtype=bool)
    for name, asked in given.items():
        column = rows[name]
        if isinstance(asked, tuple):
            if isinstance(column.dtype, pd.CategoricalDtype):
                codes = dict(zip(column.cat.categories, range(9), strict=False))
                column, asked = column.cat.codes, [codes.get(end) for end in asked]
            low, high = asked
            result &= True if low is None else column >= low
            result &= True if high is None else column <= high
        else:
            listed = list(asked) if isinstance(asked, list | set | range) else [asked]
            result &= column.isin(listed)
    return result.to_numpy()


EVENTS = {
    "range": {"age": (40, None)},
    "range and set": {"age": (30, 50), "sex": ["female", "other"]},
    "all kinds": {"income": (None, 20_000), "sex": {"male", "other"}, "member": True},
    "counts": {"visits": range(2, 5), "wins": (2, 3)},
    "amounts": {"wait": (0.5, 4), "share": (0.3, None)},
    "order": {"grade": ("mid", None), "city": "Rome"},
    "three numbers": {"age": (None, 45), "income": (8_000, None), "wait": (1, None)},
    "one value": {"same": 5, "city": ["Oslo", "Rome"]},
}


@pytest.mark.parametrize("name", EVENTS)
def test_draws_given_an_event_by_rejection(model, rows, name):
    given = EVENTS[name]
    kept = rows[meets(rows, given)]
    share = np.exp(model.event_log_proba(given))
    assert len(kept) / len(rows) == pytest.approx(share, abs=4 * np.sqrt(share / len(rows)))
    drawn = model.sample(3000, random_state=0, given=given)
    assert meets(drawn, given).all()
    assert drawn.dtypes.equals(model.sample(3000, random_state=0).dtypes)
    for column in NAMES:
        a, b = drawn[column], kept[column]
        if a.nunique() > 50:
            assert stats.ks_2samp(a, b).pvalue > 1e-4, column
        else:
            expected = b.value_counts(normalize=True) * len(a)
            expected = expected[expected > 5]
            observed = a.value_counts().reindex(expected.index).fillna(0)
            if len(expected) > 1:
                expected = expected / expected.sum() * observed.sum()
                # The expected counts have an error of their own.
                error = 1 + len(a) / len(b)
                statistic = ((observed - expected) ** 2 / expected).sum() / error
                assert stats.chi2.sf(statistic, len(expected) - 1) > 1e-4, column


def test_draws_of_discrete_tables_by_enumeration():
    rng = np.random.RandomState(0)
    X = rng.randint(3, size=(200, 3))
    X[:, 2] = (X[:, 0] + X[:, 1] + (rng.rand(200) < 0.2)) % 3
    model = EinetDensity(leaf="categorical", **SMALL).fit(X)
    states = np.array(np.meshgrid(*[np.arange(3.0)] * 3, indexing="ij")).reshape(3, -1).T
    p = np.exp(model.score_samples(states))
    for given in ({0: [0, 2]}, {0: (1, None), 2: [0, 1]}, {1: 2, 2: (0, 1)}, {}):
        inside = np.ones(27, dtype=bool)
        for column, asked in given.items():
            x = states[:, column]
            if isinstance(asked, tuple):
                inside &= (x >= asked[0]) & (x <= (asked[1] or np.inf))
            else:
                inside &= np.isin(x, asked)
        assert np.exp(model.event_log_proba(given)) == pytest.approx(p[inside].sum())
        drawn = model.sample(20_000, random_state=0, given=given) @ [9, 3, 1]
        observed = np.bincount(drawn.astype(int), minlength=27)
        assert observed[~inside].sum() == 0
        expected = 20_000 * p[inside] / p[inside].sum()
        assert chi_square_p(observed[inside], expected) > 1e-3
        found = model.conditional_score_samples(states, given=given)
        expected = np.where(inside, np.log(p / p[inside].sum()), -np.inf)
        np.testing.assert_allclose(found, expected, rtol=1e-9)


@pytest.mark.parametrize("structure", ["joint-normal", "chow-liu"])
def test_densities_given_ranges_by_integration(structure):
    rng = np.random.RandomState(0)
    X = rng.standard_normal((300, 2)) @ [[1.0, 0.8], [0, 0.6]] * [3, 0.5] + [10, -2]
    model = EinetDensity(structure=structure, **SMALL).fit(X)
    given = {0: (11, 14), 1: (None, -1.8)}
    nodes = np.linspace(0, 1, 401)[1:] - 0.5 / 400
    a, b = 11 + 3 * nodes, -8 + 6.2 * nodes
    grid = np.stack(np.meshgrid(a, b, indexing="ij"), -1).reshape(-1, 2)
    cell = 3 * 6.2 / 400**2
    found = np.exp(model.conditional_score_samples(grid, given=given))
    assert found.sum() * cell == pytest.approx(1, abs=1e-3)
    whole = np.exp(model.score_samples(grid)).sum() * cell
    assert np.exp(model.event_log_proba(given)) == pytest.approx(whole, rel=1e-3)
    # A missing cell is integrated over what the event allows.
    alone = model.conditional_score_samples([[12.0, np.nan]], given=given)[0]
    row = np.abs(grid[:, 0] - 12) <= 0.5 * 3 / 400
    near = found[row].reshape(-1, 400).mean(0).sum() * 6.2 / 400
    assert np.exp(alone) == pytest.approx(near, rel=0.01)
    drawn = model.sample(4000, random_state=0, given=given)
    cdf = found.reshape(400, 400).sum(1).cumsum() * cell
    assert stats.ks_1samp(drawn[:, 0], lambda x: np.interp(x, a + 1.5 / 400, cdf)).pvalue > 1e-3


def test_values_are_evidence(model):
    """A dict of values is what a row of them is."""
    given = {"age": 31.5, "sex": "other", "visits": 4, "member": False}
    row = pd.DataFrame([dict.fromkeys(NAMES) | given]).astype(
        {"income": float, "wait": float, "share": float, "wins": float, "same": float}
    )
    mean = np.asarray(model.mean(row))[0]
    drawn = model.sample(4000, random_state=0, given=given)
    for column in ("income", "wait", "wins"):
        error = np.sqrt(np.asarray(model.variance(row))[0, NAMES.index(column)] / 4000)
        assert drawn[column].mean() == pytest.approx(mean[NAMES.index(column)], abs=5 * error)
    assert (drawn[list(given)] == pd.Series(given)).all(axis=None)
    X = FRAME[:20].assign(**given)
    found = model.conditional_score_samples(X, given=given)
    expected = model.conditional_score_samples(X, given=list(given))
    np.testing.assert_allclose(found, expected, rtol=1e-9)
    assert np.isneginf(model.conditional_score_samples(FRAME[:20], given={"age": 1.25})).all()


def test_several_values_of_a_continuous_column(model):
    given = {"age": [30, 50], "sex": ["male", "other"]}
    drawn = model.sample(4000, random_state=0, given=given)
    assert set(drawn["age"]) == {30, 50}
    sexes = [np.exp(model.event_log_proba({"sex": given["sex"]}, {"age": a})) for a in (30, 50)]
    densities = np.exp(model.score_samples(_ages([30, 50])))
    share = densities * sexes / (densities @ sexes)
    assert (drawn["age"] == 30).mean() == pytest.approx(share[0], abs=0.04)
    # Ages are in tenths of years, so that single ones have probabilities.
    each = [np.exp(model.event_log_proba({**given, "age": age})) for age in (30, 50)]
    assert np.exp(model.event_log_proba(given)) == pytest.approx(sum(each))
    assert model.event_log_proba({"income": [20_000.5, 30_000.5]}) == -np.inf
    assert model.event_log_proba({"age": [30, 40]}, {"age": 30}) == 0
    many = list(range(200))
    with pytest.raises(ValueError, match=r"too many combinations .* 'age', 'income'"):
        model.sample(given={"age": many, "income": many})


def _ages(values):
    rows = FRAME[: len(values)].assign(age=[float(v) for v in values])
    return rows.assign(
        **dict.fromkeys(("income", "visits", "wait", "share", "wins", "same"), np.nan)
    ).assign(**dict.fromkeys(("sex", "city", "grade", "member")))


def test_probabilities_of_events(model):
    event, given = {"age": (40, None), "sex": "male"}, {"grade": ["low", "mid"], "age": (20, 60)}
    both = model.event_log_proba({"grade": ["low", "mid"], "age": (40, 60), "sex": "male"})
    expected = both - model.event_log_proba(given)
    assert model.event_log_proba(event, given=given) == pytest.approx(expected)
    box = model.interval_log_proba({"age": 40, "sex": "male"}, {"sex": "male"})[0]
    assert model.event_log_proba(event) == pytest.approx(box)
    assert model.event_log_proba({}) == pytest.approx(0, abs=1e-9)
    assert model.event_log_proba({"age": (10, 20)}, {"age": (30, 40)}) == -np.inf
    cell = model.interval_log_proba({"age": 40}, {"age": 40})[0]
    assert model.event_log_proba({"age": 40}) == pytest.approx(cell)
    assert model.event_log_proba({"age": (30, 50)}, {"age": 40}) == pytest.approx(0)
    assert model.event_log_proba({"visits": (0.2, 0.8)}) == -np.inf
    parts = [model.event_log_proba({"sex": s}, {"age": 40}) for s in ("male", "female", "other")]
    assert np.exp(parts).sum() == pytest.approx(1)


def test_rows_outside_and_with_gaps(model):
    given = {"age": (40, None), "sex": ["male", "other"]}
    X = FRAME[:50].copy()
    X.loc[:9, "age"] = np.nan
    X.loc[5:14, "sex"] = None
    found = model.conditional_score_samples(X, given=given)
    inside = (X["age"].isna() | (X["age"] >= 40)) & (X["sex"].isna() | (X["sex"] != "female"))
    np.testing.assert_array_equal(np.isfinite(found), inside)
    one_by_one = [model.conditional_score_samples(X[i : i + 1], given=given)[0] for i in range(50)]
    np.testing.assert_allclose(found, one_by_one, rtol=1e-8)
    row = X[inside.to_numpy() & X["age"].isna().to_numpy() & X["sex"].notna().to_numpy()][:1]
    expected = model.score_samples(row) + model.event_log_proba(
        {"age": (40, None)}, {c: row[c].item() for c in NAMES if c != "age"}
    )
    expected -= model.event_log_proba(given)
    np.testing.assert_allclose(model.conditional_score_samples(row, given=given), expected)


def test_seeds_and_peaks(model):
    given = {"age": (60, 70), "visits": {0, 1}}
    first, again, other = (model.sample(20, seed, given=given) for seed in (0, 0, 1))
    assert first.equals(again)
    assert not first.equals(other)
    peaks = model.sample(200, random_state=0, noise=False, given=given)
    assert meets(peaks, given).all()
    assert peaks["wait"].nunique() < 200


IMPOSSIBLE = {
    "sex": "ladies", "age": (3, 2), "city": ("Bern", "Rome"), "income": (1, 2, 3), "size": 1,
    "wait": [], "share": {"a": 1}, "visits": "many", "wins": np.inf, "grade": ["low", None],
    "member": (0.2, 0.8), "same": 6,
}  # fmt: skip
MESSAGES = {
    "sex": "given has the category 'ladies' in column 'sex'",
    "age": r"in column 'age' whose low end exceeds its high end: 3 > 2",
    "city": "column 'city', whose categories have no order: give a list",
    "income": r"tuple of 3 values in column 'income': give a range as a tuple \(low, high\)",
    "size": "given names the column 'size', which X does not have",
    "wait": r"at least one value in column 'wait', .* got \[\]",
    "share": "must have a value, a range .* in column 'share'",
    "visits": "must have a number, or a list of them, in column 'visits'",
    "wins": "infinite value in column 'wins'",
    "grade": "column 'grade', and none of them missing",
    "member": r"{'member': \(0.2, 0.8\)} in given has probability 0",
    "same": "{'same': 6} in given has probability 0",
}


@pytest.mark.parametrize("name", IMPOSSIBLE)
def test_bad_conditions_name_the_column(model, name):
    error = TypeError if name == "share" else ValueError
    given = {"income": (None, 30_000), "visits": [1, 2]} | {name: IMPOSSIBLE[name]}
    with pytest.raises(error, match=MESSAGES[name]):
        model.sample(given=given)
    with pytest.raises(error, match=MESSAGES[name]):
        model.conditional_score_samples(FRAME[:2], given=given)


@pytest.mark.parametrize("nothing", [None, np.nan])
def test_a_condition_needs_a_value(model, nothing):
    for name in ("sex", "age", "grade"):
        message = f"has no value in column '{name}'.*leave the column out, or write \\[None\\]"
        with pytest.raises(ValueError, match=message):
            model.sample(given={"income": (None, 30_000), name: nothing})
        with pytest.raises(ValueError, match=f"event {message}"):
            model.event_log_proba({name: nothing})


def test_other_bad_conditions(model):
    with pytest.raises(TypeError, match="given must be a dict from columns to conditions"):
        model.sample(given=["age"])
    with pytest.raises(TypeError, match="event must be a dict"):
        model.event_log_proba(None)
    with pytest.raises(ValueError, match="given names column 'age' twice"):
        model.sample(given={"age": 3, 0: 3})
    with pytest.raises(ValueError, match="range of two numbers in column 'age'"):
        model.sample(given={"age": ([1, 2], 3)})
    for query in (EinetDensity().sample, EinetDensity().event_log_proba):
        with pytest.raises(NotFittedError):
            query({})


def test_conditions_that_are_impossible_together():
    """Columns that are always equal: half of the rows are 0, half are 1."""
    X = np.array([[0, 0], [1, 1]] * 20)
    model = EinetDensity(
        1, 1, 2, structure="binary-trees", layer="tucker", leaf="categorical", max_iter=10, tol=1e9
    ).fit(X)
    (weights,), (group,) = model.circuit_.weights, model.circuit_.leaf_groups
    weights[:] = 0.5 * torch.eye(2)
    group.phi[:] = torch.eye(2)
    model.table_density_ = replace(model.table_density_)  # it has kept what it was before
    assert np.exp(model.event_log_proba({0: 0}, given={1: [0, 1]})) == pytest.approx(0.5)
    assert model.event_log_proba({0: 0}, given={1: 1}) == -np.inf
    with pytest.raises(ValueError, match="Together, the conditions in given have probability 0"):
        model.sample(given={0: 0, 1: 1})


def test_ranges_beyond_all_of_fit_are_warned_of(model):
    with pytest.warns(UserWarning, match=r"'age' holds 900, .* beyond the largest value"):
        drawn = model.sample(20, random_state=0, given={"age": (900, None)})
    assert (drawn["age"] >= 900).all()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.sample(20, random_state=0, given={"age": (50, None), "income": (None, 9e9)})


def test_single_columns_and_arrays():
    X = np.random.RandomState(0).gamma(2, size=(200, 1))
    model = EinetDensity(leaf="gamma", **SMALL).fit(X)
    drawn = model.sample(2000, random_state=0, given={0: (3, None)})
    assert drawn.shape == (2000, 1)
    assert drawn.min() >= 3
    middle = np.median(drawn)
    share = model.event_log_proba({0: (middle, None)}, given={0: (3, None)})
    assert np.exp(share) == pytest.approx(0.5, abs=0.05)
    assert model.sample_conditional({0: [1.5, 2]}).tolist() == [[1.5], [2.0]]


def test_draws_are_inside_of_ranges_in_the_units_of_the_column():
    """Changes of units round."""
    rng = np.random.RandomState(0)
    X = rng.standard_normal((300, 3)) * [0.1, 1e-7, 1e7] + [0.3, 1, 1e9]
    model = EinetDensity(**SMALL).fit(X)
    low, high = np.quantile(X, [0.5, 0.500001], axis=0)
    drawn = model.sample(2000, random_state=0, given={j: (low[j], high[j]) for j in range(3)})
    assert ((low <= drawn) & (drawn <= high)).all()


@pytest.mark.parametrize("leaf", ["poisson", "binomial", "categorical", "auto", "normal"])
@pytest.mark.parametrize("is_constant", [False, True])
def test_values_of_discrete_columns_and_what_is_beside(leaf, is_constant):
    rng = np.random.RandomState(0)
    X = np.column_stack([rng.binomial(6, 0.4, 300), rng.standard_normal(300)])
    if is_constant:
        X[:, 0] = 3.0
    model = EinetDensity(leaf={leaf: [0]} if leaf != "auto" else leaf, **SMALL).fit(X)
    at, above, below = (
        np.exp(model.interval_log_proba(*bounds))[0]
        for bounds in (({0: 3}, {0: 3}), ({0: 3}, None, "neither"), (None, {0: 3}, "neither"))
    )
    assert at + above + below == pytest.approx(1)
    if is_constant and leaf in ("auto", "normal"):
        assert at == 1

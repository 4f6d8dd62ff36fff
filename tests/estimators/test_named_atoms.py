"""Atoms of columns whose leaf families have names: values that these cannot have, and others."""

import numpy as np
import pandas as pd
import pytest

from sklearn_einet import EinetOutlierDetector
from tests.helpers.atoms import FAST, STRUCTURES, new

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

LEAF = {"beta": ["share"], "gamma": ["amount"], "log-normal": ["wait"]}
NUMBERS = ["share", "amount", "wait"]
N_DRAWS = 20_000


def table(n=1000, seed=0, gaps=0.1):
    """Shares with 0 and 1, amounts with 0, and waits with 0 and a cap."""
    rng = np.random.RandomState(seed)
    cluster = rng.randint(2, size=n)
    share = rng.choice([0.0, 1.0, 0.5], n, p=[0.2, 0.1, 0.7])
    frame = pd.DataFrame(
        {
            "share": np.where(share == 0.5, rng.beta(2 + 3 * cluster, 4, n), share),
            "amount": np.where(rng.rand(n) < 0.5 - 0.3 * cluster, 0, rng.gamma(3 + cluster, 2, n)),
            "wait": np.where(rng.rand(n) < 0.1, 0, rng.lognormal(cluster, 0.6, n).clip(max=5)),
            "kind": np.where(rng.rand(n) < 0.2 + 0.5 * cluster, "a", "b"),
        }
    )
    return frame.mask(rng.rand(n, 4) < gaps)


FRAME = table()

# Where densities are summed: all of (0, 1), and nearly all of the other columns.
GRIDS = {
    "share": np.linspace(0, 1, 4001)[1:-1],
    "amount": np.linspace(0, 120, 12001)[1:],
    "wait": 0.002 * np.sinh(np.linspace(0, 14, 8001))[1:],
}


@pytest.fixture(scope="module", params=[*STRUCTURES[:2], "mixture"])
def model(request):
    return new(request.param, leaf=LEAF).fit(FRAME)


@pytest.fixture(scope="module")
def drawn(model):
    return model.sample(N_DRAWS, random_state=1)


def rows_of(**cells):
    n = max(np.size(each) for each in cells.values())
    frame = pd.DataFrame({name: np.full(n, np.nan) for name in NUMBERS}).assign(kind=None)
    return frame.astype({"kind": object}).assign(**cells)


def density(model, **cells):
    """Densities of numbers times probabilities of atoms."""
    rows, schema = rows_of(**cells), model.table_density_.schema
    result = np.exp(model.score_samples(rows))
    for column, form in schema.states.forms.items():
        result[rows[schema.names[column]].isin(form.atoms)] *= form.unit
    return result


def probability(model, low, high, closed="both"):
    return np.exp(model.interval_log_proba(low, high, closed))[0]


def atoms_of(model, name):
    schema = model.table_density_.schema
    return schema.states.forms[schema.names.index(name)].atoms


def of_numbers(model, name, factor=1.0, **given):
    """The integral of a column's density, times a factor."""
    x = GRIDS[name]
    rows = {key: np.full(len(x), value) for key, value in given.items()}
    return np.trapezoid(factor * density(model, **{name: x}, **rows), x)


def assert_share(found, p, n=N_DRAWS):
    assert found == pytest.approx(p, abs=4.5 * np.sqrt(p * (1 - p) / n) + 1e-9)


# --- what is taken for an atom


def test_what_columns_are_taken_for(model):
    report = model.leaf_report_.set_index("column")
    assert report["leaf"].tolist() == ["beta", "gamma", "log-normal", "categorical"]
    assert report["n_atoms"].tolist() == [2, 1, 2, 0]
    assert report["step"].tolist() == [0, 0, 0, 0]
    assert report["low"].tolist() == [0, 0, 0, -np.inf]
    assert report["high"].tolist() == [1, np.inf, np.inf, np.inf]  # a cap is no end of a family
    assert report.loc["share", "reason"].startswith("2 values beside 'beta', in 29.4%")
    assert atoms_of(model, "wait").tolist() == [0, 5]
    observed = FRAME["amount"].dropna()
    assert report.loc["amount", "share_of_atoms"] == pytest.approx((observed == 0).mean())


@pytest.mark.parametrize("atoms", ["auto", 0.5, {"b": [0.125]}])
def test_values_that_a_family_cannot_have_are_atoms_however_few(atoms):
    rng = np.random.RandomState(0)
    frame = pd.DataFrame({"a": rng.gamma(2, 1, 400), "b": rng.standard_normal(400)})
    frame.loc[7, "a"] = 0
    frame.loc[:39, "b"] = 0.125
    fitted = new("chow-liu", leaf={"gamma": ["a"]}, atoms=atoms).fit(frame)
    assert atoms_of(fitted, "a").tolist() == [0]
    assert np.exp(fitted.interval_log_proba({"a": 0}, {"a": 0}))[0] == pytest.approx(1 / 400, rel=1)
    with pytest.raises(ValueError, match=r"'a' holds 0, .*in the parameter atoms"):
        new("chow-liu", leaf={"gamma": ["a"]}, atoms=None).fit(frame)
    with pytest.raises(ValueError, match=r"'a' holds 0, .*in the parameter atoms"):
        new("chow-liu", leaf={"gamma": ["a"]}, atoms={"a": []}).fit(frame)


@pytest.mark.parametrize("leaf", ["normal", "symlog-normal", "gamma", "exponential"])
def test_values_that_repeat(leaf):
    rng = np.random.RandomState(0)
    x = np.where(rng.rand(600) < 0.2, 40.0, rng.gamma(8, 5, 600).round().clip(1))
    report = new("chow-liu", leaf=leaf).fit(np.column_stack([x, rng.gamma(2, 1, 600)])).leaf_report_
    assert report["n_atoms"].tolist() == [1, 0]
    assert (report[["step"]] == 0).all(axis=None)
    assert (report["low"] == -np.inf).all()
    assert report["leaf"].tolist() == [leaf, leaf]


def test_atoms_that_are_given_have_probabilities_where_no_row_has_them():
    rows = FRAME[["share", "kind"]].assign(share=FRAME["share"].replace(1, 0.5))
    model = new("chow-liu", leaf={"beta": ["share"]}, atoms={"share": [0, 1]}).fit(rows)
    assert atoms_of(model, "share").tolist() == [0, 1]
    assert np.isfinite(model.score_samples(rows.assign(share=1.0))).all()
    assert 0 < probability(model, {"share": 1}, {"share": 1}) < 0.01
    found = new("chow-liu", leaf={"beta": ["share"]}).fit(rows)
    assert np.isneginf(found.score_samples(rows.assign(share=1.0))).all()


@pytest.mark.parametrize(
    ("leaf", "value", "words"),
    [("beta", 1.5, "holds 1.5"), ("beta", -0.5, "holds -0.5"), ("gamma", -2, "holds -2")]
    + [("log-normal", -1, "holds -1"), ("exponential", -1, "holds -1")],
)
def test_impossible_values_are_none(leaf, value, words):
    x = np.random.RandomState(0).uniform(0.1, 0.9, (300, 2))
    x[:90, 0] = 0
    x[50:80, 0] = value
    with pytest.raises(ValueError, match=words):
        new("chow-liu", leaf=leaf).fit(x)
    # Also beside nothing but atoms.
    x[:, 0] = np.where(x[:, 0] == value, value, 0)
    with pytest.raises(ValueError, match=words):
        new("chow-liu", leaf=leaf).fit(x)


@pytest.mark.parametrize("inside", [[], [0.25]])
def test_columns_of_hardly_anything_else_are_states(inside):
    rng = np.random.RandomState(0)
    x = np.column_stack([rng.choice([0, 1, *inside], 300), rng.uniform(0.1, 0.9, 300)])
    model = new("chow-liu", leaf="beta").fit(x)
    assert model.leaf_report_["leaf"].tolist() == ["states", "beta"]
    values = np.array([0, 1, *inside], dtype=float)
    found = [probability(model, {0: value}, {0: value}) for value in values]
    assert sum(found) == pytest.approx(1)
    np.testing.assert_allclose(found, [(x[:, 0] == value).mean() for value in values], atol=0.05)


def test_rare_zeros_of_many_rows_are_found(monkeypatch):
    """Forms are computed from some of very many rows."""
    monkeypatch.setattr("sklearn_einet.tables.columns.CELLS_FOR_UNITS", 1000)
    x = np.random.RandomState(0).gamma(2, 1, (5000, 2))
    x[4321, 0] = 0
    model = new("chow-liu", leaf="gamma").fit(x)
    assert model.leaf_report_["n_atoms"].tolist() == [1, 0]
    assert np.isfinite(model.score_samples(x)).all()


def test_dates_have_no_0():
    days = pd.Timestamp("2024-01-01") + pd.to_timedelta(np.arange(50), unit="D")
    waits = pd.to_timedelta(np.arange(50), unit="h")
    X = pd.DataFrame({"day": days, "wait": waits})
    drawn = new("chow-liu", leaf={"log-normal": ["wait"]}).fit(X).sample(1000, random_state=0)
    zeros = (drawn["wait"] == pd.Timedelta(0)).mean()
    assert 0 < zeros < 0.06
    with pytest.raises(ValueError, match=r"'day' holds 2024-01-01.*correct the value\.$"):
        new("chow-liu", leaf={"log-normal": ["day"]}).fit(X)


def test_outlier_detectors_have_none_if_not_asked():
    frame = FRAME[["share", "amount"]].dropna()
    with pytest.raises(ValueError, match=r"'share' holds [01], "):
        EinetOutlierDetector(**FAST, leaf={"beta": ["share"]}).fit(frame)
    detector = EinetOutlierDetector(**FAST, leaf={"beta": ["share"]}, atoms="auto").fit(frame)
    assert set(detector.predict(frame)) == {-1, 1}


# --- densities


@pytest.mark.parametrize("leaf", ["beta", "gamma", "log-normal", "exponential", "normal"])
def test_one_leaf_is_the_family_beside_its_atoms(leaf):
    """Without pseudo-rows, the density of the numbers is that of a fit to these."""
    rng = np.random.RandomState(0)
    numbers = rng.beta(2, 3, 400)
    x = np.concatenate([np.zeros(150), numbers, np.ones(50)])[:, None]
    exact = {"K": 1, "solver": "em", "pseudocount": 0, "structure": "binary-trees"}
    atoms = {0: [0, 1]}
    model = new(**exact, leaf=leaf, atoms=atoms).fit(x)
    plain = new(**exact, leaf=leaf, atoms=None).fit(numbers[:, None])
    grid = np.linspace(0.01, 0.99, 50)[:, None]
    expected = np.log(400 / 600) + plain.score_samples(grid)
    np.testing.assert_allclose(model.score_samples(grid), expected, rtol=1e-5, atol=1e-5)
    unit = x.std() / 2  # of probabilities as densities
    expected = np.log(np.array([150, 50]) / 600 / unit)
    np.testing.assert_allclose(model.score_samples([[0.0], [1.0]]), expected, rtol=1e-6)
    for low, high in ((0.1, 0.6), (0.0, 0.3), (0.4, 1.0)):
        inside = np.exp(plain.interval_log_proba([[low]], [[high]]))[0]
        of_atoms = 150 * (low == 0) + 50 * (high == 1)
        expected = (400 * inside + of_atoms) / 600
        found = np.exp(model.interval_log_proba([[low]], [[high]]))[0]
        assert found == pytest.approx(expected, rel=1e-5)
    mean, variance = plain.mean()[0], plain.variance()[0]
    expected = (400 * mean + 50) / 600
    assert model.mean()[0] == pytest.approx(expected, rel=1e-5)
    square = (400 * (variance + mean**2) + 50) / 600
    assert model.variance()[0] == pytest.approx(square - expected**2, rel=1e-4)


@pytest.mark.parametrize("name", NUMBERS)
def test_masses_of_single_columns(model, name):
    atoms = density(model, **{name: atoms_of(model, name)}).sum()
    assert 0.05 < atoms < 0.6
    assert atoms + of_numbers(model, name) == pytest.approx(1, abs=1e-4)


def test_mass_beside_other_columns(model):
    for given in ({"amount": 0.0}, {"amount": 3.0, "kind": "a"}, {"wait": 5.0}):
        whole = density(model, **given)[0]
        atoms = sum(density(model, share=each, **given)[0] for each in (0.0, 1.0))
        assert atoms + of_numbers(model, "share", **given) == pytest.approx(whole, rel=1e-5)


@pytest.mark.parametrize(
    ("name", "low", "high"), [("share", 0, 0.4), ("amount", 2, 9), ("wait", 0, 2), ("wait", 1, 7)]
)
def test_intervals_by_quadrature(model, name, low, high):
    x = np.linspace(low, high, 4001)[1:-1]
    inside = np.trapezoid(density(model, **{name: x}), x)
    atoms = atoms_of(model, name)
    for closed in ("both", "neither"):
        within = (low <= atoms) & (atoms <= high)
        if closed == "neither":
            within = (low < atoms) & (atoms < high)
        expected = inside + density(model, **{name: atoms}) @ within
        found = probability(model, {name: low}, {name: high}, closed)
        assert found == pytest.approx(expected, abs=2e-3)
    if low in atoms:
        zero = density(model, **{name: float(low)})[0]
        assert probability(model, {name: low}, {name: low}) == pytest.approx(zero)


def test_values_outside_are_impossible(model):
    rows = rows_of(share=[-0.1, 1.1, 0.3, 0.3], amount=[1, 1, -1, 1], wait=[1, 1, 1, -2.0])
    assert np.isneginf(model.score_samples(rows)).all()
    assert probability(model, None, {"share": 0}, "neither") == 0
    assert probability(model, {"share": 1}, None, "neither") == 0


# --- conditions, draws and moments


def test_conditional_densities_are_ratios(model):
    rows = table(40, seed=3, gaps=0)
    for given in (["share"], ["amount", "kind"]):
        others = [name for name in rows if name not in given]
        alone = rows.assign(**{name: None if name == "kind" else np.nan for name in others})
        expected = model.score_samples(rows) - model.score_samples(alone)
        found = model.conditional_score_samples(rows, given)
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-7)


def test_draws_have_atoms_at_their_rate(model, drawn):
    for name in NUMBERS:
        for atom in atoms_of(model, name):
            p = density(model, **{name: float(atom)})[0]
            assert_share((drawn[name] == atom).mean(), p)
            assert p == pytest.approx((FRAME[name].dropna() == atom).mean(), abs=0.06)
    assert drawn["share"].between(0, 1).all()
    assert (drawn[["amount", "wait"]] >= 0).all(axis=None)
    both = density(model, share=0.0, amount=0.0)[0]
    assert_share(((drawn["share"] == 0) & (drawn["amount"] == 0)).mean(), both)


def test_draws_given_conditions(model):
    rows = model.sample(500, random_state=0, given={"share": (0, None), "amount": 0})
    assert (rows["amount"] == 0).all()
    rows = model.sample(2000, random_state=0, given={"share": (0.2, 0.9)})["share"]
    assert rows.between(0.2, 0.9).all()
    found = pd.concat(
        list(model.sample_conditional(rows_of(kind="a"), n_draws=10_000, random_state=0))
    )
    p = density(model, share=0.0, kind="a")[0] / density(model, kind="a")[0]
    assert_share((found["share"] == 0).mean(), p, 10_000)


@pytest.mark.parametrize("name", ["share", "amount"])
@pytest.mark.parametrize("given", [{}, {"kind": "a"}, {"wait": 0.0}])
def test_moments_by_quadrature(model, name, given):
    x, atoms = GRIDS[name], atoms_of(model, name)
    whole = density(model, **given)[0] if given else 1.0
    at = np.array([density(model, **{name: float(each)}, **given)[0] for each in atoms]) / whole
    mean, square = (
        at @ atoms**power + of_numbers(model, name, x**power, **given) / whole for power in (1, 2)
    )
    found = model.impute(rows_of(**given) if given else rows_of(kind=[None]))[name].iloc[0]
    assert found == pytest.approx(mean, rel=2e-3)
    if not given:
        place = list(FRAME).index(name)
        assert np.asarray(model.mean())[place] == pytest.approx(mean, rel=2e-3)
        assert np.asarray(model.variance())[place] == pytest.approx(square - mean**2, rel=1e-2)


def test_scores_of_single_cells_are_differences(model):
    rows = table(30, seed=4, gaps=0)
    found = model.feature_scores(rows)
    for name in NUMBERS:
        expected = model.score_samples(rows.assign(**{name: np.nan})) - model.score_samples(rows)
        np.testing.assert_allclose(found[name], expected, rtol=1e-6, atol=1e-7)


# --- units and fits that go on


def test_labels_do_not_tie_to_units():
    X, unit = FRAME[["amount", "wait"]].dropna().to_numpy(), np.array([1024, 0.25])
    leaf = {"gamma": [0], "log-normal": [1]}
    model, other = new(leaf=leaf).fit(X), new(leaf=leaf).fit(X * unit)
    np.testing.assert_allclose(other.p_values(X * unit), model.p_values(X), atol=1e-6)
    expected = model.score_samples(X) - np.log(unit).sum()
    np.testing.assert_allclose(other.score_samples(X * unit), expected, atol=1e-5)


def test_fits_that_go_on_know_atoms():
    model = new("chow-liu", leaf=LEAF).fit(FRAME)
    model.partial_fit(table(200, seed=9))
    assert model.leaf_report_["n_atoms"].tolist() == [2, 1, 2, 0]
    assert np.isfinite(model.score_samples(FRAME)).all()
    with pytest.raises(ValueError, match=r"'share' holds 1\.5"):
        model.partial_fit(rows_of(share=[0.5, 1.5, 0.0]))

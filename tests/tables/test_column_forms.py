"""What columns of numbers are taken for: atoms, states, grids and bounds."""

import numpy as np
import pytest

from sklearn_einet.tables.column_forms import FLOAT64, ColumnForm, column_form
from sklearn_einet.tables.columns import SampledColumns
from sklearn_einet.tables.form_fitting import fit_forms
from sklearn_einet.tables.form_requests import LEAST_SHARE, FormRequests, requested_atoms
from sklearn_einet.tables.in_memory import InMemoryTable

RNG = np.random.RandomState


def form_of(x, dependence=0.0, least_share=LEAST_SHARE, given=None, dtype=FLOAT64):
    values, counts = np.unique(x, return_counts=True)
    known = given, None, dtype
    return column_form(values, counts.astype(float), least_share, dependence, *known)


def forms_of(X, weight=None, **given):
    table = InMemoryTable(np.asarray(X, dtype=np.float64))
    if weight is not None:
        table = table.weighted(np.asarray(weight, dtype=np.float64))
    columns = np.arange(X.shape[1])
    least_share, atoms = requested_atoms(columns.tolist(), given.get("atoms", "auto"))
    return fit_forms(SampledColumns(table, RNG(0)), columns, FormRequests(least_share, atoms))


def with_value(x, value, share, seed=1):
    return np.where(RNG(seed).rand(len(x)) < share, value, x)


def assert_same(form, other, unit=1.0, rtol=1e-9):
    np.testing.assert_allclose(form.atoms * unit, other.atoms, rtol=rtol, atol=1e-12 * unit)
    assert form.is_complete == other.is_complete
    names = ["step", "origin", "unit", "low", "high"]
    for name in names if form.is_complete else [*names, "scale"]:
        assert getattr(form, name) * unit == pytest.approx(getattr(other, name), rel=rtol), name
    assert form.number_share == pytest.approx(other.number_share)


COLUMNS = {
    "plain": RNG(0).standard_normal(2000),
    "zeros": with_value(RNG(0).lognormal(3, 1, 2000), 0.0, 0.3),
    "cap": np.minimum(RNG(0).lognormal(3, 1, 2000), 90.0),
    "both ends": RNG(0).normal(0, 1, 2000).clip(-1.2, 1.5),
    "within": with_value(RNG(0).standard_normal(2000), 0.25, 0.1),
    "sentinel": with_value(RNG(0).uniform(20, 30, 2000), -999.0, 0.02),
    "whole": RNG(0).normal(0, 300, 2000).round(),
    "tenths": RNG(0).normal(50, 30, 2000).round(1),
    "heaped": with_value(RNG(0).normal(0, 300, 2000).round(), 40.0, 0.2),
    "years": np.where(RNG(1).rand(2000) < 0.03, 0.5, 0) + RNG(0).poisson(30, 2000),
    "months": with_value(RNG(0).poisson(30, 2000) + 1.0, 0.75, 0.02),
    "few": RNG(0).choice([2.0, 3.0, 7.0], 2000),
    "share": RNG(0).uniform(0, 1, 2000),
    "negative": -RNG(0).lognormal(0, 1, 2000),
}


@pytest.mark.parametrize(
    ("name", "atoms"),
    [("plain", []), ("zeros", [0]), ("cap", [90]), ("both ends", [-1.2, 1.5]), ("within", [0.25])]
    + [("sentinel", [-999]), ("whole", []), ("heaped", [40]), ("share", []), ("negative", [])],
)
def test_atoms_are_the_values_that_repeat(name, atoms):
    x = COLUMNS[name]
    form = form_of(x)
    assert form.atoms.tolist() == atoms
    assert not form.is_complete
    assert form.is_split == bool(atoms)
    numbers = x[~np.isin(x, atoms)]
    assert form.number_share == pytest.approx(len(numbers) / len(x))
    assert form.scale == pytest.approx(numbers.std())


def test_few_values_are_states():
    form = form_of(COLUMNS["few"])
    assert form.is_complete
    assert not form.is_split
    assert form.atoms.tolist() == [2, 3, 7]
    assert form.number_share == 0
    # So many rows for each are needed.
    assert form_of(np.repeat(np.arange(10.0) ** 2, 5)).is_complete
    assert not form_of(np.repeat(np.arange(10.0) ** 2, 5)[:-1]).is_complete


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [
        ("plain", -np.inf, np.inf),
        ("zeros", 0, np.inf),
        ("cap", 0, 90),
        ("both ends", -1.2, 1.5),
        ("share", 0, 1),
        ("negative", -np.inf, 0),
        ("sentinel", -999, np.inf),
    ],
)
def test_bounds(name, low, high):
    form = form_of(COLUMNS[name])
    assert (form.low, form.high) == (low, high)
    assert form.is_plain == (low == -np.inf and high == np.inf)


@pytest.mark.parametrize("end", [1, 100])
def test_shares_and_percentages_have_an_upper_bound(end):
    x = np.linspace(0, end, 500) ** 1.01
    x *= end / x.max()
    assert form_of(0.99 * x).high == end
    assert form_of(0.9 * x).high == np.inf
    assert form_of(1.01 * x).high == np.inf
    assert form_of(0.99 * x - 0.5 * end).high == np.inf


@pytest.mark.parametrize("dtype", ["int8", "int16", "int32", "uint8", "uint16", "uint32"])
def test_types_of_whole_numbers_are_bounds(dtype):
    limits = np.iinfo(dtype)
    x = np.linspace(limits.max // 2, limits.max - 1, 500).round()
    form = form_of(x, dtype=np.dtype(dtype))
    assert (form.low, form.high) == (0, limits.max)
    assert form.near_high
    assert form.ends[1] == limits.max + form.step / 2
    if dtype[0] == "i":
        assert form_of(x - limits.max, dtype=np.dtype(dtype)).low == limits.min
        assert form_of(-x, dtype=np.dtype(dtype)).high == 0
    inner = RNG(0).normal(limits.max / 2, limits.max / 100, 500).round()
    form = form_of(inner, dtype=np.dtype(dtype))
    assert (form.near_low, form.near_high) == (False, False)


@pytest.mark.parametrize("dtype", ["int64", "uint64", "float32", "float64", "bool"])
def test_other_types_are_no_bounds(dtype):
    form = form_of(np.arange(200.0) ** 1.5 - 1, dtype=np.dtype(dtype))
    assert (form.low, form.high) == (-np.inf, np.inf)


def test_bounds_without_a_meaning_of_zero():
    form = form_of(COLUMNS["share"]).without_sign()
    assert (form.low, form.high) == (-np.inf, np.inf)
    kept = form_of(COLUMNS["both ends"]).without_sign()
    assert (kept.low, kept.high) == (-1.2, 1.5)
    zeros = form_of(COLUMNS["zeros"]).without_sign()
    assert (zeros.low, zeros.high) == (0, np.inf)


def test_grids():
    assert form_of(COLUMNS["whole"]).step == 1
    assert form_of(COLUMNS["tenths"]).step == pytest.approx(0.1)
    assert form_of(COLUMNS["plain"]).step == 0
    dense, thin = form_of(COLUMNS["heaped"]), form_of(1e6 * COLUMNS["heaped"] + 0.0)
    assert dense.unit == dense.step == 1
    assert thin.unit == thin.step == 1e6
    sparse = form_of(with_value(RNG(0).randint(0, 10**7, 2000) * 1.0, 500.0, 0.1))
    assert (sparse.step, sparse.unit, sparse.log_unit) == (1, 1, 0)
    assert sparse.atoms.tolist() == [500]


def test_the_grid_of_nearly_all_rows():
    """Few fractions beside whole numbers are on no grid, and atoms if they repeat."""
    ages = RNG(0).poisson(30, 2000) + 0.0
    assert form_of(ages).step == 1
    ages[:30] += RNG(0).choice([0.25, 0.4167, 0.9167], 30)
    form = form_of(ages)
    assert (form.step, form.origin, form.atoms.tolist()) == (1, np.unique(ages.round())[0], [])
    assert form.reason == "nearly all multiples of 1"
    months = form_of(COLUMNS["months"], dependence=0.05)
    assert (months.step, months.low, months.atoms.tolist()) == (1, 0.75, [0.75])
    assert months.holes.tolist() == []
    assert months.ends == (0.5, np.inf)
    assert form_of(1.0 - COLUMNS["months"], dependence=0.05).ends[1] == 0.5
    heaped = with_value(COLUMNS["months"], 60.0, 0.1)
    assert form_of(heaped, dependence=0.05).holes.tolist() == [59.5]


def test_grids_that_are_no_wider():
    rng = RNG(0)
    ages = rng.poisson(30, 2000) + 0.0
    fractions = rng.uniform(0, 1, 2000).round(3)
    many = np.where(rng.rand(2000) < 0.1, fractions, 0.0)  # more than 5% of the rows
    assert form_of(ages + many).step == 0.001
    rare = np.where(rng.rand(2000) < 0.04, 30 * fractions.round(4), 0.0)  # too many values
    assert form_of(ages + rare).step < 0.1
    # All of a dense grid is drawn, however rare some are.
    fives = np.where(rng.rand(2000) < 0.96, 5 * rng.randint(0, 12, 2000), rng.randint(0, 60, 2000))
    assert form_of(fives * 1.0, dependence=1).step == 1
    # Two atoms are no grid of the numbers beside.
    zeros = np.where(rng.rand(2000) < 0.97, 0.0, rng.lognormal(3, 1, 2000))
    assert form_of(with_value(zeros, 37.5, 0.02)).step == 0


def naive_atoms(x, least_share, step):
    """Values of many rows, on a grid of many more than those up to two steps away."""
    least = max(10, least_share * len(x))
    result = []
    for value in np.unique(x):
        beside = max((x == value + i * step).sum() for i in (-2, -1, 1, 2)) if step else 0
        if (x == value).sum() >= least and (x == value).sum() > 5 * beside:
            result.append(value)
    return result


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("least_share", [0.001, 0.02, 0.2])
def test_atoms_on_grids_by_brute_force(seed, least_share):
    rng = RNG(seed)
    x = rng.normal(0, 400, 3000).round()
    for value in rng.randint(-300, 300, 6):
        x = with_value(x, value, rng.choice([0.004, 0.01, 0.03, 0.25]), seed=value + 300)
    form = form_of(x, least_share=least_share, dependence=0.05)
    assert not form.is_complete
    assert form.atoms.tolist() == naive_atoms(x, least_share, 1.0)


def test_no_share_neither_atoms_nor_grid():
    form = form_of(COLUMNS["few"], least_share=np.inf)
    assert len(form.atoms) == 0
    assert form.step == 0


def test_the_most_frequent_values_of_very_many():
    x = np.append(np.repeat(np.sqrt(np.arange(2.0, 402.0)), 20), RNG(0).uniform(-9, -8, 500))
    x = np.append(x, np.repeat(np.sqrt(np.arange(102.0, 302.0)), 3))
    form = form_of(x)
    assert len(form.atoms) == 255
    assert np.isin(np.sqrt(np.arange(102.0, 302.0)), form.atoms).all()


def test_rounded_values_beside_dependence_are_no_atoms():
    x = np.round(RNG(0).lognormal(0, 1, 3000), 4)
    for value in np.sqrt(np.arange(2, 22)).round(4):
        x = with_value(x, value, 0.006, seed=int(1e4 * value))
    assert len(form_of(x).atoms) == 20
    assert len(form_of(x, dependence=0.5).atoms) == 0
    # What stands out is one still: a share of the rows, far more than the other values have.
    marked = with_value(x, 0.0, 0.2)
    assert form_of(marked, dependence=0.5).atoms.tolist() == [0]
    assert form_of(with_value(x, 0.0, 0.005), dependence=0.5).atoms.tolist() == []


def test_states_must_gain_more_than_the_others_tell():
    # Every second value has three times as many rows, which no density tells.
    x = RNG(0).choice(np.arange(40.0), 4000, p=np.tile([1, 3], 20) / 80)
    assert form_of(x).is_complete
    states = form_of(x, dependence=0.05)
    assert states.is_complete
    density = form_of(x, dependence=0.5)
    assert not density.is_complete
    assert len(density.atoms) == 0
    assert density.step == 1


@pytest.mark.parametrize("n", range(2, 12))
def test_tiny_samples_have_no_atoms(n):
    form = form_of(np.append(np.zeros(n - 1), 1.5))
    if n < 10:
        assert len(form.atoms) == 0
    form = form_of(np.arange(n) ** 2.0)
    assert len(form.atoms) == 0
    assert form.low == 0


def test_ends_are_beyond_numbers_at_bounds():
    x = RNG(0).uniform(0, 1, 500)
    assert form_of(x).ends == (0, 1)
    x[:3] = 0.0
    form = form_of(x)
    assert len(form.atoms) == 0
    assert form.low == 0
    assert form.ends == (pytest.approx(-0.01 * x.std()), 1)
    x[3:6] = 1.0
    assert form_of(x).ends[1] == pytest.approx(1 + 0.01 * x.std())
    zeros = form_of(COLUMNS["zeros"])  # an atom is no number
    assert zeros.ends == (0, np.inf)
    assert form_of(COLUMNS["tenths"].clip(0)).ends[0] == pytest.approx(-0.05)


def test_hardly_any_other_value():
    x = np.append(np.zeros(500), [1.25, np.pi])
    form = form_of(x)
    assert form.is_complete
    assert form.atoms.tolist() == [0, 1.25, np.pi]


# --- atoms that are given


def test_given_atoms():
    form = form_of(COLUMNS["plain"], given=np.array([COLUMNS["plain"][0], 77.0]))
    assert form.atoms.tolist() == [COLUMNS["plain"][0]]  # 77 does not occur
    none = form_of(COLUMNS["few"], given=np.array([]))
    assert len(none.atoms) == 0
    assert not none.is_complete
    assert form_of(COLUMNS["few"], given=np.array([2.0])).atoms.tolist() == [2]
    # A single number beside atoms has no density.
    assert form_of(COLUMNS["few"], given=np.array([2.0, 7.0])).is_complete


# --- units, weights, gaps


@pytest.mark.parametrize("name", sorted(COLUMNS))
@pytest.mark.parametrize("unit", [1e-6, 0.3048, 2.54, 1e9])
def test_forms_change_with_the_unit(name, unit):
    x = COLUMNS[name]
    form, other = form_of(x), form_of(x * unit)
    if name in ("share", "cap"):
        form, other = form.without_sign(), other.without_sign()
    assert_same(form, other, unit)


@pytest.mark.parametrize("name", sorted(COLUMNS))
def test_integer_weights_are_repeated_rows(name):
    X = np.column_stack([COLUMNS[name], COLUMNS["plain"][::-1]])
    weight = RNG(0).randint(1, 4, len(X))
    found = forms_of(X, weight).get(0, ColumnForm(np.empty(0)))
    expected = forms_of(np.repeat(X, weight, axis=0)).get(0, ColumnForm(np.empty(0)))
    assert_same(found, expected)


@pytest.mark.parametrize("name", sorted(COLUMNS))
@pytest.mark.parametrize("factor", [1e-3, 0.5])
def test_the_scale_of_small_weights_has_no_effect(name, factor):
    X = np.column_stack([COLUMNS[name], COLUMNS["plain"][::-1]])
    found = forms_of(X, np.full(len(X), factor)).get(0)
    expected = forms_of(X).get(0)
    assert (found is None) == (expected is None)
    if found is not None:
        assert_same(found, expected)


def test_gaps_are_not_counted():
    x = COLUMNS["zeros"].copy()
    x[::3] = np.nan
    X = np.column_stack([x, COLUMNS["plain"]])
    seen = x[~np.isnan(x)]
    assert_same(forms_of(X)[0], form_of(seen))


def test_the_order_of_rows_does_not_matter():
    X = np.column_stack([COLUMNS["heaped"], COLUMNS["zeros"], COLUMNS["plain"]])
    first, second = forms_of(X), forms_of(X[RNG(3).permutation(len(X))])
    assert first.keys() == second.keys() == {0, 1}
    for column, form in first.items():
        assert_same(form, second[column])

"""Columns with atoms, to the circuit and back."""

import numpy as np
import pytest

from sklearn_einet.tables.column_forms import ColumnForm
from sklearn_einet.tables.column_maps import YeoJohnson
from sklearn_einet.tables.half_line import HalfLine
from sklearn_einet.tables.state_columns import StateColumns

BOTH = {"near_low": True, "near_high": True, "scale": 20.0}
FORMS = {
    0: ColumnForm(np.array([0.0, 99.5]), low=0.0, high=99.5, **BOTH),
    2: ColumnForm(np.array([3.0, 40.0]), step=1.0, origin=1.0, low=0.0, near_low=True, scale=30.0),
    3: ColumnForm(np.array([2.0, 5.0, 6.0]), is_complete=True, step=1.0, origin=2.0, unit=1.0),
    5: ColumnForm(np.empty(0), step=0.1, origin=0.3, unit=0.1, low=0.0, high=100.0, **BOTH),
    6: ColumnForm(np.array([-0.3]), step=0.1, origin=-0.3, unit=0.1),
}
N_COLUMNS = 7
STATES = StateColumns(N_COLUMNS, FORMS)


def rows(n=400, seed=0):
    """Values that the columns can have, and gaps."""
    rng = np.random.RandomState(seed)
    X = np.column_stack(
        [
            rng.choice([0.0, 99.5, np.nan, *rng.uniform(0, 99, 5)], n),
            rng.standard_normal(n),
            rng.choice([3.0, 40.0, 1.0, 7.0, 2000.0, 0.0], n),
            rng.choice([2.0, 5.0, 6.0, np.nan], n),
            rng.standard_normal(n),
            rng.randint(0, 1001, n) / 10,
            rng.choice([-0.3, -0.2, 0.7, 12.3, np.nan], n),
        ]
    )
    X[rng.rand(*X.shape) < 0.1] = np.nan
    return X


def naive_states(X):
    """Codes of the split columns, cell by cell."""
    result = np.full((len(X), 3), np.nan)
    for place, column in enumerate([0, 2, 6]):
        atoms = FORMS[column].atoms.tolist()
        for row, value in enumerate(X[:, column]):
            if not np.isnan(value):
                near = [i for i, atom in enumerate(atoms) if np.isclose(value, atom, rtol=1e-6)]
                result[row, place] = near[0] if near else len(atoms)
    return result


def encoded(X, states=STATES):
    return states.encode(X, states.numbers(X).astype(np.float64))


def decoded(Z, states=STATES):
    return states.decode(Z, Z[:, : states.n_columns].copy())


def test_places():
    assert STATES.split == [0, 2, 6]
    assert STATES.complete == [3]
    assert STATES.n_features == 10
    assert [STATES.state_of(column) for column in range(7)] == [7, 1, 8, 3, 4, 5, 9]
    assert STATES.scopes([6, 1, 0]) == [[6, 9], [1], [0, 7]]
    assert STATES.features([6, 1, 0]).tolist() == [6, 1, 0, 9, 7]
    assert STATES.features([1, 3]).tolist() == [1, 3]


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_codes_by_brute_force(dtype):
    X = rows().astype(dtype)
    np.testing.assert_array_equal(STATES.states(X), naive_states(X))
    of_atoms = naive_states(X) < [2, 2, 1]
    np.testing.assert_array_equal(STATES.is_atom(X)[:, [0, 2, 6]], of_atoms)
    np.testing.assert_array_equal(STATES.has_atom(encoded(X)), of_atoms)
    numbers = STATES.numbers(X)
    np.testing.assert_array_equal(
        np.isnan(numbers)[:, [0, 2, 6]], np.isnan(X)[:, [0, 2, 6]] | of_atoms
    )
    assert numbers.dtype == dtype


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_what_is_encoded_is_decoded(dtype):
    X = rows().astype(dtype)
    Z = encoded(X)
    assert Z.shape == (400, 10)
    found = decoded(np.where(np.isnan(Z), 0.0, Z))
    seen = ~np.isnan(X)
    np.testing.assert_allclose(found[seen], X[seen], rtol=0 if dtype is np.float64 else 1e-5)
    np.testing.assert_array_equal(np.isnan(Z[:, 3]), np.isnan(X[:, 3]))


def test_integers():
    X = np.array([[0, 1, 3, 5, 0, 2, 1], [99, 1, 4, 2, 0, 2, 0]])
    np.testing.assert_array_equal(STATES.states(X), [[0, 0, 1], [2, 2, 1]])
    assert np.isnan(STATES.numbers(X)).tolist() == [
        [True, False, True, False, False, False, False],
        [False] * 7,
    ]


def test_decimals_in_single_precision_are_not_their_neighbours():
    form = ColumnForm(np.array([0.1, 16777.2]))
    states = StateColumns(1, {0: form})
    X = np.array([[0.1], [16777.2], [0.1000005], [16777.3], [0.0], [-0.1]], dtype=np.float32)
    assert states.states(X).ravel().tolist() == [0, 1, 2, 2, 2, 2]
    near = np.array([[np.nextafter(0.1, 1)], [0.1 * (1 + 1e-12)]])
    assert states.states(near).ravel().tolist() == [0, 2]


def test_values_that_states_do_not_have():
    X = np.zeros((5, N_COLUMNS))
    X[:, 3] = [2.0, 3.0, np.nan, 6.0, -1.0]
    unseen = STATES.unseen(X)
    assert unseen[:, 3].tolist() == [False, True, False, False, True]
    assert not np.delete(unseen, 3, axis=1).any()
    codes, n_states = STATES.codes(X[:, 3], 3)
    np.testing.assert_array_equal(codes, [0, 0, np.nan, 2, 0])  # the nearest
    assert n_states == 3
    assert STATES.codes(X[:, 0], 0)[1] == 3


def test_the_nearest_states_by_brute_force():
    x = np.random.RandomState(0).uniform(-3, 12, 500)
    found, _ = STATES.codes(x, 3)
    distance = np.abs(x[:, None] - FORMS[3].atoms)
    np.testing.assert_array_equal(found, distance.argmin(1))


def test_numbers_beyond_bounds_are_unseen():
    X = rows()
    X[:4, 0] = [-0.1, 99.6, np.nan, 99.4]
    X[:4, 2] = [-1.0, -0.5, -0.4, 1e9]
    X[:4, 5] = [-0.1, 100.1, 100.0, 0.0]
    unseen = STATES.unseen(X)
    assert unseen[:4, 0].tolist() == [True, True, False, False]
    assert unseen[:4, 2].tolist() == [True, True, False, False]
    assert unseen[:4, 5].tolist() == [True, True, False, False]
    assert not unseen[4:].any()
    Z = encoded(X)
    assert np.isnan(Z[:2][:, [0, 2, 5]]).all()
    # They are no atoms, which the states tell.
    assert Z[:2, 7:9].tolist() == [[2, 2], [2, 2]]


def test_what_can_be_evidence():
    X = np.zeros((3, N_COLUMNS))
    X[:, 2] = [3.0, 7.0, 7.0]
    features = np.ones((3, 10), dtype=bool)
    features[:2, 2] = False  # no number: needed by a number only
    features[2, 8] = False
    assert STATES.usable(X, features)[:, 2].tolist() == [True, False, False]
    assert np.delete(STATES.usable(X, features), 2, axis=1).all()


@pytest.mark.parametrize("columns", [[0], [6, 3], [5, 2, 0, 1], [1, 4], [3], [2, 6, 0, 3, 5, 4, 1]])
def test_some_columns_in_any_order(columns):
    some = STATES.restricted(columns)
    X = rows()[:, columns]
    whole = encoded(rows())
    np.testing.assert_array_equal(encoded(X, some), whole[:, STATES.features(columns)])
    for place, column in enumerate(columns):
        assert some.state_of(place) == STATES.features(columns).tolist().index(
            STATES.state_of(column)
        )
    again = some.restricted(range(len(columns)))
    np.testing.assert_array_equal(encoded(X, again), encoded(X, some))


@pytest.mark.parametrize("column", sorted(FORMS.keys() - {3}))
def test_numbers_are_on_the_grid_within_bounds(column):
    form = FORMS[column]
    x = np.random.RandomState(0).normal(30, 80, 1000)
    found = STATES.possible(x.copy(), column)
    assert (found >= form.low).all()
    assert (found <= form.high).all()
    if form.step:
        steps = (found - form.origin) / form.step
        np.testing.assert_allclose(steps, steps.round(), atol=1e-9)
    inside = (x > form.low) & (x < form.high)
    assert np.abs(found - x)[inside].max() <= form.step / 2 + 1e-9
    assert (found[x < form.low] == form.low).all()
    assert (found[x > form.high] == form.high).all()


@pytest.mark.parametrize("column", [2, 6])
def test_maps_without_the_cells_of_atoms(column):
    form = FORMS[column]
    location, scale = 12.0, 5.0
    cut = STATES.map_of(column, location, scale, YeoJohnson(0.7, 0.1, 1.2))
    y = cut.forward((np.arange(-1, 60) * form.step + form.origin - location) / scale)
    drawn = cut.inverse(np.linspace(y[0], y[-1], 10_001)) * scale + location
    cells = np.abs(drawn[:, None] - form.atoms) < 0.5 * form.step - 1e-9
    assert not cells.any()


@pytest.mark.parametrize("column", [0, 2, 5])
@pytest.mark.parametrize("inner", [None, YeoJohnson(0.7, 0.1, 1.2)])
def test_maps_keep_numbers_within_the_ends_of_their_cells(column, inner):
    form, location, scale = FORMS[column], 30.0, 25.0
    whole = STATES.map_of(column, location, scale, inner)
    low, high = form.ends
    drawn = whole.inverse(np.linspace(-50, 50, 100_001)) * scale + location
    assert (np.diff(drawn) >= 0).all()
    assert drawn[0] == pytest.approx(low, abs=1e-9)
    assert drawn[-1] == pytest.approx(high, abs=1e-9) or high == np.inf
    assert low - 1e-9 <= drawn[0] <= drawn[-1] <= high + 1e-9
    ends = np.clip([low, high], -200, 200)
    x = np.linspace(*ends, 2003)[1:-1]
    kept = ~((np.abs(x[:, None] - form.atoms) <= form.step / 2).any(axis=1))
    y = whole.forward((x[kept] - location) / scale)
    np.testing.assert_allclose(whole.inverse(y) * scale + location, x[kept], atol=1e-9)


def test_other_columns_are_not_mapped():
    inner = YeoJohnson(0.7, 0.1, 1.2)
    for column in (1, 3):
        assert STATES.map_of(column, 0.0, 1.0, inner) is inner
        assert STATES.map_of(column, 0.0, 1.0, None) is None
    far = StateColumns(1, {0: ColumnForm(np.empty(0), low=0.0, high=100.0)})
    assert far.map_of(0, 0.0, 1.0, inner) is inner


def test_cells_that_numbers_are_fitted_to():
    X = rows()
    found = STATES.number_cells(X[:, [2, 1, 0]].copy(), [2, 1, 0])
    assert np.isnan(found[np.isin(X[:, 2], [3, 40]), 0]).all()
    assert np.isnan(found[np.isin(X[:, 0], [0, 99.5]), 2]).all()
    np.testing.assert_array_equal(found[:, 1], X[:, 1])
    half = HalfLine(-0.5, False, 3.0, None)
    x = X[:, 2]
    for value, closed_up in ((0.0, 0.0), (1.0, 1.0), (7.0, 6.0), (2000.0, 1998.0)):
        expected = half.forward(np.array([closed_up]))[0]
        np.testing.assert_allclose(found[x == value, 0], expected, rtol=1e-12)


def test_tables_without_atoms_are_as_they_were():
    states = StateColumns(3, {1: ColumnForm(np.empty(0), step=1.0, low=0.0)})
    X = np.random.RandomState(0).standard_normal((5, 3))
    assert states.numbers(X) is X
    assert states.encode(X, X) is X
    assert not states.is_atom(X).any()
    assert states.spread(X > 0).shape == (5, 3)


def test_grids_whose_values_are_no_multiples_of_the_step():
    form = ColumnForm(np.empty(0), step=0.2, origin=-7.9, unit=0.2)
    found = StateColumns(1, {0: form}).possible(np.array([-7.83, 0.02, 5.0]), 0)
    np.testing.assert_array_equal(found, [-7.9, 0.1, 4.9])

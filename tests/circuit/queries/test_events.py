import numpy as np
import pytest
import torch
from scipy import special, stats

from sklearn_einet.circuit.queries.event_sampling import sample_given
from sklearn_einet.circuit.queries.events import Event, event_log_densities
from sklearn_einet.circuit.queries.sampling import sample
from sklearn_einet.families import Bernoulli, Binomial, Categorical, Normal, Poisson
from sklearn_einet.families.normal_boxes import log_box_probability
from tests.helpers.chi_square import chi_square_p
from tests.helpers.circuits import (
    FAMILY_TABLES,
    GRAPHS,
    family_of,
    irregular_graph,
    random_circuit,
    states,
    table_id,
    tree_graph,
)
from tests.helpers.joint import CASES, flat, joint_circuit, rows_of

INF = np.inf


def event_of(ranges=None, sets=None, n=4):
    low, high = np.full(n, -INF), np.full(n, INF)
    for column, (a, b) in (ranges or {}).items():
        low[column], high[column] = a, b
    return Event(low, high, {c: np.array(v, float) for c, v in (sets or {}).items()})


def log_density(circuit, rows, event):
    """Log-densities of rows (n, n_features), and the probability of the event in missing cells."""
    leaves, base, _ = event_log_densities(circuit, torch.as_tensor(rows).T.contiguous(), event)
    return (circuit.propagate(leaves).root + base).numpy()


def draws_given(circuit, row, event, n, seed=0, noise=True):
    known = torch.as_tensor(np.asarray(row, float))
    return sample_given(circuit, known, event, n, np.random.RandomState(seed), noise)


NOTHING = np.full(4, np.nan)
TABLE = {Bernoulli(): [0], Categorical(3): [1], Poisson(): [2], Binomial(5): [3]}
DISCRETE = [
    (NOTHING, event_of({2: (1, 3)}, {1: [0, 2]})),
    (NOTHING, event_of({3: (1.5, INF), 2: (-INF, 2)}, {0: [1]})),
    ([1, np.nan, np.nan, np.nan], event_of({1: (1, 2)}, {3: [0, 5, 2], 2: [0, 3]})),
    ([np.nan, 2, np.nan, np.nan], event_of({2: (2, INF)})),
]


def inside(x, row, event):
    result = ((event.low <= x) & (x <= event.high) & (np.isnan(row) | (x == row))).all(1)
    for column, values in event.sets.items():
        result &= np.isin(x[:, column], values)
    return result


@pytest.mark.parametrize("graph", GRAPHS, ids=str)
@pytest.mark.parametrize(("row", "event"), DISCRETE)
def test_discrete_events_by_enumeration(graph, row, event):
    circuit = random_circuit(graph, TABLE)
    x = states(2, 3, 60, 6).numpy()
    possible = x[inside(x, row, event)]
    p = circuit.log_prob(torch.as_tensor(possible)).exp().numpy()
    found = log_density(circuit, np.array([row], float), event)
    np.testing.assert_allclose(np.exp(found), p.sum(), rtol=1e-9)
    draws = draws_given(circuit, row, event, 20_000)
    assert inside(draws, np.array(row), event).all()
    weights = [360 * 6, 6 * 60, 6, 1]
    codes = possible @ weights
    observed = np.bincount(np.searchsorted(codes, draws @ weights), minlength=len(p))
    expected = 20_000 * p / p.sum()
    usual = expected > 5
    observed = np.append(observed[usual], observed[~usual].sum() + 1e-9)
    expected = np.append(expected[usual], expected[~usual].sum() + 1e-9)
    assert chi_square_p(observed, expected) > 1e-3


def range_of(family):
    return {
        "beta": (0.3, 0.8),
        "bernoulli": (0.5, 3),
        "categorical": (1, 2),
        "constant": (-0.5, 0.5),
    }.get(family.name, (0.5, 2.5))


@pytest.mark.parametrize("graph", [irregular_graph(), GRAPHS[6]], ids=str)
@pytest.mark.parametrize("families", FAMILY_TABLES, ids=table_id)
def test_ranges_of_every_family_by_rejection(graph, families):
    """Rows drawn without conditions and inside of the ranges have the distribution that is drawn
    from."""
    circuit = random_circuit(graph, families)
    event = event_of({c: range_of(family_of(circuit, c)) for c in (1, 2)})
    rows = sample(circuit, 60_000, np.random.RandomState(1))
    rows = rows[inside(rows, NOTHING, event)]
    share = np.exp(log_density(circuit, NOTHING[None], event))
    assert len(rows) / 60_000 == pytest.approx(share[0], abs=5 * np.sqrt(0.25 / 60_000))
    draws = draws_given(circuit, NOTHING, event, 8000)
    assert inside(draws, NOTHING, event).all()
    for column in range(4):
        if family_of(circuit, column).is_discrete:
            values = np.unique(np.append(rows[:, column], draws[:, column]))
            counts = [[(x[:, column] == v).sum() for v in values] for x in (rows, draws)]
            kept = np.sum(counts, 0) > 20
            if kept.sum() > 1:
                assert stats.chi2_contingency(np.array(counts)[:, kept]).pvalue > 1e-3
        else:
            assert stats.ks_2samp(rows[:, column], draws[:, column]).pvalue > 1e-3
    means = rows.mean(0), draws.mean(0)
    products = [x[:, 0] * x[:, 3] for x in (rows, draws)]
    assert np.isfinite(means).all()
    assert stats.ks_2samp(*products).pvalue > 1e-3  # columns without conditions depend as they did


def joint_events(case):
    """Ranges in one, two and three columns, with nothing else known or one more value."""
    values = {"nothing": NOTHING, "last": [np.nan, np.nan, np.nan, 1.2]}
    ranges = {0: (-0.5, 1.5), 1: (0.2, INF), 2: (1, 2), 3: (-INF, 2.5)}
    for name, row in values.items():
        for columns in ((0,), (0, 1), (0, 2), (0, 1, 2), (0, 1, 3)):
            if name == "nothing" or 3 not in columns:
                yield f"{case}-{name}-{columns}", case, row, {c: ranges[c] for c in columns}


JOINT = [each for case in CASES for each in joint_events(case)]


def by_terms(circuit, row, ranges):
    """Log-density of what is known and of the ranges, term by term of the flat mixture."""
    mixture = flat(circuit)
    row = np.asarray(row, float)
    terms = mixture.term_log_densities(row[None])[0]
    given = mixture.given(row)
    numeric = [c for c in ranges if c in mixture.numeric]
    for k in range(len(terms)):
        for column, share in mixture.probabilities.items():
            if column in ranges:
                state = np.arange(share.shape[1])
                low, high = ranges[column]
                terms[k] += np.log(share[k, (low <= state) & (state <= high)].sum())
        if numeric:
            ends = [
                mixture.axis(np.array([[ranges.get(c, (0, 0))[side] for c in range(4)]]))
                for side in (0, 1)
            ]
            found, _ = log_box_probability(
                ends[0][:, numeric],
                ends[1][:, numeric],
                given.mean[[k]][:, numeric],
                given.covariance[[k]][:, numeric][:, :, numeric],
            )
            terms[k] += found[0, 0]
    return special.logsumexp(terms)


@pytest.mark.parametrize(
    ("case", "row", "ranges"), [e[1:] for e in JOINT], ids=[e[0] for e in JOINT]
)
def test_joint_events_term_by_term(case, row, ranges):
    circuit = joint_circuit(case)
    found = log_density(circuit, np.array([row], float), event_of(ranges))
    np.testing.assert_allclose(found, by_terms(circuit, row, ranges), atol=2e-5)


@pytest.mark.parametrize("case", CASES)
def test_many_rows_of_joint_densities(case):
    """The same results as one by one, whatever else is missing."""
    circuit = joint_circuit(case)
    rows = rows_of(circuit, 30).numpy()
    rows[:, [0, 1]] = np.nan
    event = event_of({0: (-1, 1), 1: (-0.5, INF)})
    found = log_density(circuit, rows, event)
    singly = [log_density(circuit, row[None], event)[0] for row in rows]
    np.testing.assert_allclose(found, singly, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("columns", [(0,), (0, 1), (0, 1, 3)], ids=str)
def test_joint_draws_by_rejection(case, columns):
    circuit = joint_circuit(case)
    ranges = {0: (-0.5, 1.5), 1: (-1.5, 2), 3: (0.1, 2.5)}
    event = event_of({c: ranges[c] for c in columns})
    rows = sample(circuit, 40_000, np.random.RandomState(1))
    rows = rows[inside(rows, NOTHING, event)]
    draws = draws_given(circuit, NOTHING, event, 6000)
    assert inside(draws, NOTHING, event).all()
    for column in range(4):
        assert stats.ks_2samp(rows[:, column], draws[:, column]).pvalue > 1e-3
    for i, j in ((0, 1), (1, 2), (0, 3)):
        ranks = [
            stats.rankdata(x[:, i]) * stats.rankdata(x[:, j]) / len(x) ** 2 for x in (rows, draws)
        ]
        assert stats.ks_2samp(*ranks).pvalue > 1e-3


@pytest.mark.parametrize("case", CASES)
def test_joint_draws_given_a_value_and_a_range(case):
    """The first column uniform after its conditional distribution, the second given the first."""
    circuit = joint_circuit(case)
    row = np.array([np.nan, np.nan, np.nan, 1.2])
    event = event_of({0: (-0.5, 1.5)})
    draws = draws_given(circuit, row, event, 300)
    assert (draws[:, 3] == 1.2).all()
    whole = log_density(circuit, row[None], event)
    first = [
        np.exp(log_density(circuit, row[None], event_of({0: (-0.5, x)})) - whole)[0]
        for x in draws[:, 0]
    ]
    assert stats.kstest(first, "uniform").pvalue > 1e-3
    known = np.tile(row, (len(draws), 1))
    known[:, 0] = draws[:, 0]
    of_known = log_density(circuit, known, event_of())
    second = [
        np.exp(log_density(circuit, k[None], event_of({1: (-INF, x)}))[0] - total)
        for k, x, total in zip(known, draws[:, 1], of_known, strict=True)
    ]
    assert stats.kstest(second, "uniform").pvalue > 1e-3


def test_without_noise_values_are_the_nearest_possible_to_the_peaks():
    circuit = random_circuit(tree_graph(4, 0, 1), TABLE, K=1)
    event = event_of({2: (7.5, 9)}, {1: [0, 2], 3: [1]})
    draws = draws_given(circuit, NOTHING, event, 3, noise=False)
    phi = next(g for g in circuit.leaf_groups if 1 in g.columns).phi[0, 0, :, 0]
    assert (draws[:, 1] == (0 if phi[0] > phi[2] else 2)).all()
    assert (draws[:, 2] == 8).all()
    assert (draws[:, 3] == 1).all()
    joint = joint_circuit("lone", K=1)
    event = event_of({0: (90, INF)})
    assert (draws_given(joint, NOTHING, event, 3, noise=False)[:, 0] == 90).all()


def test_a_single_column_and_far_tails():
    circuit = random_circuit(tree_graph(1, 0, 1), {Normal(): [0]}, K=2)
    event = event_of({0: (50.0, INF)}, n=1)
    draws = draws_given(circuit, [np.nan], event, 1000)
    assert (draws >= 50).all()
    found = log_density(circuit, np.array([[np.nan]]), event)
    assert np.isfinite(found).all()
    rows = np.quantile(draws, [0.25, 0.5, 0.75])
    beyond = [
        log_density(circuit, np.array([[np.nan]]), event_of({0: (x, INF)}, n=1))[0] for x in rows
    ]
    np.testing.assert_allclose(np.exp(beyond - found), [0.75, 0.5, 0.25], atol=0.05)


def test_impossible_events_have_probability_zero():
    circuit = random_circuit(irregular_graph(), TABLE)
    for event in (event_of({2: (0.2, 0.8)}), event_of(sets={1: [7]}), event_of({3: (6, INF)})):
        assert np.isneginf(log_density(circuit, NOTHING[None], event)).all()

"""EM of circuits with joint leaves, and the mixtures that these begin with."""

import numpy as np
import pytest
import torch
from scipy import special, stats

from sklearn_einet.circuit.transforms.mixture import root_terms, set_root_terms
from sklearn_einet.families import MultivariateNormal, Normal
from sklearn_einet.families.covariance_prior import CovariancePrior
from sklearn_einet.families.multivariate_normal import patterns_of
from sklearn_einet.learning import FullEM, StochasticEM
from sklearn_einet.learning.expectation_maximization import maximize, penalty
from sklearn_einet.learning.fitting import mean_log_likelihood
from sklearn_einet.learning.joint_start import (
    Ladder,
    ladder_rows,
    ladder_sizes,
    restacked,
    set_joint_densities,
    stacked_log_likelihood,
)
from sklearn_einet.learning.normal_ladder import LadderRows, climb, stacking_weights
from sklearn_einet.learning.statistics import expected_statistics, prior_statistics
from sklearn_einet.structure.joint_regions import joint_regions
from tests.helpers.circuits import random_circuit
from tests.helpers.joint import CASES, flat, joint_circuit, random_normals, rows_of
from tests.helpers.rows import as_rows

EVERY_CASE = pytest.mark.parametrize("case", CASES)


def with_prior(circuit, rows=0.5, floor=1e-3, n_pools=2):
    rng = np.random.RandomState(7)
    for group in circuit.joint_groups:
        n, d = group.normals.mean.shape
        pool = torch.arange(n) % n_pools
        scale = random_normals(n_pools, d, rng).covariance
        group.prior = CovariancePrior(scale, pool, rows, floor)
    return circuit


def fit_rungs(*arguments):
    return list(climb(*arguments))


def log_densities(rungs, z):
    return torch.stack([rung.log_density(z) for rung in rungs])


def rows_for(case, n=60, share=0.3):
    """Rows that another circuit could have drawn."""
    return rows_of(joint_circuit(case, seed=11), n, share=share).numpy()


# --- full EM


@EVERY_CASE
@pytest.mark.parametrize(("pseudocount", "rows"), [(0.0, 0.5), (0.3, 1e-4), (0.01, 10.0)])
def test_full_em_never_lowers_the_penalised_likelihood(case, pseudocount, rows):
    circuit = with_prior(joint_circuit(case), rows, 0.0)
    table = as_rows(rows_for(case), np.random.RandomState(1).exponential(size=60))
    solver, values = FullEM(pseudocount), []
    for _ in range(20):
        prior = float(penalty(circuit, pseudocount))
        values.append(solver.epoch(circuit, table) * table.total_weight + prior)
    gains = np.diff(values)
    assert (gains >= -1e-6 * np.abs(values[1:])).all()
    assert values[-1] > values[0] + 1


@pytest.mark.parametrize("share", [0.0, 0.3])
def test_full_em_is_monotone_above_a_floor(share):
    """Rows with ties, at which covariances would vanish."""
    circuit = with_prior(joint_circuit("lone"), 1e-6, 0.05, 1)
    X = np.round(rows_for("lone", share=share))
    X[:, 3] = X[:, 0]
    values = []
    for _ in range(25):
        prior = float(penalty(circuit, 0.0))
        values.append(FullEM(0.0).epoch(circuit, as_rows(X)) * len(X) + prior)
    # The first step moves the random start above the floor.
    assert (np.diff(values)[1:] >= -1e-6 * np.abs(values[2:])).all()
    (group,) = circuit.joint_groups
    factor = torch.linalg.cholesky(group.prior.scale[group.prior.pool])
    half = torch.linalg.solve_triangular(factor, group.normals.covariance, upper=False)
    whitened = torch.linalg.solve_triangular(factor, half.transpose(1, 2), upper=False)
    least = torch.linalg.eigvalsh(whitened).amin()
    assert least == pytest.approx(0.05, rel=1e-6)


@EVERY_CASE
def test_statistics_of_blocks_add_up(case, monkeypatch):
    circuit = joint_circuit(case)
    x = torch.as_tensor(rows_for(case))
    weight = torch.as_tensor(np.random.RandomState(0).rand(60))
    whole = expected_statistics(circuit, x, weight)
    monkeypatch.setattr("sklearn_einet.circuit.leaves.joint_normal.JOINT_BYTES", 1)
    parts = [
        expected_statistics(circuit, x[part], weight[part])
        for part in (slice(0, 1), slice(1, 41), slice(41, 60))
    ]
    total = parts[0] + parts[1] + parts[2]
    assert total.log_likelihood == pytest.approx(whole.log_likelihood, rel=1e-10)
    for a, b in zip(total.leaves, whole.leaves, strict=True):
        for one, other in zip(a, b, strict=True):
            one, other = (t.to_dense() if t.is_sparse else t for t in (one, other))
            torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9)


@EVERY_CASE
def test_weights_equal_repetitions(case):
    X = rows_for(case, 20)
    repeats = np.random.RandomState(0).randint(1, 4, size=20)
    weighted, repeated = (with_prior(joint_circuit(case)) for _ in range(2))
    for _ in range(4):
        FullEM(0.1).epoch(weighted, as_rows(X, repeats.astype(float)))
        FullEM(0.1).epoch(repeated, as_rows(np.repeat(X, repeats, axis=0)))
    for a, b in zip(weighted.joint_groups, repeated.joint_groups, strict=True):
        torch.testing.assert_close(a.normals.mean, b.normals.mean, rtol=1e-7, atol=1e-9)
        torch.testing.assert_close(a.normals.covariance, b.normals.covariance, rtol=1e-7, atol=1e-9)


def test_a_step_of_em_is_that_of_the_flat_mixture():
    """One mixture of normal densities of complete rows, without priors."""
    circuit = with_prior(joint_circuit("lone", K=3), 1e-12, 0.0)
    X = rows_for("lone", share=0)[1:]
    terms = flat(circuit).term_log_densities(X)
    posterior = np.exp(terms - special.logsumexp(terms, axis=1, keepdims=True))
    FullEM(0.0).epoch(circuit, as_rows(X))
    (group,) = circuit.joint_groups
    for k in range(3):
        mean, covariance = group.normals.mean[k].numpy(), group.normals.covariance[k].numpy()
        expected = np.average(X, axis=0, weights=posterior[:, k])
        np.testing.assert_allclose(mean, expected, rtol=1e-8, atol=1e-8)
        expected = np.cov(X.T, aweights=posterior[:, k], bias=True)
        np.testing.assert_allclose(covariance, expected, rtol=1e-7, atol=1e-8)


@EVERY_CASE
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_prior_statistics_change_nothing(case, dtype):
    circuit = with_prior(joint_circuit(case, dtype=dtype), 1e-12, 0.0)
    before = [group.normals for group in circuit.joint_groups]
    maximize(circuit, prior_statistics(circuit), 0.0, 1.0)
    for group, old in zip(circuit.joint_groups, before, strict=True):
        torch.testing.assert_close(group.normals.mean, old.mean, rtol=1e-6, atol=1e-6)
        torch.testing.assert_close(group.normals.covariance, old.covariance, rtol=1e-6, atol=1e-6)


@EVERY_CASE
def test_frozen_densities_stay(case):
    circuit = joint_circuit(case)
    before = [group.normals for group in circuit.joint_groups]
    for group in circuit.joint_groups:
        group.frozen = True
    X = rows_for(case)
    values = [FullEM(0.1).epoch(circuit, as_rows(X)) for _ in range(5)]
    StochasticEM(0.1, 0.3, 20, 60.0).epoch(circuit, as_rows(X))
    assert values[-1] > values[0]
    for group, normals in zip(circuit.joint_groups, before, strict=True):
        assert group.normals is normals


# --- stochastic EM


@EVERY_CASE
def test_one_large_step_of_stochastic_em_is_a_full_one(case):
    X = rows_for(case)
    full, stochastic = (with_prior(joint_circuit(case)) for _ in range(2))
    FullEM(0.5).epoch(full, as_rows(X))
    StochasticEM(0.5, 1.0, 60, 60.0).epoch(stochastic, as_rows(X))
    for a, b in zip(full.joint_groups, stochastic.joint_groups, strict=True):
        torch.testing.assert_close(a.normals.mean, b.normals.mean, rtol=1e-6, atol=1e-8)
        torch.testing.assert_close(a.normals.covariance, b.normals.covariance, rtol=1e-6, atol=1e-8)


@EVERY_CASE
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_stochastic_em_improves(case, dtype):
    circuit = with_prior(joint_circuit(case, dtype=dtype))
    rows = as_rows(rows_for(case, 100))
    solver = StochasticEM(0.1, 0.2, 20, 100.0)
    values = [solver.epoch(circuit, rows) for _ in range(5)]
    assert values[-1] > values[0]
    last = next(solver.last_step(circuit, rows))
    assert mean_log_likelihood(last, rows) > values[0]
    assert last.is_finite()


# --- mixtures of many sizes


def ladder_table(n=200, d=3, share=0.0, seed=0):
    rng = np.random.RandomState(seed)
    z = rng.standard_normal((d, n)) + 3 * rng.randint(2, size=n)
    z[rng.rand(d, n) < share] = np.nan
    z = torch.as_tensor(z)
    center, spread = torch.nanmean(z, 1), torch.as_tensor(np.nanstd(z.numpy(), axis=1))
    return LadderRows(z, torch.ones(n, dtype=torch.float64), center, spread)


@pytest.mark.parametrize("n_units", [2, 5, 32, 128])
@pytest.mark.parametrize("n_rows", [1, 2, 10, 1000])
@pytest.mark.parametrize("n_columns", [1, 5, 200])
def test_sizes(n_units, n_rows, n_columns):
    sizes = ladder_sizes(n_units, n_rows, n_columns)
    assert sizes == [2**i for i in range(len(sizes))]
    assert sum(sizes) + 1 <= n_units
    assert sizes[-1] <= max(1, n_rows // 2)
    assert sizes[-1] <= max(8, n_rows // n_columns)


def test_sizes_grow_with_units_and_rows():
    assert ladder_sizes(128, 10_000, 4) == [1, 2, 4, 8, 16, 32, 64]
    assert ladder_sizes(127, 10_000, 4) == [1, 2, 4, 8, 16, 32]
    assert ladder_sizes(128, 10_000, 1000) == [1, 2, 4, 8]
    assert ladder_sizes(33, 10_000, 4) == [1, 2, 4, 8, 16]
    assert ladder_sizes(128, 3, 4) == [1]


@pytest.mark.parametrize("share", [0.0, 0.3])
def test_rungs_are_mixtures(share):
    rows = ladder_table(share=share)
    rungs = fit_rungs(rows, [1, 2, 4], 0.5, 1e-5)
    values = log_densities(rungs, rows.z)
    for rung, found, size in zip(rungs, values, [1, 2, 4], strict=True):
        assert len(rung.log_weights) == size
        assert rung.log_weights.exp().sum() == pytest.approx(1)
        terms = [
            rung.log_weights[k] + rung.normals.of(torch.tensor([k])).log_density(rows.z)[0]
            for k in range(size)
        ]
        expected = torch.stack(terms).logsumexp(0)
        torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)
    means = values.mean(1)
    assert (means[1:] > means[:-1]).all()


def test_the_first_rung_is_the_normal_density_of_the_rows():
    rows = ladder_table(2000)
    (rung,) = fit_rungs(rows, [1], 1e-9, 0.0)
    z = rows.z.numpy()
    np.testing.assert_allclose(rung.normals.mean[0], z.mean(1), atol=1e-5)
    np.testing.assert_allclose(rung.normals.covariance[0], np.cov(z, bias=True), rtol=1e-3)
    expected = stats.multivariate_normal(
        rung.normals.mean[0].numpy(), rung.normals.covariance[0].numpy()
    )
    np.testing.assert_allclose(rung.log_density(rows.z), expected.logpdf(z.T), rtol=1e-9)


@pytest.mark.parametrize("share", [0.0, 0.3])
def test_weights_of_ladders_equal_repetitions(share):
    rows = ladder_table(40, share=share)
    repeats = torch.as_tensor(np.random.RandomState(0).randint(1, 4, size=40))
    weighted = LadderRows(rows.z, repeats.double(), rows.center, rows.spread)
    z = rows.z.repeat_interleave(repeats, 1)
    repeated = LadderRows(z, torch.ones_like(z[0]), rows.center, rows.spread)
    for a, b in zip(
        *(fit_rungs(r, [1, 2, 4], 0.5, 1e-5) for r in (weighted, repeated)), strict=True
    ):
        torch.testing.assert_close(a.normals.mean, b.normals.mean, rtol=1e-6, atol=1e-8)
        torch.testing.assert_close(a.normals.covariance, b.normals.covariance, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("share", [0.0, 0.3])
def test_flat_mixtures_depend_neither_on_the_order_of_rows_nor_on_units(share):
    rows = ladder_table(share=share)
    whole = Ladder.flat(rows, 5, 0.5, 1e-5)
    order = torch.as_tensor(np.random.RandomState(0).permutation(rows.z.shape[1]))
    other = Ladder.flat(
        LadderRows(rows.z[:, order], rows.weight, rows.center, rows.spread), 5, 0.5, 1e-5
    )
    torch.testing.assert_close(
        log_densities(other.rungs, rows.z), log_densities(whole.rungs, rows.z), rtol=1e-6, atol=1e-6
    )
    size, shift = 4.0, 3.0  # of all columns, so that the longest axes remain the longest
    moved = LadderRows(
        size * rows.z + shift, rows.weight, size * rows.center + shift, size * rows.spread
    )
    other = Ladder.flat(moved, 5, 0.5, 1e-5)
    n_seen = (~torch.isnan(rows.z)).sum(0).double()
    found = log_densities(other.rungs, moved.z) + n_seen * np.log(size)
    torch.testing.assert_close(found, log_densities(whole.rungs, rows.z), rtol=1e-6, atol=1e-6)


def test_stacking_weights():
    rng = np.random.RandomState(0)
    x = rng.standard_normal(4000)
    values = np.array([stats.norm.logpdf(x, m, s) for m, s in ((0, 1), (2, 1), (0, 3))])
    weight = torch.ones(4000, dtype=torch.float64)
    prior = torch.full((3,), 0.1, dtype=torch.float64)
    shares = stacking_weights(torch.as_tensor(values), weight, prior)
    assert shares.sum() == pytest.approx(1)
    assert (shares > 0).all()
    assert shares[0] > 0.95
    # Two halves of the rows, each from one density: even shares, whatever the weights' size.
    mixed = np.concatenate([x[:2000] - 4, x[2000:] + 4])
    values = np.array([stats.norm.logpdf(mixed, m) for m in (-4, 4)])
    np.testing.assert_allclose(
        stacking_weights(torch.as_tensor(values), weight, prior[:2]), [0.5, 0.5], atol=1e-3
    )
    weight[:2000] = 3
    np.testing.assert_allclose(
        stacking_weights(torch.as_tensor(values), weight, prior[:2]), [0.75, 0.25], atol=1e-3
    )
    # Rows that do not tell leave the prior's shares.
    prior = torch.tensor([3.0, 1.0], dtype=torch.float64)
    values = torch.zeros(2, 4000, dtype=torch.float64)
    np.testing.assert_allclose(stacking_weights(values, weight, prior), [0.75, 0.25])


@pytest.mark.parametrize("n", [1, 2, 3, 30, 300])
@pytest.mark.parametrize("held_out", [False, True])
def test_ladders_of_few_rows(n, held_out):
    rows = ladder_table(n, share=0.2)
    rows = LadderRows(rows.z, rows.weight, torch.zeros(3).double(), torch.ones(3).double())
    rows = rows.of(~torch.isnan(rows.z).all(0))
    sizes = ladder_sizes(10, n, 3)
    beside = ladder_table(250, seed=1) if held_out else None
    ladder = Ladder.fit(rows, sizes, 0.5, 1e-5, beside, np.random.RandomState(0))
    assert ladder.n_units == sum(sizes) + 1
    assert ladder.unit_weights.sum() == pytest.approx(1)
    assert (ladder.unit_weights > 0).all()
    assert torch.isfinite(log_densities(ladder.rungs, rows.z)).all()


@pytest.mark.parametrize("n", [2, 30, 300])
@pytest.mark.parametrize("n_held_out", [0, 20, 250])
def test_stacked_log_likelihoods(n, n_held_out):
    """What a ladder would be judged by, without the ladder: held-out rows, or rows left out."""
    rows, sizes = ladder_table(n, share=0.2), [1, 2, 4]
    rows = rows.of(~torch.isnan(rows.z).all(0))
    beside = ladder_table(n_held_out, seed=1) if n_held_out else None
    how = sizes, 0.5, 1e-5
    found = stacked_log_likelihood(rows, *how, beside, np.random.RandomState(0))
    ladder = Ladder.fit(rows, *how, beside, np.random.RandomState(0))
    if n_held_out == 250:
        unseen, weight = log_densities(ladder.rungs, beside.z), beside.weight
    else:
        folds = np.random.RandomState(0).permutation(len(rows.weight)) % min(5, len(rows.weight))
        unseen = torch.empty(len(sizes) + 1, len(rows.weight), dtype=torch.float64)
        weight = rows.weight
        for fold in np.unique(folds):
            here = torch.as_tensor(folds == fold)
            part = Ladder.fit(rows.of(~here), *how, ladder_table(250), np.random.RandomState(0))
            unseen[:, here] = log_densities(part.rungs, rows.z[:, here])
    expected = (unseen + ladder.shares.log().unsqueeze(1)).logsumexp(0)
    assert found == pytest.approx(float(expected @ weight / weight.sum()))


@pytest.mark.parametrize("n_held_out", [0, 250])
def test_larger_mixtures_are_not_tried_once_two_in_a_row_are_worse(n_held_out):
    """Rows of one normal density: what the first mixtures lose on unseen rows ends the search."""
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(3, 40 + n_held_out, generator=generator, dtype=torch.float64)
    whole = torch.zeros(3).double(), torch.ones(3).double()
    rows = LadderRows(z[:, :40], torch.ones(40).double(), *whole)
    beside = LadderRows(z[:, 40:], torch.ones(n_held_out).double(), *whole)
    sizes, tried = [1, 2, 4, 8, 16], []
    arguments = sizes, 0.5, 1e-5, beside, np.random.RandomState(0)
    found = stacked_log_likelihood(rows, *arguments, tried.append)
    n_ladders = 1 if n_held_out else 5
    assert tried == sorted(tried)
    assert max(tried) < 16
    assert tried.count(2) == tried.count(max(tried)) == n_ladders
    ladder = Ladder.fit(rows, *arguments)
    assert [len(rung.log_weights) for rung in ladder.rungs] == [*sizes, 1]
    assert (ladder.shares > 0).all()
    assert ladder.shares[-2] < 1e-3
    assert np.isfinite(found)
    if n_held_out:
        untried = len(sizes) - sizes.index(max(tried)) - 1
        unseen = log_densities(ladder.rungs, beside.z)
        unseen[-1 - untried : -1] = -torch.inf
        expected = (unseen + ladder.shares.log().unsqueeze(1)).logsumexp(0).mean()
        assert found == pytest.approx(float(expected))


@pytest.mark.parametrize("d", [1, 5, 62, 63, 70])
def test_patterns_of_missing_cells(d):
    generator = torch.Generator().manual_seed(d)
    missing = torch.rand(d, 200, generator=generator) < 1.5 / d
    found = patterns_of(missing)
    expected = torch.unique(missing, dim=1, return_inverse=True, return_counts=True)
    for one, other in zip(found, expected, strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("K", [3, 4])
def test_a_circuit_has_the_density_of_its_ladder(K):
    """With units left over, or none; and again after its root has learned something else."""
    circuit = random_circuit(joint_regions(3, range(3), 2), {Normal(): [0, 1, 2]}, K, layer="cp")
    (group,) = circuit.joint_groups
    z = ladder_table(100, share=0.3).z
    rows = ladder_rows(group, z, None)
    ladder = Ladder.fit(rows, [1, 2], 0.5, 1e-5, None, np.random.RandomState(0))
    set_joint_densities(circuit, ladder)
    seen = ~torch.isnan(z).all(0)
    assert rows.z.shape[1] == int(seen.sum()) < 100
    expected = (log_densities(ladder.rungs, z) + ladder.shares.log().unsqueeze(1)).logsumexp(0)
    torch.testing.assert_close(circuit.log_prob(z.T), expected, rtol=1e-9, atol=1e-9)
    terms = root_terms(circuit)
    rung = group.prior.pool.view(terms.shape)
    set_root_terms(circuit, terms * torch.tensor([0.5, 1.5, 0.1])[rung])
    again = restacked(circuit, ladder)
    assert root_terms(again).sum() == pytest.approx(1)
    torch.testing.assert_close(again.log_prob(z.T), expected, rtol=1e-9, atol=1e-9)


def test_two_equal_columns():
    rows = ladder_table(100, d=2)
    z = torch.cat([rows.z, rows.z[:1]])
    twin = LadderRows(z, rows.weight, rows.center[[0, 1, 0]], rows.spread[[0, 1, 0]])
    for rung in fit_rungs(twin, [1, 2, 4], 0.5, 1e-5):
        assert isinstance(rung.normals, MultivariateNormal)
        assert torch.isfinite(rung.log_density(z)).all()


def assert_same_rungs(rows, sizes, monkeypatch, floor=1e-5):
    """The compiled steps, and those of torch. That pairs of tiny shares are left out makes a
    difference of their size, which grows from step to step."""
    compiled = fit_rungs(rows, sizes, 0.5, floor)
    monkeypatch.setattr("sklearn_einet.learning.normal_ladder.MOST_PAIRS", 0)
    for found, expected in zip(compiled, fit_rungs(rows, sizes, 0.5, floor), strict=True):
        n = len(expected.log_weights)
        tolerance = 1e-8 if n <= 2 else 1e-3
        a, b = (rung.log_density(rows.z) for rung in (found, expected))
        torch.testing.assert_close(a, b, rtol=0, atol=tolerance, msg=f"{n} components")
        assert float((a - b).mean()) == pytest.approx(0, abs=tolerance / 10)
        width = expected.scale.diagonal().sqrt()
        error = (found.scale - expected.scale) / torch.outer(width, width)
        assert float(error.abs().max()) < 10 * tolerance


def ladder_cells(n, share, d=3):
    """Rows in some narrow clusters; one in five lacks the same cells as others do."""
    rng = np.random.RandomState(5)
    z = 4 * rng.standard_normal((12, d))[rng.randint(12, size=n)]
    z += rng.standard_normal((n, d)) * rng.uniform(0.05, 1, size=d)
    patterns = rng.uniform(size=(3, d)) < 0.5
    patterns[:, -1] = False
    z[(rng.uniform(size=(n, 1)) < share) & patterns[rng.randint(3, size=n)]] = np.nan
    return torch.as_tensor(z.T.copy())


@pytest.mark.parametrize("share", [0.0, 0.2, 1.0])
@pytest.mark.parametrize("n", [1, 2, 9, 2500])
@pytest.mark.parametrize("d", [1, 3, 8, 40])
def test_compiled_steps_of_ladders_are_those_of_torch(n, d, share, monkeypatch):
    """Most components have no share in most of the 2,500 rows, which are left out by lists."""
    z = ladder_cells(n, share, d)
    weight = torch.as_tensor(np.random.RandomState(1).randint(0, 3, size=n)).double()
    # Of columns without any cell, none is as wide as another: one axis is the longest.
    center, spread = torch.zeros(d).double(), torch.linspace(4, 5, d).double()
    rows = LadderRows(z, weight, center, spread)
    # More components of so many columns may go to other places, by the last digits of their shares.
    sizes = [1, 2, 4, 8] if d == 40 else [1, 2, 4, 8, 16, 32]
    assert_same_rungs(rows, sizes, monkeypatch)


@pytest.mark.parametrize("unit", [1e-9, 1e9])
def test_compiled_steps_of_ladders_in_any_unit(unit, monkeypatch):
    z = ladder_cells(300, 0.2)
    z[0] *= unit
    spread = torch.tensor([4 * unit, 4, 4]).double()
    rows = LadderRows(z, torch.ones(300).double(), torch.zeros(3).double(), spread)
    assert_same_rungs(rows, [1, 2, 4, 8], monkeypatch)


@pytest.mark.parametrize("column", ["constant", "twin", "two values"])
def test_compiled_steps_of_ladders_without_any_width(column, monkeypatch):
    z = ladder_cells(300, 0.0)
    z[0] = {"constant": torch.full_like(z[0], 2.0), "twin": z[1]}.get(column, z[0].sign())
    center, spread = torch.zeros(3).double(), torch.full((3,), 4.0).double()
    rows = LadderRows(z, torch.ones(300).double(), center, spread)
    assert_same_rungs(rows, [1, 2, 4, 8, 16], monkeypatch)


def test_a_floor_that_matters_is_left_to_torch(monkeypatch):
    z = ladder_cells(300, 0.2)
    z[0] = z[1]
    center, spread = torch.zeros(3).double(), torch.full((3,), 4.0).double()
    rows = LadderRows(z, torch.ones(300).double(), center, spread)
    assert_same_rungs(rows, [1, 2, 4, 8], monkeypatch, floor=0.1)


def test_compiled_steps_of_ladders_are_those_of_any_threads(monkeypatch):
    rows = LadderRows(
        ladder_cells(5000, 0.2),
        torch.ones(5000).double(),
        torch.zeros(3).double(),
        torch.full((3,), 4.0).double(),
    )
    found = []
    for n_threads in (1, 2, 5):
        monkeypatch.setattr("sklearn_einet.native.calls.n_threads", lambda n=n_threads: n)
        found.append(fit_rungs(rows, [1, 2, 4, 8, 16, 32, 64], 0.5, 1e-5))
    for other in found[1:]:
        for a, b in zip(found[0], other, strict=True):
            assert torch.equal(a.normals.covariance, b.normals.covariance)
            assert torch.equal(a.log_weights, b.log_weights)

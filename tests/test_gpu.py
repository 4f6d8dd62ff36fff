"""What a GPU needs, and what can be said of it without one."""

import copy

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from sklearn_einet import EinetDensity, EinetMixture, EinetOutlierDetector
from sklearn_einet.circuit.backend import VARIABLE
from sklearn_einet.families import Bernoulli, Categorical, Normal
from sklearn_einet.learning.expectation_maximization import step
from sklearn_einet.learning.statistics import expected_statistics, prior_statistics
from tests.helpers.circuits import (
    Structure,
    hidden_trees,
    irregular_graph,
    random_circuit,
    tree_graph,
)

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
X = load_digits().data[:600, 10:40]
X_GAPS = np.where(np.random.RandomState(0).rand(*X.shape) < 0.1, np.nan, X)

CONFIGURATIONS = [
    {"structure": "chow-liu"},
    {"structure": "chow-liu", "layer": "tucker", "K": 6},
    {"structure": "binary-trees", "replicas": 3, "layer": "cp"},
    {"structure": "binary-trees", "replicas": 3, "layer": "tucker", "K": 5},
    {"structure": "poon-domingos", "image_shape": (5, 6), "delta": 2, "K": 4},
    {"structure": "quad-tree", "image_shape": (5, 6), "K": 4},
    {"structure": "quad-graph", "image_shape": (5, 6), "K": 4},
    {"leaf": {"categorical": [0, 1, 2], "poisson": [3, 4]}},
]


def without_data(circuit):
    """The circuit, of the torch backend, with tensors that have shapes but no numbers: none can be
    read by the host."""
    result = circuit.to("cpu")
    result.device = torch.device("meta")
    result.weights = [w.to("meta") for w in circuit.weights]
    result.leaf_groups = [copy.copy(group) for group in circuit.leaf_groups]
    for group in result.leaf_groups:
        for name, value in vars(group).items():
            if isinstance(value, torch.Tensor):
                setattr(group, name, value.to("meta"))
    return result


class Transfers(torch.utils._python_dispatch.TorchDispatchMode):
    """The operations that bring tensors from the host to the device."""

    def __init__(self):
        super().__init__()
        self.found = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        tensors = [a for a in args if isinstance(a, torch.Tensor)]
        is_moved = any(t.device.type == "cpu" for t in tensors)
        if is_moved and isinstance(result, torch.Tensor) and result.device.type == "meta":
            self.found.append(str(function))
        return result


@pytest.mark.parametrize(
    "graph",
    [
        Structure(tree_graph(4, 2, 2), "tucker"),
        Structure(tree_graph(4, 2, 2), "cp"),
        Structure(irregular_graph(), "tucker"),
        Structure(irregular_graph(), "cp"),
        Structure(hidden_trees(), "cp"),
    ],
    ids=str,
)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("pseudocount", [0.0, 0.1])
def test_a_step_neither_waits_for_the_device_nor_moves_anything_there(
    monkeypatch, graph, weighted, pseudocount
):
    """On tensors without numbers, whatever reads one fails; moves are seen in the second step."""
    monkeypatch.setenv(VARIABLE, "torch")
    families = {Normal(): [0], Bernoulli(): [1], Categorical(3): [2, 3]}
    numbers = random_circuit(graph, families)
    circuit = without_data(numbers)
    x = torch.empty(7, 4, dtype=torch.float64, device="meta")
    weight = torch.empty(7, dtype=torch.float64, device="meta") if weighted else None
    average = prior_statistics(numbers)  # once in a fit
    average.counts = [counts.to("meta") for counts in average.counts]
    average.leaves = [tuple(t.to("meta") for t in pair) for pair in average.leaves]
    for _ in range(2):
        with Transfers() as transfers:
            statistics = expected_statistics(circuit, x, weight)
            step(circuit, average, statistics, 0.1, pseudocount)
            total = statistics + statistics
    assert transfers.found == []
    assert total.log_likelihood.device.type == "meta"
    with pytest.raises(RuntimeError):
        float(total.log_likelihood)


@pytest.mark.gpu
@needs_gpu
@pytest.mark.parametrize("options", CONFIGURATIONS, ids=str)
@pytest.mark.parametrize("solver", ["em", "sem", "adam"])
@pytest.mark.parametrize("table", [X, X_GAPS], ids=["complete", "gaps"])
def test_fits_agree_with_the_cpu(options, solver, table):
    parameters = options | {"solver": solver, "max_iter": 3, "tol": 0, "random_state": 0}
    gpu, cpu = (EinetDensity(device=d, **parameters).fit(table) for d in ("cuda", "cpu"))
    np.testing.assert_allclose(gpu.log_likelihoods_, cpu.log_likelihoods_, rtol=1e-4, atol=1e-2)
    np.testing.assert_allclose(gpu.score_samples(X), cpu.score_samples(X), rtol=1e-3, atol=5e-2)


@pytest.mark.gpu
@needs_gpu
@pytest.mark.parametrize("options", CONFIGURATIONS, ids=str)
def test_queries_agree_with_the_cpu(options):
    model = EinetDensity(max_iter=3, tol=0, random_state=0, device="cpu", **options).fit(X_GAPS)
    other = copy.deepcopy(model).set_params(device="cuda")
    for query in ("score_samples", "feature_scores", "impute", "predict_proba"):
        expected = getattr(model, query)(X_GAPS)
        np.testing.assert_allclose(getattr(other, query)(X_GAPS), expected, rtol=1e-3, atol=1e-2)


@pytest.mark.gpu
@needs_gpu
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("share", [0.0, 0.25])
def test_resident_and_streamed_rows_are_the_same(monkeypatch, weighted, share):
    weight = np.random.RandomState(0).rand(len(X)) + 0.5 if weighted else None
    parameters = {"max_iter": 3, "tol": 0, "random_state": 0, "device": "cuda"}
    expected = EinetDensity(**parameters).fit(X, sample_weight=weight)
    monkeypatch.setattr("sklearn_einet.tables.rows.RESIDENT_SHARE", share)
    found = EinetDensity(**parameters).fit(X, sample_weight=weight)
    np.testing.assert_allclose(found.log_likelihoods_, expected.log_likelihoods_, rtol=1e-5)


@pytest.mark.gpu
@needs_gpu
def test_no_wait_within_an_epoch(monkeypatch):
    """torch raises if anything waits for the GPU between the first batch and the last."""
    from sklearn_einet.learning import expectation_maximization as em

    original, n_calls = em.step, []

    def counted(*arguments):
        original(*arguments)
        n_calls.append(1)
        if len(n_calls) == 2:
            torch.cuda.set_sync_debug_mode("error")
        if len(n_calls) == 15:
            torch.cuda.set_sync_debug_mode("default")

    monkeypatch.setattr(em, "step", counted)
    try:
        EinetDensity(device="cuda", max_iter=1, batch_size=32, early_stopping=False).fit(X)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert len(n_calls) > 15


@pytest.mark.gpu
@needs_gpu
@pytest.mark.parametrize("kind", [EinetMixture, EinetOutlierDetector])
def test_other_estimators(kind):
    gpu, cpu = (kind(max_iter=3, random_state=0, device=d).fit(X) for d in ("cuda", "cpu"))
    assert np.corrcoef(gpu.score_samples(X), cpu.score_samples(X))[0, 1] > 0.99

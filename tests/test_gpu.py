"""Fits and queries on a GPU: on a real one where there is one, else on a simulated one."""

import copy
import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.datasets import load_digits

from sklearn_einet import EinetDensity, EinetImputer, EinetMixture, EinetOutlierDetector
from sklearn_einet.learning import expectation_maximization, gradient
from tests.helpers import people
from tests.helpers.simulated_gpu import SimulatedGpu

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.usefixtures("gpu"),
    pytest.mark.filterwarnings("ignore"),
]
X = load_digits().data[:150, 10:40]
X_GAPS = np.where(np.random.RandomState(0).rand(*X.shape) < 0.1, np.nan, X)

CONFIGURATIONS = [
    {"structure": "chow-liu", "K": 4},
    {"structure": "chow-liu", "layer": "tucker", "K": 6},
    {"structure": "binary-trees", "replicas": 3, "layer": "cp", "K": 4},
    {"structure": "binary-trees", "replicas": 3, "layer": "tucker", "K": 5},
    {"structure": "poon-domingos", "image_shape": (5, 6), "delta": 2, "K": 4},
    {"structure": "quad-tree", "image_shape": (5, 6), "K": 4},
    {"structure": "quad-graph", "image_shape": (5, 6), "K": 4},
    {"structure": "chow-liu", "K": 4, "leaf": {"categorical": [0, 1, 2], "poisson": [3, 4]}},
    {"structure": "joint-normal", "K": 3},
]
FAST = {"max_iter": 3, "tol": 0, "random_state": 0}


@pytest.mark.parametrize("options", CONFIGURATIONS, ids=str)
@pytest.mark.parametrize("solver", ["em", "sem", "adam"])
@pytest.mark.parametrize("table", [X, X_GAPS], ids=["complete", "gaps"])
def test_fits_agree_with_the_cpu(options, solver, table):
    if solver == "adam" and options["structure"] == "joint-normal":
        pytest.skip("joint leaves are fitted by EM only")
    assert_fits_agree(table, **options, solver=solver)


@pytest.mark.parametrize("options", CONFIGURATIONS, ids=str)
def test_queries_of_all_structures_agree_with_the_cpu(options):
    model = EinetDensity(device="cpu", **FAST, **options).fit(X_GAPS)
    other = copy.deepcopy(model).set_params(device="cuda")
    for query in ("score_samples", "feature_scores", "impute", "predict_proba"):
        expected = getattr(model, query)(X_GAPS)
        np.testing.assert_allclose(getattr(other, query)(X_GAPS), expected, rtol=1e-3, atol=1e-2)


def assert_fits_agree(table, **options):
    gpu, cpu = (EinetDensity(device=d, **FAST, **options).fit(table) for d in ("cuda", "cpu"))
    assert gpu.circuit_.device.type == "cuda"
    np.testing.assert_allclose(gpu.log_likelihoods_, cpu.log_likelihoods_, rtol=1e-4, atol=1e-2)
    scores = [model.score_samples(table) for model in (gpu, cpu)]
    np.testing.assert_allclose(*scores, rtol=1e-3, atol=5e-2)
    return gpu


@pytest.mark.parametrize("solver", ["em", "sem", "adam", "sgd"])
def test_fits_of_all_kinds_of_leaves_agree_with_the_cpu(solver):
    """Poisson, gamma, beta, binomial, categorical, normal ones and constants, zeros among them."""
    table = people.FRAME[:200]
    options = {"leaf": people.LEAF, "solver": solver, "K": 3, "structure": "chow-liu"}
    if solver == "sgd":
        options["step_size"] = 1e-3
    circuit = assert_fits_agree(table, **options).circuit_
    assert len({group.family.name for group in circuit.leaf_groups}) > 5


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("share", [0.0, 0.25])
def test_resident_and_streamed_rows_are_the_same(monkeypatch, weighted, share):
    weight = np.random.RandomState(0).rand(len(X)) + 0.5 if weighted else None
    parameters = FAST | {"device": "cuda"}
    expected = EinetDensity(**parameters).fit(X, sample_weight=weight)
    monkeypatch.setattr("sklearn_einet.tables.rows.RESIDENT_SHARE", share)
    found = EinetDensity(**parameters).fit(X, sample_weight=weight)
    np.testing.assert_allclose(found.log_likelihoods_, expected.log_likelihoods_, rtol=1e-5)


@pytest.mark.parametrize("options", CONFIGURATIONS[:-1], ids=str)
@pytest.mark.parametrize("solver", ["sem", "adam"])
def test_no_wait_within_an_epoch(monkeypatch, options, solver):
    """torch raises if anything waits for the GPU from the third step to the 15th of 17."""
    where = expectation_maximization if solver == "sem" else gradient.GradientAscent
    name = "step" if solver == "sem" else "_accumulate"
    original, calls = getattr(where, name), []

    def counted(*arguments):
        result = original(*arguments)
        calls.append(1)
        if len(calls) == 2:
            torch.cuda.set_sync_debug_mode("error")
        if len(calls) == 15:
            torch.cuda.set_sync_debug_mode("default")
        return result

    monkeypatch.setattr(where, name, counted)
    parameters = FAST | options | {"solver": solver, "max_iter": 1, "batch_size": 9}
    try:
        EinetDensity(device="cuda", early_stopping=False, **parameters).fit(X_GAPS)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert len(calls) > 15


# --- every query of every estimator


def frame():
    """Numbers that go together, zeros, counts, categories and dates, a tenth of them missing."""
    rng, n = np.random.RandomState(0), 150
    a = rng.randn(n)
    days = pd.to_timedelta(rng.randint(0, 1000, n), unit="h")
    table = pd.DataFrame(
        {
            "a": a,
            "b": a + 0.3 * rng.randn(n),
            "zeros": np.where(rng.rand(n) < 0.4, 0, rng.exponential(size=n)),
            "kind": np.where(a + rng.randn(n) > 0, "x", "y"),
            "count": rng.poisson(3, n).astype(float),
            "day": pd.Timestamp("2024-01-01") + days,
        }
    ).mask(rng.rand(n, 6) < 0.1)
    return table.astype({"kind": "category"})


FRAME = frame()
EVENT = {"a": (0, 1), "kind": "x"}
MODELS = {
    "auto": EinetDensity(**FAST),
    "binary trees": EinetDensity(structure="binary-trees", layer="tucker", K=4, **FAST),
    "mixture": EinetMixture(n_components=2, **FAST),
    "detector": EinetOutlierDetector(**FAST),
}
QUERIES = {
    "score_samples": lambda m: m.score_samples(FRAME),
    "conditional_score_samples": lambda m: m.conditional_score_samples(FRAME, ["a", "kind"]),
    "feature_scores": lambda m: m.feature_scores(FRAME),
    "feature_scores, marginal": lambda m: m.feature_scores(FRAME, method="marginal"),
    "marginal": lambda m: m.marginal(["b", "kind"]).score_samples(FRAME[["b", "kind"]]),
    "predict": lambda m: m.predict(FRAME),
    "predict_proba": lambda m: m.predict_proba(FRAME),
    "p_values": lambda m: m.p_values(FRAME),
    "drift_p_value": lambda m: m.drift_p_value(FRAME[:60]),
    "explain": lambda m: m.explain(FRAME[:5]),
    "impute": lambda m: m.impute(FRAME),
    "impute, mpe": lambda m: m.impute(FRAME, "mpe"),
    "impute, sample": lambda m: m.impute(FRAME, "sample", random_state=0),
    "sample": lambda m: m.sample(30, random_state=0),
    "sample, given": lambda m: m.sample(30, random_state=0, given=EVENT),
    "sample_conditional": lambda m: m.sample_conditional(FRAME[:9], n_draws=2, random_state=0),
    "mean": lambda m: m.mean(FRAME[:20]),
    "variance": lambda m: m.variance(),
    "covariance": lambda m: m.covariance(),
    "interval_log_proba": lambda m: m.interval_log_proba({"a": 0.0}, {"b": 1.0}),
    "event_log_proba": lambda m: m.event_log_proba(EVENT, {"zeros": 0.0}),
    "bic": lambda m: m.bic(FRAME),
}


@pytest.fixture(scope="module", params=MODELS)
def fitted(request):
    """A model that was fitted on the CPU, and what its queries answer there."""
    model = copy.deepcopy(MODELS[request.param]).set_params(device="cpu").fit(FRAME)
    return model, {name: query(model) for name, query in QUERIES.items()}


def assert_same(found, expected):
    """Answers agree: categories exactly, numbers and dates up to rounding."""
    assert type(found) is type(expected)
    found, expected = (columns_of(each) for each in (found, expected))
    for name, wanted in expected.items():
        if isinstance(wanted.dtype, pd.CategoricalDtype) or wanted.dtype.kind not in "biufM":
            assert found[name].fillna("missing").tolist() == wanted.fillna("missing").tolist()
            continue
        pair = found[name], wanted
        if wanted.dtype.kind == "M":
            pair = [(each - pd.Timestamp("2024-01-01")).dt.total_seconds() / 3600 for each in pair]
        np.testing.assert_allclose(*pair, rtol=1e-3, atol=1e-3)


def columns_of(answer):
    """Return an answer as a DataFrame."""
    if isinstance(answer, pd.DataFrame):
        return answer.astype(object).infer_objects()
    array = np.atleast_1d(np.asarray(answer))
    return pd.DataFrame(array.reshape(len(array), -1)).infer_objects()


@pytest.mark.parametrize("query", QUERIES)
def test_queries_agree_with_the_cpu(gpu, fitted, query):
    model, answers = fitted
    moved = copy.deepcopy(model).set_params(device="cuda")
    found = QUERIES[query](moved)
    if gpu is not None or "sample" not in query.split():  # one rounding error changes a draw
        assert_same(found, answers[query])
    if gpu is not None:
        assert gpu.transfers > 0


@pytest.mark.parametrize("name", MODELS)
def test_fits_of_tables_agree_with_the_cpu(name):
    gpu, cpu = (
        copy.deepcopy(MODELS[name]).set_params(device=d).fit(FRAME) for d in ("cuda", "cpu")
    )
    scores = [model.score_samples(FRAME) for model in (gpu, cpu)]
    np.testing.assert_allclose(*scores, rtol=1e-2, atol=0.1)
    for query in ("score_samples", "impute", "sample", "explain"):
        QUERIES[query](gpu)  # where it was fitted
    loaded = pickle.loads(pickle.dumps(gpu)).set_params(device="cpu")
    np.testing.assert_allclose(loaded.score_samples(FRAME), scores[0], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", ["auto", "detector"])
def test_parts_agree_with_the_cpu(name):
    """Rows that come in parts, on a model that was fitted elsewhere."""
    gpu, cpu = (copy.deepcopy(MODELS[name]).set_params(device=d) for d in ("cuda", "cpu"))
    for model in (gpu, cpu):
        model.fit(FRAME[:75]).partial_fit(FRAME[75:])
    moved = cpu.set_params(device="cuda").partial_fit(FRAME[:75])
    gpu.partial_fit(FRAME[:75])
    scores = [model.score_samples(FRAME) for model in (gpu, moved)]
    np.testing.assert_allclose(*scores, rtol=1e-2, atol=0.1)


def test_imputer_agrees_with_the_cpu():
    gpu, cpu = (EinetImputer(EinetDensity(device=d, **FAST)) for d in ("cuda", "cpu"))
    assert_same(gpu.fit_transform(FRAME), cpu.fit_transform(FRAME))


# --- the simulated GPU has the rules of a real one


@pytest.fixture
def simulated(gpu):
    if gpu is None:
        pytest.skip("there is a real GPU")
    return gpu


def test_simulated_tensors_say_where_they_are(simulated):
    there = torch.arange(6.0, device="cuda").view(2, 3)
    derived = [
        there + 1,
        there[0],
        there.new_zeros(2),
        torch.ones_like(there),
        there.to(torch.int64),
    ]
    assert all(t.device.type == "cuda" and t.is_cuda for t in [there, *derived])
    host = there.cpu()
    assert host.device.type == "cpu"
    assert (host.numpy() == np.arange(6.0).reshape(2, 3)).all()
    assert simulated.waits == ["copied to the host"]
    with pytest.raises(TypeError, match="numpy"):
        there.numpy()
    with pytest.raises(TypeError, match="numpy"):
        np.asarray(there)


@pytest.mark.parametrize(
    "fault",
    [
        lambda there, host: there + host,
        lambda there, host: torch.stack([there, host]),
        lambda there, host: torch.where(there > 1, there, host),
        lambda there, host: there.index_put_((there > -1,), host),
        lambda there, host: host.index_select(0, there.to(torch.int64)),
        lambda there, host: torch.bmm(there.view(1, 2, 2), host.view(1, 2, 2)),
    ],
)
def test_simulated_devices_do_not_mix(simulated, fault):
    there, host = torch.arange(4.0, device="cuda"), torch.arange(4.0)
    with pytest.raises(RuntimeError, match="on a GPU and on the host"):
        fault(there, host)


@pytest.mark.parametrize(
    "wait",
    [
        lambda there: float(there[0]),
        lambda there: bool((there > 1).any()),
        lambda there: there.tolist(),
        lambda there: there[there > 1],
        lambda there: there[[0, 1]],
        lambda there: torch.unique(there),
        lambda there: torch.nonzero(there),
        lambda there: there.repeat_interleave(there.to(torch.int64)),
        lambda there: there.cpu(),
        lambda there: torch.equal(there, there),
    ],
)
def test_simulated_waits_are_counted(simulated, wait):
    there = torch.arange(4.0, device="cuda")
    wait(there)
    assert simulated.waits
    torch.cuda.set_sync_debug_mode("error")
    with pytest.raises(RuntimeError, match="would wait"):
        wait(there)


def test_simulated_devices_are_left_as_they_were():
    before = torch.cuda.is_available, torch.cuda.mem_get_info
    with SimulatedGpu():
        assert torch.cuda.is_available()
    assert (torch.cuda.is_available, torch.cuda.mem_get_info) == before

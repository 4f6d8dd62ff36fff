"""Fits, scores and queries from end to end: the compiled loops and torch agree."""

import os
import pickle
import subprocess
import sys

import numpy as np
import pytest
import torch

from sklearn_einet import EinetDensity, EinetMixture, native
from sklearn_einet.circuit.backend import VARIABLE, choose_backend
from sklearn_einet.native import missing

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

CPU = torch.device("cpu")


def mixed_table():
    """Columns of all kinds, with gaps."""
    rng = np.random.RandomState(0)
    X = rng.randn(200, 6) @ rng.randn(6, 6) / 2
    X[:, 1], X[:, 2] = rng.poisson(3, len(X)), rng.randint(3, size=len(X))
    X[:, 3] = X[:, 0] > 0
    X[rng.rand(*X.shape) < 0.1] = np.nan
    return X


LEAF = {"poisson": [1], "categorical": [2], "bernoulli": [3]}
MODELS = {
    "learned, cp": {"structure": "chow-liu", "layer": "cp"},
    "learned, tucker, full EM": {"structure": "chow-liu", "layer": "tucker", "solver": "em"},
    "random, cp, full EM": {"structure": "binary-trees", "layer": "cp", "solver": "em"},
    "random, tucker": {"structure": "binary-trees", "layer": "tucker"},
    "random, tucker, adam": {"structure": "binary-trees", "layer": "tucker", "solver": "adam"},
    "learned, cp, sgd": {"structure": "chow-liu", "layer": "cp", "solver": "sgd"},
}


def answers(parameters):
    """The answers of a model to every query."""
    X = mixed_table()
    model = EinetDensity(
        K=4,
        max_iter=2,
        leaf=LEAF,
        dtype="float64",
        random_state=0,
        early_stopping=False,
        **parameters,
    ).fit(X)
    some = X[:30]
    low, high = some - 1, some + 1
    return {
        "log-likelihoods": model.log_likelihoods_,
        "score_samples": model.score_samples(X),
        "feature_scores": model.feature_scores(some),
        "interval_log_proba": model.interval_log_proba(low, high),
        "mean": model.mean(some),
        "variance": model.variance(some),
        "covariance": model.covariance(),
        "impute": model.impute(some),
        "mpe": model.impute(some, strategy="mpe"),
        "sample": model.sample(20, random_state=0),
        "sample_conditional": model.sample_conditional(some, n_draws=2, random_state=0),
        "marginal": model.marginal([0, 2]).score_samples(X[:, [0, 2]]),
    }


@pytest.mark.skipif(not native.available(), reason="the extension is not built")
@pytest.mark.parametrize("name", MODELS)
def test_backends_agree(name, monkeypatch):
    found = {}
    for backend in ("native", "torch"):
        monkeypatch.setenv(VARIABLE, backend)
        found[backend] = answers(MODELS[name])
    for query, expected in found["torch"].items():
        np.testing.assert_allclose(
            found["native"][query], expected, rtol=1e-6, atol=1e-8, err_msg=query
        )


@pytest.mark.skipif(not native.available(), reason="the extension is not built")
def test_mixtures_agree(monkeypatch):
    found = {}
    for backend in ("native", "torch"):
        monkeypatch.setenv(VARIABLE, backend)
        model = EinetMixture(n_components=2, K=3, max_iter=2, refine_iter=2, random_state=0)
        found[backend] = model.fit(mixed_table()).predict_proba(mixed_table())
    np.testing.assert_allclose(found["native"], found["torch"], rtol=1e-3, atol=1e-4)


LOAD = """
import pickle, sys
import numpy as np
model, X, expected = pickle.load(open(sys.argv[1], "rb"))
assert model.circuit_.backend.name == "torch"
np.testing.assert_allclose(model.score_samples(X), expected, rtol=1e-9, atol=1e-9)
model.fit(X)
"""


def test_models_load_where_torch_computes(tmp_path):
    """Whatever computed them: the backend is chosen when they are loaded."""
    X = mixed_table()
    model = EinetDensity(K=3, max_iter=1, leaf=LEAF, random_state=0).fit(X)
    path = tmp_path / "model.pickle"
    path.write_bytes(pickle.dumps((model, X, model.score_samples(X))))
    environment = os.environ | {VARIABLE: "torch"}
    subprocess.run([sys.executable, "-c", LOAD, str(path)], env=environment, check=True)


def test_choice(monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    fastest = "native" if native.available() else "torch"
    assert choose_backend(CPU, torch.float32).name == fastest
    assert choose_backend(torch.device("cuda"), torch.float32).name == "torch"
    assert choose_backend(CPU, torch.bfloat16).name == "torch"
    monkeypatch.setenv(VARIABLE, "torch")
    assert choose_backend(CPU, torch.float64).name == "torch"


def test_impossible_choices_are_errors(monkeypatch):
    monkeypatch.setenv(VARIABLE, "native")
    with pytest.raises(RuntimeError, match=r"asks for the compiled loops, but they compute in"):
        choose_backend(torch.device("cuda"), torch.float32)
    for module in (native, missing):
        monkeypatch.setattr(module, "available", lambda: False)
    with pytest.raises(RuntimeError, match="the compiled loops, but they are missing: "):
        choose_backend(CPU, torch.float32)
    monkeypatch.setenv(VARIABLE, "auto")
    assert choose_backend(CPU, torch.float32).name == "torch"
    monkeypatch.setenv(VARIABLE, "compiled")
    with pytest.raises(ValueError, match="must be one of"):
        choose_backend(CPU, torch.float32)

"""Threads of the compiled part: the same results, whoever computes, and however often."""

from __future__ import annotations

import os
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from torch import Tensor

from sklearn_einet import EinetDensity
from sklearn_einet.native.threads import n_threads, torch_alone
from tests.helpers.kernels import einsum

pytestmark = pytest.mark.usefixtures("compiled")

# Enough of it to wake other threads.
N, K, BATCH = 20, 24, 400


@pytest.fixture
def many_threads(monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 4)


def products(seed: int) -> Tensor:
    """Return what is computed on several threads."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(2 * N, K, BATCH, generator=generator)
    weights = torch.rand(N, K, K, K, generator=generator)
    logs, _ = einsum(x, weights)
    return logs


def test_programs_that_compute_at_the_same_time(many_threads):
    """One of them has the other threads, the rest do without."""
    expected = [products(seed) for seed in range(8)]
    with ThreadPoolExecutor(8) as pool:
        for _ in range(5):
            for a, b in zip(pool.map(products, range(8)), expected, strict=True):
                assert torch.equal(a, b)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs forks")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_forked_process_has_threads_of_its_own(many_threads):
    """Those of the parent are not there, and must not be waited for."""
    expected = products(0)
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        os._exit(0 if torch.equal(products(0), expected) else 1)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert torch.equal(products(0), expected)


def test_a_fit_is_the_same_with_any_number_of_threads(monkeypatch):
    """To the last digit: joint densities, trees, and stochastic EM of many rows."""
    draws = np.random.RandomState(0)
    X = draws.randn(3000, 6) @ draws.randn(6, 6)
    X = np.column_stack([X, np.round(X[:, 0]), draws.randint(0, 3, 3000)])
    X[draws.rand(*X.shape) < 0.05] = np.nan
    scores = []
    for threads in (1, 2, 7):
        monkeypatch.setattr(torch, "get_num_threads", lambda threads=threads: threads)
        model = EinetDensity(K=64, max_iter=4, random_state=0)
        with pytest.warns():
            model.fit(X)
        scores.append(model.score_samples(X))
    np.testing.assert_array_equal(scores[0], scores[1])
    np.testing.assert_array_equal(scores[0], scores[2])


def test_torch_alone_is_for_the_calling_thread(monkeypatch):
    """The compiled part goes on with its threads, and no other thread notices."""
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        with ThreadPoolExecutor(1) as other, torch_alone():
            assert (torch.get_num_threads(), n_threads()) == (1, 3)
            assert other.submit(torch.get_num_threads).result() == 3
            with torch_alone():
                assert (torch.get_num_threads(), n_threads()) == (1, 3)
            assert n_threads() == 3
        assert torch.get_num_threads() == n_threads() == 3
        with pytest.raises(KeyError), torch_alone():
            raise KeyError
        assert torch.get_num_threads() == n_threads() == 3
    finally:
        torch.set_num_threads(before)

import warnings

import pytest
import torch

from sklearn_einet import native
from sklearn_einet.circuit.backend import VARIABLE
from sklearn_einet.learning.compiled_steps import CompiledSteps
from tests.helpers.simulated_gpu import SimulatedGpu

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    native.warn_if_missing()  # which it does once: here, and not in whichever test comes first


@pytest.fixture(params=["native", "torch"])
def backend(request, monkeypatch):
    """Both backends, for circuits that are made in the test."""
    if request.param == "native" and not native.available():
        pytest.skip("the extension is not built")
    monkeypatch.setenv(VARIABLE, request.param)
    return request.param


@pytest.fixture
def compiled(monkeypatch):
    """The compiled loops, whatever the environment says."""
    if not native.available():
        pytest.skip("the extension is not built")
    monkeypatch.setenv(VARIABLE, "native")


@pytest.fixture(params=["avx512", "avx2", "generic"])
def instructions(request, compiled):
    """All variants of the compiled loops that the processor can run."""
    if request.param not in native.instruction_sets():
        pytest.skip(f"no compiled loops for {request.param}")
    before = native.instruction_set()
    native.use(request.param)
    yield request.param
    native.use(before)


def pytest_addoption(parser):
    parser.addoption("--every", type=int, default=1, metavar="N", help="run every N-th test only")


def pytest_collection_modifyitems(config, items):
    chosen = items[:: config.getoption("--every")]
    config.hook.pytest_deselected(items=list(set(items) - set(chosen)))
    items[:] = chosen


@pytest.fixture
def gpu():
    """The device "cuda": None if there is a GPU, otherwise a simulated one."""
    if torch.cuda.is_available():
        yield None
    else:
        with SimulatedGpu() as simulated:
            yield simulated


@pytest.fixture
def by_steps(monkeypatch):
    """Epochs of stochastic EM step by step, and not as one compiled call."""
    monkeypatch.setattr(CompiledSteps, "of", classmethod(lambda *arguments: None))

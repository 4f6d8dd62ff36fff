import pytest

from sklearn_einet import native
from sklearn_einet.native import products


@pytest.fixture(params=["compiled", "torch"])
def implementation(request, monkeypatch):
    """Both ways to compute the layers."""
    if request.param == "torch":
        monkeypatch.setattr(products, "native", None)
    elif products.native is None:
        pytest.skip("the extension is not built")


@pytest.fixture(params=["avx512", "avx2", "generic"])
def instructions(request):
    """All variants of the compiled loops that the processor can run."""
    if request.param not in native.instruction_sets():
        pytest.skip(f"no compiled loops for {request.param}")
    before = native.instruction_set()
    native.use(request.param)
    yield request.param
    native.use(before)


@pytest.fixture
def by_torch(monkeypatch):
    """Call a function with torch in place of the compiled loops."""

    def call(function, *arguments):
        with monkeypatch.context() as patch:
            patch.setattr(products, "native", None)
            return function(*arguments)

    return call


def pytest_addoption(parser):
    parser.addoption("--every", type=int, default=1, metavar="N", help="run every N-th test only")


def pytest_collection_modifyitems(config, items):
    chosen = items[:: config.getoption("--every")]
    config.hook.pytest_deselected(items=list(set(items) - set(chosen)))
    items[:] = chosen

import pytest

from sklearn_einet.native import products


@pytest.fixture(params=["compiled", "torch"])
def implementation(request, monkeypatch):
    """Both ways to compute the layers."""
    if request.param == "torch":
        monkeypatch.setattr(products, "native", None)
    elif products.native is None:
        pytest.skip("the extension is not built")


@pytest.fixture(params=["AVX-512", "AVX2"])
def instructions(request):
    """Both variants of the compiled loops, where the processor can run them."""
    if products.native is None:
        pytest.skip("the extension is not built")
    before = products.native.use_avx512(request.param == "AVX-512")
    changed = products.native.use_avx512(request.param == "AVX-512")
    if changed != (request.param == "AVX-512"):
        pytest.skip("the processor has no AVX-512")
    yield
    products.native.use_avx512(before)


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

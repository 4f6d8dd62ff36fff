import pytest

from sklearn_einet.circuit import products


@pytest.fixture(params=["compiled", "torch"])
def implementation(request, monkeypatch):
    """Both ways to compute the layers."""
    if request.param == "torch":
        monkeypatch.setattr(products, "native", None)
    elif products.native is None:
        pytest.skip("the extension is not built")

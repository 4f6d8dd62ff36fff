"""Links from the HTML representation of estimators to their pages."""

import pytest

from sklearn_einet import EinetDensity, EinetImputer, EinetMixture, EinetOutlierDetector

PAGES = "https://sklearn-einet.github.io/sklearn-einet/api/generated/"


@pytest.mark.parametrize(
    "estimator",
    [EinetDensity(), EinetOutlierDetector(), EinetMixture(), EinetImputer()],
    ids=lambda estimator: type(estimator).__name__,
)
def test_html_links_to_the_documentation(estimator):
    name = type(estimator).__name__
    assert f'href="{PAGES}sklearn_einet.{name}.html"' in estimator._repr_html_()


@pytest.mark.parametrize(("module", "name"), [("pyod", "Einet"), ("imblearn", "EinetOverSampler")])
def test_html_of_adapters(module, name):
    pytest.importorskip(module)
    qualified = f"sklearn_einet.contrib.{module}"
    contrib = pytest.importorskip(qualified)
    html = getattr(contrib, name)()._repr_html_()
    assert f'href="{PAGES}{qualified}.{name}.html"' in html


def test_classes_of_users_have_no_link():
    class Mine(EinetDensity):
        pass

    assert PAGES not in Mine()._repr_html_()

"""Warnings about probabilities that numerical integration leaves uncertain."""

import warnings

import numpy as np
import pytest

from sklearn_einet import EinetDensity
from sklearn_einet.families.normal_boxes import LARGE_ERROR
from sklearn_einet.model import boxes, events
from sklearn_einet.model.numerical_errors import warn_of_large_errors


def test_errors_that_are_large():
    with pytest.warns(UserWarning, match="boxes have standard errors of up to 2e-05") as found:
        warn_of_large_errors("boxes", 2 * LARGE_ERROR)
    assert found[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_of_large_errors("boxes", LARGE_ERROR)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_boxes_and_ranges_are_warned_of(monkeypatch):
    X = np.random.RandomState(0).standard_normal((60, 3))
    model = EinetDensity(structure="joint-normal", max_iter=2, tol=1, random_state=0).fit(X)
    for module, name in ((boxes, "interval_log_values"), (events, "event_log_densities")):
        exact = getattr(module, name)
        monkeypatch.setattr(module, name, lambda *args, exact=exact: (*exact(*args)[:-1], 1e-3))
    low = dict.fromkeys(range(3), 0.0)
    with pytest.warns(UserWarning, match="of boxes have standard errors of up to 0.001") as found:
        model.interval_log_proba(low)
    assert [each.filename for each in found] == [__file__]
    with pytest.warns(UserWarning, match="of ranges have standard errors of up to 0.001") as found:
        model.event_log_proba(dict.fromkeys(range(3), (0.0, None)))
    assert {each.filename for each in found} == {__file__}

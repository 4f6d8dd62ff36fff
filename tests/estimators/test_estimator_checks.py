"""scikit-learn's own checks of every public estimator."""

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

from sklearn_einet import EinetDensity, EinetImputer, EinetMixture, EinetOutlierDetector

MINI_BATCHES = {
    "check_sample_weight_equivalence_on_dense_data": (
        "a weighted row is in one minibatch, a repeated one in several"
    )
}


def expected_failures(estimator):
    return {} if getattr(estimator, "solver", "em") == "em" else MINI_BATCHES


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.filterwarnings("ignore:depth=:UserWarning")
@parametrize_with_checks(
    [
        EinetDensity(max_iter=5),
        EinetDensity(
            structure="chow-liu", layer="tucker", solver="em", trim=0.1, max_iter=3, K=2, replicas=2
        ),
        EinetDensity(solver="adam", structure="binary-trees", max_iter=3, K=2, early_stopping=True),
        EinetDensity(structure="joint-normal", max_iter=2, K=2, replicas=2),
        EinetDensity(structure="joint-normal", solver="em", max_iter=2, K=2),
        EinetDensity(structure="auto", max_iter=2, K=2),
        EinetOutlierDetector(replicas=2, K=3),
        EinetMixture(2, structure="binary-trees", max_iter=2, K=2, replicas=2),
        EinetMixture(3, solver="em", max_iter=2, K=2, refine_iter=1),
        EinetImputer(EinetDensity(max_iter=2, K=2)),
        EinetImputer(EinetMixture(2, max_iter=2, K=2), strategy="mpe", random_state=0),
        EinetImputer(EinetDensity(solver="em", max_iter=3, K=2), strategy="sample", random_state=0),
        EinetImputer(
            EinetDensity(max_iter=2, K=2),
            missing_values=-999,
            add_indicator=True,
            keep_empty_features=True,
        ),
    ],
    expected_failed_checks=expected_failures,
)
def test_estimator(estimator, check):
    check(estimator)

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
        EinetDensity(max_iter=20),
        EinetDensity(max_iter=20, solver="em"),
        EinetDensity(max_iter=5, solver="adam"),
        EinetDensity(max_iter=5, solver="sgd", depth=2, replicas=2, K=3, early_stopping=True),
        EinetDensity(structure="chow-liu", layer="tucker", max_iter=10, K=4),
        EinetDensity(structure="chow-liu", replicas=2, solver="em", max_iter=5, K=4),
        EinetDensity(structure="binary-trees", max_iter=10, replicas=2, K=4),
        EinetDensity(trim=0.1, solver="em", max_iter=5, K=4),
        EinetOutlierDetector(max_iter=5),
        EinetMixture(2, max_iter=5),
        EinetMixture(2, structure="binary-trees", max_iter=3, replicas=2, K=3),
        EinetMixture(3, max_iter=5, solver="em", K=3, replicas=2, refine_iter=2),
        EinetMixture(2, depth=0, max_iter=5, n_jobs=2),
        EinetImputer(),
        EinetImputer(EinetMixture(2, max_iter=5, K=4), random_state=0),
        EinetImputer(EinetDensity(max_iter=20, solver="em"), strategy="mpe", random_state=0),
        EinetImputer(EinetDensity(max_iter=20), strategy="sample", random_state=0),
    ],
    expected_failed_checks=expected_failures,
)
def test_estimator(estimator, check):
    check(estimator)

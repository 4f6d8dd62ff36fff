"""Density estimation, outlier detection and imputation for scikit-learn with Einsum Networks."""

from sklearn_einet._show_versions import show_versions
from sklearn_einet._version import __version__
from sklearn_einet.estimators.density import EinetDensity
from sklearn_einet.estimators.detector import EinetOutlierDetector
from sklearn_einet.estimators.imputer import EinetImputer
from sklearn_einet.estimators.mixture import EinetMixture
from sklearn_einet.estimators.saving import TRUSTED_TYPES

__all__ = [
    "TRUSTED_TYPES",
    "EinetDensity",
    "EinetImputer",
    "EinetMixture",
    "EinetOutlierDetector",
    "__version__",
    "show_versions",
]

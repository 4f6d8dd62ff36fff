"""Deep tractable density models for scikit-learn."""

from sklearn_einet._density import EinetDensity
from sklearn_einet._detector import EinetOutlierDetector
from sklearn_einet._imputer import EinetImputer
from sklearn_einet._mixture import EinetMixture
from sklearn_einet._saving import TRUSTED_TYPES
from sklearn_einet._version import __version__

__all__ = [
    "TRUSTED_TYPES",
    "EinetDensity",
    "EinetImputer",
    "EinetMixture",
    "EinetOutlierDetector",
    "__version__",
]

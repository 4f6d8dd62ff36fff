"""Deep tractable density models for scikit-learn."""

from sklearn_einet._density import EinetDensity

__version__ = "0.1.0.dev0"

__all__ = ["EinetDensity"]

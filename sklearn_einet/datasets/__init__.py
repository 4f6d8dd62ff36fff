"""Small tables that come with the package, for examples."""

from sklearn_einet.datasets.titanic import load_titanic

__all__ = ["load_titanic"]

"""Doctests of modules whose optional library is not installed are not collected."""

from importlib.util import find_spec

collect_ignore = [
    f"sklearn_einet/contrib/{library}.py"
    for library in ("imblearn", "pyod")
    if find_spec(library) is None
]

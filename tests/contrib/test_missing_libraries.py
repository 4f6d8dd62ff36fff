"""Modules of `sklearn_einet.contrib` without the library that they are for."""

import importlib
import sys

import pytest


@pytest.mark.parametrize(
    ("module", "imported"),
    [("pyod", "pyod.models.base"), ("imblearn", "imblearn.over_sampling.base")],
)
def test_the_error_names_the_extra(module, imported, monkeypatch):
    monkeypatch.setitem(sys.modules, imported, None)
    monkeypatch.delitem(sys.modules, f"sklearn_einet.contrib.{module}", raising=False)
    with pytest.raises(ImportError, match=rf'pip install "sklearn-einet\[{module}\]"'):
        importlib.import_module(f"sklearn_einet.contrib.{module}")

import sys

import pytest

from sklearn_einet.datasets import load_titanic


def test_the_table_is_what_the_docstring_says():
    titanic = load_titanic()
    assert titanic.shape == (891, 9)
    missing = titanic.isna().sum()
    assert missing[missing > 0].to_dict() == {"age": 177, "deck": 687, "port": 2}
    assert titanic["survived"].dtype == bool
    assert titanic["ticket_class"].unique().tolist() == ["third", "first", "second"]
    assert load_titanic() is not titanic


def test_without_pandas_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match=r"sklearn-einet\[pandas\]"):
        load_titanic()

"""Passengers of the Titanic."""

from __future__ import annotations

from importlib import resources
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["load_titanic"]


def load_titanic() -> pd.DataFrame:
    """Load passengers of the Titanic, a mixed table with missing cells.

    The rows are 891 of the about 1,300 passengers: the part of the passenger list that is widely
    used to teach data analysis, without names and numbers of tickets.

    Returns
    -------
    titanic : pandas.DataFrame of shape (891, 9)
        One row for each passenger. ``survived`` is boolean; ``ticket_class``, ``sex``, ``deck`` and
        ``port`` are strings; ``siblings_spouses`` and ``parents_children`` are counts; ``age`` (in
        years) and ``fare`` (in pounds) are numbers. Cells are missing in ``age`` (177), ``deck``
        (687) and ``port`` (2).

    Raises
    ------
    ImportError
        If pandas is not installed.

    Examples
    --------
    >>> from sklearn_einet.datasets import load_titanic
    >>> titanic = load_titanic()
    >>> titanic.shape
    (891, 9)
    >>> titanic.loc[0, ["sex", "age", "fare"]].to_dict()
    {'sex': 'male', 'age': 22.0, 'fare': 7.25}
    """
    try:
        import pandas as pd
    except ImportError as error:
        raise ImportError(
            'load_titanic needs pandas: pip install "sklearn-einet[pandas]".'
        ) from error
    with resources.files(__package__).joinpath("titanic.csv").open("rb") as file:
        return pd.read_csv(file)

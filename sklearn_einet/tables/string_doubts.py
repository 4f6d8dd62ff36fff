"""Doubts whether columns of strings are categories: they may be numbers, dates or identifiers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

__all__ = ["doubts_about_strings"]

# A column with more categories than this, and than this share of the rows, identifies rows.
MANY_CATEGORIES = 20
MAX_SHARE_OF_CATEGORIES = 0.5

# Strings that mark missing cells, in lower case. "none" and "unknown" may be categories.
MARKS_OF_MISSING = {
    *("", "-", "--", ".", "?", "na", "n/a", "#n/a", "#na", "<na>", "nan", "-nan", "null", "(null)"),
}

# A year, month and day in either order, or a year and month, perhaps with a time of day.
DATE = re.compile(
    r"(\d{4}[-/.]\d{1,2}[-/.]\d{1,2}|\d{1,2}[-/.]\d{1,2}[-/.]\d{4}|\d{4}[-/](0[1-9]|1[0-2]))"
    r"([ T].*)?"
)


def doubts_about_strings(columns: Mapping[Any, list[str]], n_rows: int) -> list[str]:
    """Return why columns of strings may not be categorical.

    Parameters
    ----------
    columns : dict
        The categories of each column, by its name.
    n_rows : int

    Examples
    --------
    >>> doubts_about_strings({"day": ["2026-01-31", "2026-02-28"]}, n_rows=50)[0].partition(".")[0]
    "Column 'day' has dates as strings"
    """
    numeric, dates, all_marks, doubts = [], [], set(), []
    most = max(MANY_CATEGORIES, MAX_SHARE_OF_CATEGORIES * n_rows)
    for name, values in columns.items():
        marks = {value for value in values if value.strip().lower() in MARKS_OF_MISSING}
        has_numbers = 2 * sum(map(_is_number, values)) > len(values)
        has_dates = 2 * sum(map(_is_date, values)) > len(values)
        if has_dates:
            dates.append(name)
        if marks or has_numbers:
            numeric.append(name)
            all_marks |= marks
        if not has_numbers and not has_dates and len(values) > most:
            doubts.append(
                f"Column {name!r} has {len(values)} different strings in {n_rows} rows, too many "
                "to learn from: drop it."
            )
    if dates:
        doubts.insert(0, _dates_as_strings(dates))
    if numeric:
        doubts.insert(0, _numbers_as_strings(numeric, sorted(all_marks)))
    return doubts


def _named(names: list[Any]) -> str:
    """Return the subject and the verb of a sentence about what columns have."""
    if names[1:]:
        return f"Columns {', '.join(map(repr, names))} have"
    return f"Column {names[0]!r} has"


def _dates_as_strings(names: list[Any]) -> str:
    """Return a message about dates that are strings."""
    return (
        f"{_named(names)} dates as strings. Each string becomes a category: convert such columns "
        "with pandas.to_datetime (or parse_dates in read_csv), in polars with str.to_datetime; or "
        "to a categorical dtype if you mean categories."
    )


def _numbers_as_strings(names: list[Any], marks: list[str]) -> str:
    """Return a message about numbers, or marks of missing cells, that are strings."""
    if not marks:
        return (
            f"{_named(names)} numbers as strings. Each string becomes a category: convert such "
            "columns to numbers, or to a categorical dtype if you mean categories."
        )
    listed = ", ".join(map(repr, marks))
    return (
        f"{_named(names)} numbers or marks of missing cells ({listed}) as strings. Each string "
        "becomes a category: marks are drawn as values, not filled as missing cells. Read the "
        f"table with na_values=[{listed}] (pandas.read_csv) or null_values (polars.read_csv), or "
        "convert to a categorical dtype if you mean categories."
    )


def _is_number(text: str) -> bool:
    try:
        return np.isfinite(float(text.replace(",", "")))  # thousands, or a decimal comma
    except ValueError:
        return False


def _is_date(text: str) -> bool:
    return DATE.fullmatch(text.strip()) is not None

"""The UCI tables as DataFrames, as a user would read them, for synthetic.py."""

from __future__ import annotations

import numpy as np
import pandas as pd
from _data import data_folder
from _tables import SOURCES

# What is predicted in each table, and the columns that would give it away.
TARGETS: dict[str, tuple[str, list[str]]] = {
    "adult": ("income", []),
    "california": ("median_house_value", []),
    "titanic": ("Survived", []),
    "bike": ("cnt", ["casual", "registered"]),
    "wine": ("quality", []),
}
# Copies of other columns stay, as a user would leave them in.
DROPPED = {name: SOURCES[name][1] for name in TARGETS} | {"adult": ["split"]}


def frame_of(name: str, max_rows: int | None = None) -> pd.DataFrame:
    """A table: categories by type, whole numbers as int, missing cells where the file has none.

    Repeated rows stay. A "?" is a category, as pandas reads it.
    """
    file, dropped, categories = SOURCES[name]
    dropped = DROPPED.get(name, dropped)
    frame = pd.read_csv(data_folder() / "uci" / file).drop(columns=dropped)
    frame = typed(frame, categories)
    if max_rows is not None and max_rows < len(frame):
        frame = frame.sample(max_rows, random_state=0)
    return frame.reset_index(drop=True)


def typed(frame: pd.DataFrame, categories: list[str]) -> pd.DataFrame:
    """A DataFrame with strings and the columns named as categories, and whole numbers as int."""
    for column in frame:
        values = frame[column]
        if column in categories or not pd.api.types.is_numeric_dtype(values):
            frame[column] = values.astype("category")
        elif values.notna().all() and (values == values.round()).all():
            frame[column] = values.astype(np.int64)
    return frame


def halves(frame: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Training and held-out rows, as many of each."""
    order = np.random.RandomState(0).permutation(len(frame))
    n = len(frame) // 2
    parts = (order[:n], order[n : 2 * n])
    train, held_out = (frame.iloc[rows].reset_index(drop=True) for rows in parts)
    return train, held_out


def numeric(frame: pd.DataFrame) -> list[str]:
    """The columns of numbers."""
    return [column for column in frame if frame[column].dtype != "category"]


def decimals(values: pd.Series) -> int | None:
    """How many decimals a column of numbers has, or None if more than four."""
    x = values.dropna().to_numpy(np.float64)
    for n in range(5):
        if on_grid(x, n).all():
            return n
    return None


def on_grid(x: np.ndarray, n_decimals: int) -> np.ndarray:
    """Which numbers have so many decimals, up to rounding."""
    return np.abs(x - np.round(x, n_decimals)) <= 1e-9 * np.maximum(1, np.abs(x))


def typed_like(drawn: pd.DataFrame, like: pd.DataFrame) -> pd.DataFrame:
    """A drawn DataFrame with the columns and categories of another, and float numbers."""
    columns = {}
    for column in like:
        is_number = like[column].dtype != "category"
        dtype = np.float64 if is_number else like[column].dtype
        columns[column] = drawn[column].astype(dtype).reset_index(drop=True)
    return pd.DataFrame(columns)

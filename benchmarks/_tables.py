"""The UCI tables as numbers: categories coded 0, 1, 2, ..., missing cells NaN."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from _data import data_folder

# What a table is read from, the columns that are left out (identifiers, free text, copies of
# others), and the numeric columns that are really categories.
SOURCES: dict[str, tuple[str, list[str], list[str]]] = {
    "abalone": ("abalone.csv", [], []),
    "adult": ("adult.csv.gz", ["education", "split"], []),
    "bike": (
        "bike_sharing_hour.csv.gz",
        ["instant", "dteday"],
        ["season", "yr", "holiday", "weekday", "workingday", "weathersit"],
    ),
    "california": ("california_housing.csv.gz", [], []),
    "horse_colic": (
        "horse_colic.csv",
        ["hospital_number", "lesion_site", "lesion_subtype", "lesion_code"],
        [
            *["surgery", "age", "temperature_of_extremities", "peripheral_pulse", "cp_data"],
            *["mucous_membranes", "capillary_refill_time", "pain", "peristalsis", "outcome"],
            *["abdominal_distension", "nasogastric_tube", "nasogastric_reflux", "abdomen"],
            *["rectal_examination", "abdominocentesis_appearance", "surgical_lesion"],
        ],
    ),
    "titanic": (
        "titanic.csv",
        ["PassengerId", "Name", "Ticket", "Cabin"],
        ["Survived", "Pclass"],
    ),
    "wine": ("winequality.csv", [], []),
}


@dataclass(frozen=True)
class Table:
    """A table as an array.

    Attributes
    ----------
    X : ndarray of shape (n_rows, n_columns)
    names : list of str
    is_categorical : ndarray of bool of shape (n_columns,)
    """

    X: np.ndarray
    names: list[str]
    is_categorical: np.ndarray


def uci_table(name: str, max_rows: int, seed: int = 0) -> Table:
    """A table without duplicate rows, some of its rows if there are more than asked for."""
    file, dropped, categories = SOURCES[name]
    frame = pd.read_csv(data_folder() / "uci" / file, na_values=["?"])
    frame = frame.drop(columns=dropped).drop_duplicates()
    frame = frame.sample(min(max_rows, len(frame)), random_state=seed)
    is_categorical = np.array(
        [c in categories or not pd.api.types.is_numeric_dtype(frame[c]) for c in frame]
    )
    for column in frame.columns[is_categorical]:
        codes = pd.Categorical(frame[column]).codes
        frame[column] = np.where(codes < 0, np.nan, codes)
    return Table(frame.to_numpy(np.float64), list(frame.columns), is_categorical)

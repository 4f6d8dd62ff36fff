"""How the parameters of a circuit are found."""

from sklearn_einet.learning.expectation_maximization import FullEM, StochasticEM
from sklearn_einet.learning.fitting import History, Solver, fit_circuit
from sklearn_einet.learning.gradient import GradientAscent
from sklearn_einet.learning.initialization import initialize, rows_to_look_at
from sklearn_einet.learning.rows import Rows
from sklearn_einet.learning.stored import StoredRows, StoredTable, is_stored, native_dtype

__all__ = [
    "FullEM",
    "GradientAscent",
    "History",
    "Rows",
    "Solver",
    "StochasticEM",
    "StoredRows",
    "StoredTable",
    "fit_circuit",
    "initialize",
    "is_stored",
    "native_dtype",
    "rows_to_look_at",
]

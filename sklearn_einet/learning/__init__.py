"""Learning the parameters of a circuit."""

from sklearn_einet.learning.expectation_maximization import FullEM, StochasticEM
from sklearn_einet.learning.fitting import (
    History,
    Solver,
    fit_circuit,
    last_steps,
    mean_log_likelihood,
)
from sklearn_einet.learning.gradient import GradientAscent
from sklearn_einet.learning.initialization import initialize, n_initial_rows

__all__ = [
    "FullEM",
    "GradientAscent",
    "History",
    "Solver",
    "StochasticEM",
    "fit_circuit",
    "initialize",
    "last_steps",
    "mean_log_likelihood",
    "n_initial_rows",
]

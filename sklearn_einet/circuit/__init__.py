"""The computation of a circuit from its region graph and leaves."""

from sklearn_einet.circuit.circuit import Circuit, LeafColumns, Parameters
from sklearn_einet.circuit.leaves.grid_cells import GridCells

__all__ = ["Circuit", "GridCells", "LeafColumns", "Parameters"]

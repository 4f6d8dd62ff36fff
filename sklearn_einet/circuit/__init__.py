"""How the regions of a circuit are computed."""

from sklearn_einet.circuit.circuit import Circuit, LeafColumns, Parameters

__all__ = ["Circuit", "LeafColumns", "Parameters"]

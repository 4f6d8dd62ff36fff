"""Layers of a circuit, one kind a file."""

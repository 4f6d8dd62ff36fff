"""Leaf regions of a circuit, one kind of leaf per file."""

"""Leaf regions of a circuit, one kind of leaf a file."""

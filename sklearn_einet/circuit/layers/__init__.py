"""Layers of a circuit, one kind per file."""

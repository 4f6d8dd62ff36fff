"""Queries to a circuit."""

"""Circuits made of circuits."""

"""Circuits made from other circuits."""

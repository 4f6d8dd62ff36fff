"""Tables of all accepted kinds, and their columns as numbers."""

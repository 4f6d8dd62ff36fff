"""A density over a table, in the units of its columns."""

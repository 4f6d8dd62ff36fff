"""What tables may be, and their columns as numbers."""

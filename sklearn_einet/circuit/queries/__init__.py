"""What can be asked of a circuit."""

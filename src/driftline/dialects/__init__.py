"""Foreign formats at the doors, one module each."""

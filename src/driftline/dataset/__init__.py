"""What to read, and how it is decoded: sources to typed tables."""

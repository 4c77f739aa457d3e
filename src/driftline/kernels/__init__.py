"""The inner loops of states: a reference in NumPy; a compiled twin must give the same bits."""

"""Metrics are pure functions of states; every number comes with its interval."""

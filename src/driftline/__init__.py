"""Driftline: an open, self-hosted monitor for machine-learning models in production."""

__version__ = "0.1.0.dev0"

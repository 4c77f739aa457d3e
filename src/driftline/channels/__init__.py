"""Channels: somebody, or something, that can be told of an alarm."""

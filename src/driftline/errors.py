"""What can go wrong, sorted by what the caller can do about it."""

from __future__ import annotations


class DriftlineError(Exception):
    """Every error that Driftline raises on purpose; its message is written for a person."""


class InputError(DriftlineError):
    """What was given is wrong: fix it and call again."""


class NotFound(DriftlineError):  # noqa: N818  it is the name of the condition, as in HTTP
    """The named thing does not exist."""


class Conflict(DriftlineError):  # noqa: N818
    """Somebody else was first: read again, then decide."""


class Unavailable(DriftlineError):  # noqa: N818
    """Something outside does not answer: try later."""


class Corrupt(DriftlineError):  # noqa: N818
    """What was stored is not what was written: call a person."""


class Undefined(DriftlineError):  # noqa: N818
    """A metric has no value here; the message says why."""

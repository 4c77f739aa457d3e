"""What may be a key: names separated by single slashes, none of which leads anywhere else."""

from __future__ import annotations

from driftline.errors import InputError


def checked(key: str) -> str:
    """`key`, if it may be one.

    >>> checked("a/b.jsonl")
    'a/b.jsonl'
    """
    for part in key.split("/"):
        if part.startswith(".") or not part or "\0" in part:
            raise InputError(
                f"key {key!r} is not allowed: the part {part!r} is empty, begins with a dot or holds a null "
                f"character; write names separated by single slashes, without one at either end"
            )
    return key


def hidden(key: str) -> bool:
    """Whether it is none of ours: written by another program, or only for a moment."""
    return any(part.startswith(".") or not part for part in key.split("/"))

"""How a writer is, kept in its folder of the spool: for people who ask while it lives, and after it died."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import msgspec
from msgspec import Struct

STATE = "state.json"


class State(Struct, frozen=True, omit_defaults=True):
    """One writer, as it was when something of this changed last."""

    pid: int
    paused: bool = False
    """Whether the disk was so full that nothing more was spooled, when there was something to spool last."""
    conditional: bool | None = None
    """Whether the store refuses to replace an object that must not be there; None: it is not known yet."""
    failures: int = 0
    """How often something went wrong that nobody foresaw."""
    error: str | None = None
    """What went wrong last …"""
    error_at: datetime | None = None
    """… and when."""


def note(folder: Path, state: State) -> None:
    """Keep the state in the writer's folder. Raises OSError."""
    new = folder / f".{STATE}"
    new.write_bytes(msgspec.json.encode(state))
    new.replace(folder / STATE)


def noted(folder: Path) -> State | None:
    """The state that the writer kept; None where there is none to be read."""
    try:
        return msgspec.json.decode((folder / STATE).read_bytes(), type=State)
    except (OSError, msgspec.MsgspecError, UnicodeError):
        return None

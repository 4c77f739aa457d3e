"""A profile as bytes: the states of a baseline or of a window, to be merged and measured later."""

from __future__ import annotations

import msgspec

from driftline.errors import Corrupt
from driftline.monitors.monitor import Monitor, Profile
from driftline.states.state import States

VERSION = 0


class _File(msgspec.Struct):
    version: int
    columns: list[str]
    states: dict[str, bytes]


def encode_profile(profile: Profile) -> bytes:
    """The profile as bytes; equal profiles give equal bytes."""
    states = {repr(summary): state.encode() for summary, state in profile.states.items()}
    return msgspec.msgpack.encode(_File(VERSION, list(profile.columns), dict(sorted(states.items()))))


def decode_profile(data: bytes, monitor: Monitor, where: str) -> Profile:
    """The profile whose `encode_profile` gave `data`; the monitor's plan says how its states are read.

    Raises:
        Corrupt: `data` is not a profile, or lacks a state that the monitor needs.
    """
    try:
        file = msgspec.msgpack.decode(data, type=_File)
    except msgspec.MsgspecError as why:
        raise Corrupt(f"{where}: not a file of states ({why}); build the baseline again") from why
    if file.version != VERSION:
        raise Corrupt(f"{where}: states of version {file.version}, but this Driftline reads {VERSION}; build it again")
    plan = monitor.plan(file.columns)
    missing = sorted(repr(s) for s in plan if repr(s) not in file.states)
    if missing:
        raise Corrupt(f"{where}: the states lack {missing[0]}, which the {monitor.kind} monitor needs; build it again")
    try:
        states = States({s: s.decode(file.states[repr(s)]) for s in plan})
    except Corrupt as why:
        raise Corrupt(f"{where}: {why}; build the baseline again") from why
    return Profile(states, tuple(file.columns))

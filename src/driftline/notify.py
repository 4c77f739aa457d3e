"""Notices to channels: at least once, in order, with pauses that grow; and why one was held back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from time import monotonic
from typing import Final

from driftline import wire
from driftline.catalog.catalog import Catalog
from driftline.catalog.outbox import Held, Told
from driftline.channels.channel import Channel, Notice, Receipt, SendError

ATTEMPTS: Final = 12
"""So often a notice is tried before it is given up: for about five hours."""
_CRASHES: Final = 2
"""So often a command may take its worker down with it before it is given up."""
_FIRST_PAUSE: Final = timedelta(seconds=30)
_LONGEST_PAUSE: Final = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Delivered:
    """Keys of the notices that were due, by what became of them."""

    sent: tuple[str, ...] = ()
    failed: tuple[str, ...] = ()
    held: tuple[str, ...] = ()
    later: tuple[str, ...] = ()
    """Not sent, but tried again after a pause."""

    def __len__(self) -> int:
        return len(self.sent) + len(self.failed) + len(self.held) + len(self.later)


def deliver(catalog: Catalog, channels: Mapping[str, Channel], now: datetime) -> Delivered:
    """Deliver the notices that are due, and record what became of each.

    A notice that was sent, but not recorded because the process died, is sent again with the same key. Commands run
    to their end here, one after the other.
    """
    done = Delivered()
    specs = catalog.declared.channels()
    began, start = monotonic(), now
    # A claim lasts a minute: counted from the start of a long round, another process would send the notice as well.
    while (told := catalog.outbox.claim(now := start + timedelta(seconds=int(monotonic() - began)))) is not None:
        spec, channel = specs.get(told.channel), channels.get(told.channel)
        if told.attempts > ATTEMPTS and not isinstance(spec, wire.CommandSpec):
            catalog.outbox.failed(told, f"given up after {ATTEMPTS} attempts; the last said: {told.detail}")
            done = replace(done, failed=(*done.failed, told.key))
        elif channel is None or spec is None:
            done = _later(catalog, told, "this process has no such channel; is its configuration complete?", now, done)
        elif isinstance(spec, wire.CommandSpec):
            done = _act(catalog, told, spec, channel, now, done)
        else:
            done = _send(catalog, told, channel, now, done)
    return done


def _send(catalog: Catalog, told: Told, channel: Channel, now: datetime, done: Delivered) -> Delivered:
    try:
        receipt = channel.send(_notice(told))
    except SendError as why:
        if why.permanent or told.attempts >= ATTEMPTS:
            catalog.outbox.failed(told, f"{why} (attempt {told.attempts})")
            return replace(done, failed=(*done.failed, told.key))
        return _later(catalog, told, str(why), now, done)
    catalog.outbox.sent(told, receipt.detail, now)
    return replace(done, sent=(*done.sent, told.key))


def _act(
    catalog: Catalog, told: Told, spec: wire.CommandSpec, channel: Channel, now: datetime, done: Delivered
) -> Delivered:
    starts = catalog.outbox.starts(told)
    if starts > spec.retries + _CRASHES:
        catalog.outbox.failed(told, f"given up: it was started {starts} times, and never reported back")
        return replace(done, failed=(*done.failed, told.key))
    action = catalog.outbox.begin_action(told, spec, now)
    if isinstance(action, Held):
        catalog.outbox.hold(told, action)
        return replace(done, held=(*done.held, told.key))
    began = monotonic()
    result: Receipt | SendError
    try:
        result = channel.send(_notice(told))
    except SendError as why:
        result = why
    ended_at = now + timedelta(seconds=monotonic() - began)
    detail = result.detail if isinstance(result, Receipt) else str(result)
    catalog.outbox.finish_action(action, result.status, detail, ended_at)
    if isinstance(result, Receipt):
        catalog.outbox.sent(told, detail, ended_at)
        return replace(done, sent=(*done.sent, told.key))
    if result.permanent or starts >= spec.retries:
        catalog.outbox.failed(told, f"{detail} (start {starts + 1}, retries: {spec.retries})")
        return replace(done, failed=(*done.failed, told.key))
    return _later(catalog, told, detail, now, done)


def _later(catalog: Catalog, told: Told, why: str, now: datetime, done: Delivered) -> Delivered:
    pause = min(_FIRST_PAUSE * 2 ** min(told.attempts - 1, 20), _LONGEST_PAUSE)
    catalog.outbox.retry(told, why, now + pause)
    return replace(done, later=(*done.later, told.key))


def _notice(told: Told) -> Notice:
    return Notice(told.key, told.alarm, told.alarm_status, told.subject, told.body, told.created_at)

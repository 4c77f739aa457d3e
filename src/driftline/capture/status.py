"""How capture fares: what was seen, kept and lost by endpoint and variant, and what waits on this machine."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Struct

from driftline.capture.buffer import hour_of
from driftline.capture.counters import Counters
from driftline.capture.held import Held, held
from driftline.capture.layout import counters_prefix, name
from driftline.capture.spool import located, spool_root
from driftline.capture.tallies import Place
from driftline.errors import Corrupt, InputError, NotFound, Unavailable

if TYPE_CHECKING:
    from driftline.objects.store import Entry, ObjectStore

_HOUR = timedelta(hours=1)
_AT_ONCE = 8


class Lane(Struct, kw_only=True):
    """One variant of one endpoint, in the hours that were asked for."""

    endpoint: str
    variant: str
    seen: int = 0
    sampled: int = 0
    written: int = 0
    pending: int = 0
    """Chosen, and on their way; of a process that was killed elsewhere, those that it had in its spool."""
    dropped: dict[str, int] = {}
    withheld: dict[str, int] = {}
    per_second: float = 0.0
    """Requests, over the last hour, or over so much of it as there were writers."""
    sampling: list[dict[str, Any]] = []
    """What is asked for now, by writer, where they differ."""
    waiting_files: int = 0
    waiting_bytes: int = 0
    """In the spools of this machine."""
    lag_s: float | None = None
    """The age of the oldest record there; None: nothing waits."""
    error: str | None = None
    """What went wrong last with one of its writers."""
    error_at: datetime | None = None

    @property
    def lost(self) -> int:
        """Chosen requests whose record will never be in the store."""
        return sum(self.dropped.values())


class Process(Struct, kw_only=True):
    """One writer with a folder in a spool of this machine."""

    writer: str
    spool: str
    alive: bool
    """Whether its process lives; what a dead one left is uploaded by the next that captures into this store."""
    pid: int | None = None
    paused: bool = False
    """Whether the disk was too full when there was something to spool last."""
    conditional_writes: bool | None = None
    """Whether the store refuses to replace an object that must not be there; None: it was not asked yet."""
    waiting_files: int = 0
    waiting_bytes: int = 0
    lag_s: float | None = None
    error: str | None = None
    error_at: datetime | None = None


class Status(Struct, kw_only=True):
    """All of it."""

    at: datetime
    since: datetime
    """The start of the first hour that is counted."""
    store: str
    unreachable: str | None = None
    """Why the store's counters are missing."""
    spool: str | None
    endpoints: list[Lane]
    processes: list[Process]


class _Told(Struct, frozen=True):
    """What one writer tells of one hour."""

    place: Place
    counters: Counters
    sampling: dict[str, Any] | None = None
    since: datetime | None = None
    """When the first sampling of it began: the writer is no older, if that is within the hour."""
    error: str | None = None
    error_at: datetime | None = None


def status(
    store: ObjectStore, now: datetime, *, hours: int = 24, spool: Path | None = None, endpoint: str = ""
) -> Status:
    """How capture fares, from the counters in the store and what writers on this machine hold. Changes nothing.

    Args:
        hours: how many hours count, the one that is not over among them.
        spool: the folder of all spools; default: as `Spool` has it.
        endpoint: only this one; empty: all.
    """
    since = hour_of(now) - (hours - 1) * _HOUR
    root = _root(spool)
    here = [] if root is None else list(held(root, located(store)))
    told: dict[tuple[Place, str], _Told] = {}
    unreachable = None
    try:
        told = dict(_stored(store, since, now, endpoint))
    except Unavailable as why:
        unreachable = str(why)
    for key, each in _noted(here, since):
        if endpoint in ("", each.place.endpoint):
            told[key] = _newer(told[key], each) if key in told else each
    lanes = _lanes(told.values(), now)
    _add_waiting(lanes, here, now, endpoint)
    return Status(
        at=now,
        since=since,
        store=store.location("captured").removesuffix("/captured"),
        unreachable=unreachable,
        spool=None if root is None else str(root),
        endpoints=[lanes[key] for key in sorted(lanes)],
        processes=[_process(each, now) for each in here],
    )


def _root(spool: Path | None) -> Path | None:
    try:
        return spool_root(spool)
    except RuntimeError:  # there is no home: no writer of this user spools
        return None


def _stored(
    store: ObjectStore, since: datetime, now: datetime, endpoint: str
) -> Iterator[tuple[tuple[Place, str], _Told]]:
    entries: list[tuple[Place, str, Entry]] = []
    for each in [endpoint] if endpoint else store.folders("captured/"):
        for variant in store.folders(f"captured/{name('endpoint', each)}/"):
            entries += _entries(store, each, variant, since, now)
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        found = pool.map(lambda entry: _get(store, entry[2].key), entries)
        for (place, writer, entry), data in zip(entries, found, strict=True):
            if data:
                yield (place, writer), _decoded(place, entry.key, data)


def _entries(
    store: ObjectStore, endpoint: str, variant: str, since: datetime, now: datetime
) -> Iterator[tuple[Place, str, Entry]]:
    try:
        prefix = counters_prefix(endpoint, variant)
    except InputError:  # somebody else's folder
        return
    day = since.replace(hour=0)
    while day <= now:
        for entry in store.list(f"{prefix}{day:%Y/%m/%d}/"):
            hour, _, file = entry.key.removeprefix(f"{prefix}{day:%Y/%m/%d}/").partition("/")
            at = day + int(hour) * _HOUR if hour.isdecimal() else now
            if since <= at <= now and entry.size and file.endswith(".json"):
                yield Place(endpoint, variant, at), file.removesuffix(".json"), entry
        day += timedelta(days=1)


def _get(store: ObjectStore, key: str) -> bytes:
    try:
        return store.get(key)
    except NotFound:  # it expired meanwhile
        return b""


def _decoded(place: Place, key: str, data: bytes) -> _Told:
    try:
        counters = Counters.decode(data)
        about = msgspec.json.decode(data, type=dict[str, Any])
        samplings = about.get("samplings") or [{}]
        at = about.get("error_at")
        return _Told(
            place,
            counters,
            _without_since(samplings[-1]),
            datetime.fromisoformat(samplings[0]["since"]) if "since" in samplings[0] else None,
            about.get("error"),
            None if at is None else datetime.fromisoformat(at),
        )
    except (Corrupt, msgspec.MsgspecError, TypeError, ValueError, AttributeError, LookupError) as why:
        raise Corrupt(f"object {key!r}: not the counters of a capture: {why}") from why


def _noted(here: Iterable[Held], since: datetime) -> Iterator[tuple[tuple[Place, str], _Told]]:
    for writer in here:
        state = writer.state
        for place, part, counters in writer.counted:
            if place.hour < since:
                continue
            asked = writer.in_force.samplings.told(place.hour, place.hour + _HOUR)
            yield (
                (place, f"{writer.writer}-{part}" if part else writer.writer),
                _Told(
                    place,
                    counters,
                    _without_since(asked[-1]) if asked else None,
                    datetime.fromisoformat(asked[0]["since"]) if asked else None,
                    None if state is None else state.error,
                    None if state is None else state.error_at,
                ),
            )


def _newer(stored: _Told, noted: _Told) -> _Told:
    """Both are of one writer; counts only grow, so of each the larger is the newer."""
    one, other = stored.counters, noted.counters
    counters = Counters(
        max(one.seen, other.seen),
        max(one.sampled, other.sampled),
        max(one.written, other.written),
        _larger(one.dropped, other.dropped),
        _larger(one.withheld, other.withheld),
    )
    return _Told(
        noted.place,
        counters,
        noted.sampling or stored.sampling,
        noted.since or stored.since,
        noted.error or stored.error,
        noted.error_at or stored.error_at,
    )


def _larger(one: Any, other: Any) -> dict[str, int]:
    return {reason: max(one.get(reason, 0), other.get(reason, 0)) for reason in {**one, **other}}


def _lanes(told: Iterable[_Told], now: datetime) -> dict[tuple[str, str], Lane]:
    by_lane: dict[tuple[str, str], list[_Told]] = {}
    for each in sorted(told, key=lambda each: each.place.hour):
        by_lane.setdefault(each.place[:2], []).append(each)
    return {key: _lane(key, found, now) for key, found in by_lane.items()}


def _lane(key: tuple[str, str], told: list[_Told], now: datetime) -> Lane:
    total = Counters()
    for each in told:
        total = total.merge(each.counters)
    latest = [each for each in told if each.place.hour == told[-1].place.hour]
    failed = max((each for each in told if each.error_at), key=lambda each: each.error_at or now, default=None)
    return Lane(
        endpoint=key[0],
        variant=key[1],
        seen=total.seen,
        sampled=total.sampled,
        written=total.written,
        pending=total.pending,
        dropped=dict(total.dropped),
        withheld=dict(total.withheld),
        per_second=_per_second(told, now),
        sampling=_distinct([each.sampling for each in latest if each.sampling]),
        error=None if failed is None else failed.error,
        error_at=None if failed is None else failed.error_at,
    )


def _per_second(told: list[_Told], now: datetime) -> float:
    """Requests per second over the last hour: of the hour before, the share that lies in it counts."""
    hour = hour_of(now)
    passed = (now - hour) / _HOUR
    seen, begun = 0.0, [now]
    for each in told:
        share = 1.0 if each.place.hour == hour else 1.0 - passed if each.place.hour == hour - _HOUR else 0.0
        seen += share * each.counters.seen
        if share:
            begun.append(each.since or each.place.hour)
    span_s = min((now - min(begun)).total_seconds(), _HOUR.total_seconds())
    return seen / max(span_s, 1.0)


def _distinct(samplings: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [each for at, each in enumerate(samplings) if each not in samplings[:at]]


def _without_since(sampling: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in sampling.items() if key != "since"}


def _add_waiting(lanes: dict[tuple[str, str], Lane], here: Iterable[Held], now: datetime, endpoint: str) -> None:
    for file in (file for writer in here for file in writer.waiting):
        if endpoint in ("", file.endpoint):
            key = (file.endpoint, file.variant)
            lane = lanes.setdefault(key, Lane(endpoint=file.endpoint, variant=file.variant))
            lane.waiting_files += 1
            lane.waiting_bytes += file.size
            lane.lag_s = max(lane.lag_s or 0.0, (now - file.since).total_seconds())


def _process(writer: Held, now: datetime) -> Process:
    state = writer.state
    oldest = min((file.since for file in writer.waiting), default=None)
    return Process(
        writer=writer.writer,
        spool=writer.spool,
        alive=writer.alive,
        pid=None if state is None else state.pid,
        paused=state is not None and state.paused,
        conditional_writes=None if state is None else state.conditional,
        waiting_files=len(writer.waiting),
        waiting_bytes=sum(file.size for file in writer.waiting),
        lag_s=None if oldest is None else max((now - oldest).total_seconds(), 0.0),
        error=None if state is None else state.error,
        error_at=None if state is None or state.error_at is None else state.error_at.astimezone(UTC),
    )

"""Erasure: what is kept of single requests is removed: records, labels, dead letters, cache, damaged files."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

import msgspec

from driftline.capture.held import held as spools_held
from driftline.capture.ids import storable
from driftline.capture.spool import damaged_files, located, spool_root
from driftline.dataset.forget import came_of, copy_of, copy_with, forget, forget_copies, holds
from driftline.dataset.lines import ENDINGS
from driftline.dataset.strike import Hits, struck, struck_letters
from driftline.errors import Corrupt, InputError, NotFound
from driftline.objects.audit import PREFIX, noted
from driftline.objects.hold import held
from driftline.runs.lease import Passing
from driftline.runs.retention import LETTERS, prefixes
from driftline.runs.run import Site

HOLD: Final = "holds/erase.json"
_MOST_IDS: Final = 100_000
_MARK: Final = ".erased"
_EVERY: Final = timedelta(hours=1)
_SKEW: Final = timedelta(days=1)
"""So far may the clocks of two machines be apart."""
_NEVER_LOOKED: Final = timedelta(days=30)


@dataclass(frozen=True, slots=True)
class Part:
    """What was erased of one kind; in a dry run: what would be."""

    objects: int = 0
    """Files that were written anew; of the cache: results and copies that were removed."""
    records: int = 0


@dataclass(frozen=True, slots=True)
class Erased:
    """One erasure."""

    dry_run: bool
    captured: Part = Part()
    labels: Part = Part()
    dead_letters: Part = Part()
    cache: Part = Part()
    damaged: Part = Part()
    """Of the files that the spools of this machine keep as damaged."""
    waiting: int = 0
    """Files in these spools that wait for the store: nothing was looked for in them."""
    missing: tuple[str, ...] = ()
    """Ids that no record and no label has."""
    unreadable: tuple[str, ...] = ()
    """Objects that could not be looked into."""
    audit: str | None = None

    def counts(self) -> dict[str, Any]:
        """What went, by kind."""
        return {
            kind: asdict(getattr(self, kind)) for kind in ("captured", "labels", "dead_letters", "cache", "damaged")
        }


def id_digest(request: str) -> str:
    """By what the audit log names a request: whoever knows the id can look it up, and nobody can read it off.

    >>> id_digest("order-17")
    'fe4fc4d03e92bb8b016888d5ab324fcd'
    """
    return hashlib.blake2b(storable(request).encode(), digest_size=16, person=b"driftline-audit").hexdigest()


def erase(
    site: Site,
    ids: Iterable[str],
    now: datetime,
    *,
    endpoint: str | None = None,
    reason: str | None = None,
    dry_run: bool = False,
) -> Erased:
    """Remove what is kept of the requests with these inference ids (or event ids), and note it in the audit log.

    Every object is written anew as a whole, under its own key, so that a crash leaves it as it was or as it will be:
    then it is to be done again. States, statistics and reports are sums over many requests, and stay.

    Args:
        endpoint: only objects of this endpoint; cache and spool are looked through as a whole.
        reason: kept in the audit log: the number of a request, say, nothing that must be erased itself.

    Raises:
        InputError: an id is empty, or there are none or too many.
        Conflict: another erasure is going on.
    """
    asked = frozenset(map(storable, ids))
    empty = sum(not one.strip() for one in asked)
    if empty or not 0 < len(asked) <= _MOST_IDS:
        raise InputError(
            f"there are {len(asked):,} ids, {empty} of them empty; name 1 to {_MOST_IDS:,} that are not empty"
        )
    work = _Erasure(site, asked, endpoint)
    about = {"ids": sorted(map(id_digest, asked)), "endpoint": endpoint, "reason": reason, "dry_run": dry_run}
    if dry_run:
        work.look()
        done = work.told()
        return replace(done, audit=noted(site.store, now, "erase", **about, **done.counts()))
    time = Passing(now)
    with held(site.store, HOLD, time.now) as alive:
        found = work.look(alive)
        # Before anything is changed: who dies in the middle has still left a line, by which other caches are cleaned.
        noted(site.store, time.now(), "erase begun", **about, keys=found)
        done = work.done(alive)
        return replace(done, audit=noted(site.store, time.now(), "erase", **about, **done.counts(), keys=found))


def erased_elsewhere(site: Site, now: datetime) -> int:
    """Remove from this cache what came of objects that another machine erased something of; looks once an hour.

    Returns:
        How many results and copies went.
    """
    mark = site.cache / _MARK
    before = _Seen.load(mark)
    if before is not None and now - before.at < _EVERY:
        return 0
    since = now - _NEVER_LOOKED if before is None else before.at - _SKEW
    days = [since.date() + timedelta(days=n) for n in range((now.date() - since.date()).days + 1)]
    lines = [entry.key for day in days for entry in site.store.list(f"{PREFIX}{day:%Y/%m/%d}/")]
    gone = 0
    for key in lines:
        if before is None or key not in before.lines:
            line = json.loads(site.store.get(key))
            keys = set(line.get("keys", ()))
            if keys:
                gone += forget(site.cache, came_of(keys)).results + forget_copies(site.cache, copy_of(keys))
    site.cache.mkdir(parents=True, exist_ok=True)
    mark.write_bytes(msgspec.json.encode(_Seen(now, frozenset(lines))))
    return gone


class _Seen(msgspec.Struct, frozen=True):
    """The lines of the audit log that were heeded."""

    at: datetime
    lines: frozenset[str]

    @classmethod
    def load(cls, mark: Path) -> _Seen | None:
        try:
            return msgspec.json.decode(mark.read_bytes(), type=cls)
        except (FileNotFoundError, msgspec.MsgspecError):
            return None


class _Erasure:
    """What is to be done, in an order in which a crash leaves nothing that a second try would not find.

    Dead letters may be known by the places of their records alone, and the cache by its sources: the records go last.
    """

    def __init__(self, site: Site, ids: frozenset[str], endpoint: str | None) -> None:
        self._site, self._endpoint = site, endpoint
        self._found: set[str] = set()
        self._unreadable: list[str] = []
        self._hits = Hits(ids, {})
        self._records: dict[str, dict[str, int]] = {}
        """By kind and key, how many records are to go."""

    def look(self, alive: Callable[[], None] = lambda: None) -> list[str]:
        """Find the objects with records and labels of the requests; gives their keys."""
        places: dict[str, frozenset[int] | None] = {}
        self._records = {kind: dict(self._look(kind, places, alive)) for kind in ("captured", "labels")}
        self._hits = Hits(self._hits.ids, places)
        return list(places)

    def told(self) -> Erased:
        """What would be done."""
        return self._go(lambda: None, dry_run=True)

    def done(self, alive: Callable[[], None]) -> Erased:
        """What was done."""
        return self._go(alive, dry_run=False)

    def _go(self, alive: Callable[[], None], *, dry_run: bool) -> Erased:
        letters = self._letters(alive, dry_run=dry_run)
        cache = self._forget(dry_run=dry_run)
        damaged, waiting = self._spooled(dry_run=dry_run)
        if not dry_run:
            for key in self._hits.places:
                alive()
                self._rewrite(key)
            # Once more: a run may have decoded what was there in between.
            cache += self._forget(dry_run=False)
        return Erased(
            dry_run=dry_run,
            captured=self._part("captured"),
            labels=self._part("labels"),
            dead_letters=letters,
            cache=Part(cache),
            damaged=damaged,
            waiting=waiting,
            missing=tuple(sorted(self._hits.ids - self._found)),
            unreadable=tuple(self._unreadable),
        )

    def _part(self, kind: str) -> Part:
        return Part(len(self._records[kind]), sum(self._records[kind].values()))

    def _forget(self, *, dry_run: bool) -> int:
        cache = self._site.cache
        copies = forget_copies(cache, copy_with(self._hits), dry_run=dry_run)
        return forget(cache, holds(self._hits), dry_run=dry_run).results + copies

    def _spooled(self, *, dry_run: bool) -> tuple[Part, int]:
        """What goes of damaged files in the spools of this machine, and how many others wait there."""
        try:
            root, location = spool_root(), located(self._site.store)
        except RuntimeError:  # there is no home: no writer of this user spools
            return Part(), 0
        part = Part()
        for file in damaged_files(root, location):
            with suppress(FileNotFoundError):  # its days are over
                found = struck(file.read_bytes(), file.name, self._hits.ids)
                if found is not None:
                    self._found |= found.found
                    part = Part(part.objects + 1, part.records + found.records)
                    if not dry_run:
                        kept_since = file.stat().st_mtime
                        file.write_bytes(found.data)
                        os.utime(file, (kept_since, kept_since))
        return part, sum(len(writer.waiting) for writer in spools_held(root, location))

    def _look(
        self, kind: str, places: dict[str, frozenset[int] | None], alive: Callable[[], None]
    ) -> Iterator[tuple[str, int]]:
        """The objects with records of the requests, and how many each has."""
        for key in self._keys(kind, ENDINGS["captured"]):
            alive()
            try:
                found = struck(self._site.store.get(key), key, self._hits.ids)
            except NotFound:  # it was removed since it was listed
                continue
            except Corrupt:
                self._unreadable.append(key)
                continue
            if found is not None:
                self._found |= found.found
                places[key] = found.lines
                yield key, found.records

    def _letters(self, alive: Callable[[], None], *, dry_run: bool) -> Part:
        part = Part()
        for key in self._keys("dead-letters", LETTERS):
            alive()
            try:
                data, count = struck_letters(self._site.store.get(key), self._hits)
            except NotFound:
                continue
            if count:
                part = Part(part.objects + 1, part.records + count)
                if not dry_run:
                    self._site.store.put(key, data)
        return part

    def _rewrite(self, key: str) -> None:
        # Under the same key, even where nothing is left: a capture that was cut off may be about to upload it again.
        store = self._site.store
        try:
            found = struck(store.get(key), key, self._hits.ids)
        except NotFound:
            return
        if found is not None:
            store.put(key, found.data)

    def _keys(self, kind: str, endings: tuple[str, ...]) -> Iterator[str]:
        seen: set[str] = set()
        for prefix in prefixes(self._site.catalog, kind, self._endpoint):
            for entry in self._site.store.list(prefix):
                if entry.key.lower().endswith(endings) and "/_counters/" not in entry.key and entry.key not in seen:
                    seen.add(entry.key)
                    yield entry.key

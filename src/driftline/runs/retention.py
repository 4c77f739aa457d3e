"""Retention: what is older than its time is removed, unless a window that is still open needs it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from driftline.capture.layout import captured_prefix, label_prefix
from driftline.catalog.catalog import Catalog
from driftline.dataset.compact import ACCOUNT
from driftline.dataset.forget import came_of, copy_of, forget, forget_copies
from driftline.errors import DriftlineError, InputError
from driftline.objects.audit import noted
from driftline.objects.store import Entry
from driftline.runs.gather import Job
from driftline.runs.run import Site, job_of
from driftline.windows import due, duration_text, parse_duration
from driftline.wire import RETAINED

_HOUR: Final = re.compile(r"/(\d{4})/(\d{2})/(\d{2})/(\d{2})/")
_ASKED: Final = re.compile(r"/asked/\d{8}T\d{6}-(\d{4})(\d{2})(\d{2})T(\d{2})\d{4}/")
LETTERS: Final = ("dead_letters.jsonl", "dead_labels.jsonl")
_MARK: Final = ".expired"
_AHEAD: Final = (timedelta(days=2), timedelta(days=40), timedelta(days=800))


@dataclass(frozen=True, slots=True)
class Expiry:
    """What became of one kind of object."""

    kind: str
    keep: timedelta
    objects: int = 0
    """Removed, or in a dry run: to be removed."""
    bytes: int = 0
    needed: int = 0
    """Older than their time, and kept for a window that is still open."""


@dataclass(frozen=True, slots=True)
class Expired:
    """One run of the retention."""

    kinds: tuple[Expiry, ...]
    dry_run: bool
    waiting: Mapping[str, str] = field(default_factory=dict)
    """Monitors for whose open windows something was kept, and since when those are open."""
    audit: str | None = None

    def summary(self) -> dict[str, Any]:
        """For programs."""
        return {
            "dry_run": self.dry_run,
            "removed": {
                e.kind: {"keep": duration_text(e.keep), "objects": e.objects, "bytes": e.bytes, "needed": e.needed}
                for e in self.kinds
            },
            "waiting": dict(self.waiting),
            "audit": self.audit,
        }


@dataclass(frozen=True, slots=True)
class _Guard:
    """Objects that a monitor may still read: those below the prefix from this hour on."""

    prefix: str
    since: datetime
    monitor: str


def declared(catalog: Catalog) -> dict[str, timedelta]:
    """How long each kind is declared to be kept."""
    return {kind: parse_duration(text) for kind, text in catalog.declared.retention().items()}


def expire(
    site: Site,
    keep: Mapping[str, timedelta],
    now: datetime,
    *,
    endpoint: str | None = None,
    dry_run: bool = False,
    force: bool = False,
) -> Expired:
    """Remove what is older than `keep` says of its kind, and note it in the audit log.

    The age of an object counts from the end of the hour in its key. What a window that is still open (its labels may
    come, or it was never looked at) may read is kept, unless `force`. Cached results go with the objects they came of.

    Args:
        keep: by kind: captured (with their counters), labels, reports, dead-letters, cache.
        endpoint: only objects of this endpoint; not for the cache.

    Raises:
        InputError: there is no such kind, or nothing would be kept at all.
    """
    for kind, age in keep.items():
        if kind not in RETAINED or age <= timedelta(0):
            raise InputError(f"{kind} {duration_text(age)}: kinds are {', '.join(RETAINED)}, kept for more than PT0S")
    guards = [] if force else list(_guards(site, now))
    waiting: dict[str, str] = {}
    gone: set[str] = set()
    found: list[Expiry] = []
    for kind in (kind for kind in RETAINED if kind in keep and kind != "cache"):
        one = Expiry(kind, keep[kind])
        for entry in _of_kind(site, kind, endpoint):
            ended = _ended(entry.key)
            if ended is None or ended + keep[kind] > now:
                continue
            guard = next((g for g in guards if entry.key.startswith(g.prefix) and ended > g.since), None)
            if guard is not None:
                waiting[guard.monitor] = f"{guard.since:%Y-%m-%dT%H:%M:%SZ}"
                one = replace(one, needed=one.needed + 1)
                continue
            if not dry_run:
                site.store.delete(entry.key)
            gone.add(entry.key)
            one = replace(one, objects=one.objects + 1, bytes=one.bytes + entry.size)
        found.append(one)
    sources = {key for key in gone if not key.startswith("reports/")}
    if sources or "cache" in keep:
        found.append(_cache(site.cache, keep.get("cache"), sources, now, dry_run=dry_run))
    told = Expired(tuple(found), dry_run, waiting)
    about = {"endpoint": endpoint, "forced": force, **told.summary()}
    return replace(told, audit=noted(site.store, now, "expire", **{k: v for k, v in about.items() if k != "audit"}))


def expire_daily(site: Site, now: datetime) -> Expired | None:
    """Remove what is declared to be too old, once a day and cache; None where nothing is declared or it was done."""
    keep = declared(site.catalog)
    mark = site.cache / _MARK
    today = f"{now:%Y-%m-%d}"
    if not keep or (mark.exists() and mark.read_text() == today):
        return None
    done = expire(site, keep, now)
    site.cache.mkdir(parents=True, exist_ok=True)
    mark.write_text(today)
    return done


def _cache(cache: Path, keep: timedelta | None, gone: set[str], now: datetime, *, dry_run: bool) -> Expiry:
    came = came_of(gone)

    def old(folder: Path) -> bool:
        if gone and came(folder):
            return True
        return keep is not None and any(_made(path) + keep <= now for path in folder.glob("*") if path.name != ACCOUNT)

    found = forget(cache, old, dry_run=dry_run)
    copies = forget_copies(cache, copy_of(gone), dry_run=dry_run)
    return Expiry("cache", timedelta(0) if keep is None else keep, found.results + copies, found.bytes)


def _made(path: Path) -> datetime:
    try:
        return datetime.fromtimestamp(path.stat().st_mtime, UTC)
    except OSError:
        return datetime.max.replace(tzinfo=UTC)


def _of_kind(site: Site, kind: str, endpoint: str | None) -> Iterator[Entry]:
    for prefix in dict.fromkeys(prefixes(site.catalog, kind, endpoint)):
        for entry in site.store.list(prefix):
            letters = entry.key.endswith(LETTERS)
            if kind != "dead-letters" or letters:
                yield entry


def prefixes(catalog: Catalog, kind: str, endpoint: str | None) -> Iterator[str]:
    """Where the objects of a kind lie, those of one endpoint or of all."""
    top = {"captured": "captured/", "labels": "labels/"}.get(kind, "reports/")
    yield top if endpoint is None else f"{top}{endpoint}/"
    for name, spec in catalog.declared.endpoints().items():
        own = {"captured": spec.capture, "labels": spec.labels}.get(kind)
        if own is not None and endpoint in (None, name):
            yield f"{own.rstrip('/')}/"


def _ended(key: str) -> datetime | None:
    """The end of the hour that the object is of; None where its key tells none: it is left alone."""
    found = _ASKED.search(key) or _HOUR.search(key)
    if found is None:
        return None
    try:
        return datetime(*map(int, found.groups()), tzinfo=UTC) + timedelta(hours=1)  # type: ignore[arg-type, misc]
    except ValueError:
        return None


def _guards(site: Site, now: datetime) -> Iterator[_Guard]:
    """What open windows may still read. A monitor that cannot be loaded guards all that it might."""
    for name, spec in site.catalog.declared.monitors().items():
        endpoint = site.catalog.declared.endpoint(spec.endpoint)
        try:
            since = open_since(job_of(site.catalog, name), site.catalog, now)
        except DriftlineError:
            since = site.catalog.declared.monitor_since(name) - timedelta(days=1)
        midnight = since.replace(hour=0, minute=0, second=0, microsecond=0)
        yield _Guard(
            f"{(endpoint.capture or captured_prefix(spec.endpoint, endpoint.variant)).rstrip('/')}/", since, name
        )
        yield _Guard(f"{(endpoint.labels or label_prefix(spec.endpoint)).rstrip('/')}/", midnight, name)
        yield _Guard(f"reports/{spec.endpoint}/{name}/", since, name)


def open_since(job: Job, catalog: Catalog, now: datetime) -> datetime:
    """The start of the first window of the monitor that is still open, or will be opened next."""
    starts = [open_.window.start for open_ in catalog.ledger.open_windows(job.name)]
    last = catalog.ledger.last_scheduled(job.name)
    after = max(catalog.declared.monitor_since(job.name), last or datetime.min.replace(tzinfo=UTC))
    for ahead in _AHEAD:
        following = next(due(job.schedule, after, max(after, now) + ahead), None)
        if following is not None:
            starts.append(following.window.start)
            break
    return min(starts, default=after)

"""What a scheduled run reads: the captured records of its window, and the labels that came until now."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

from driftline.capture.layout import captured_prefix, label_prefix
from driftline.dataset.compact import decode_cached, decode_labels_cached, weighed_cached
from driftline.dataset.dataset import Answers, Captured, Dataset, Decoded, Intake, Join, Progress, Table
from driftline.dataset.fingerprint import content_fingerprint
from driftline.objects.mirror import MIRROR
from driftline.objects.store import Entry, ObjectStore
from driftline.runs.baseline import Baseline
from driftline.runs.fetched import captured
from driftline.runs.losses import NOT_KNOWN, Losses, losses
from driftline.runs.report import Inputs
from driftline.windows import Due, Schedule, Window
from driftline.wire import EndpointSpec, MonitorSpec


@dataclass(frozen=True, slots=True)
class Job:
    """One declared monitor, with all that its runs need."""

    name: str
    spec: MonitorSpec
    endpoint: EndpointSpec
    schedule: Schedule
    baseline: Baseline

    @property
    def needs_labels(self) -> bool:
        """Whether the monitor is about ground truth."""
        return self.spec.kind == "model-quality"


@dataclass(frozen=True, slots=True)
class Listing:
    """The objects that a run would read, without reading them."""

    captured: tuple[Entry, ...]
    labels: tuple[Entry, ...]

    @property
    def digest(self) -> str:
        """Changes whenever an object comes, goes or changes."""
        lines = (f"{side}\t{e.key}\t{e.size}\t{e.version}\n" for side, es in self._sides() for e in es)
        return hashlib.sha256("".join(lines).encode()).hexdigest()

    def _sides(self) -> Iterator[tuple[str, tuple[Entry, ...]]]:
        yield "captured", self.captured
        yield "labels", self.labels


def listing(job: Job, due: Due, store: ObjectStore, now: datetime) -> Listing:
    """The captured files of the hours of the window, and the label files of its first day and later ones.

    Labels count until the hour in which the monitor's `late` is over; what is uploaded after that changes nothing.
    """
    endpoint, variant = job.spec.endpoint, job.endpoint.variant
    records: list[Entry] = []
    for hour in due.window.hours():
        records += _data(
            store.list(_hour(job.endpoint.capture or captured_prefix(endpoint, variant), hour)), ".parquet"
        )
    labels: list[Entry] = []
    if job.needs_labels:
        until = min(now, job.schedule.ready_at(due.scheduled_at) + job.schedule.late)
        # From midnight on, so that all windows of an endpoint share whole days of decoded labels.
        midnight = due.window.start.replace(hour=0, minute=0, second=0, microsecond=0)
        for hour in Window(midnight, max(until, due.window.end) + timedelta(microseconds=1)).hours():
            labels += _data(store.list(_hour(job.endpoint.labels or label_prefix(endpoint), hour)))
    return Listing(tuple(records), tuple(labels))


def _hour(prefix: str, hour: datetime) -> str:
    return f"{prefix.rstrip('/')}/{hour:%Y/%m/%d/%H}/"


def _data(entries: Iterable[Entry], *more: str) -> list[Entry]:
    return [e for e in entries if e.key.endswith((".jsonl", ".json", ".jsonl.gz", *more))]


@dataclass(frozen=True, slots=True)
class Gathered:
    """The rows of a run, and the account of where they came from."""

    dataset: Dataset
    inputs: Inputs


def gather(
    job: Job, due: Due, found: Listing, store: ObjectStore, cache: Path, progress: Progress | None = None
) -> Gathered:
    """Decode what the listing names (once: the same objects are read from the cache the next time)."""
    lost = _losses(job, due.window, store)
    predictions = _predictions(job, due.window, found, store, cache, lost.kept, progress)
    labels = _labels(job, found, store, cache, progress) if job.needs_labels else None
    dataset: Dataset = predictions.table if labels is None else Join(predictions.table, labels.table)
    inputs = Inputs(
        predictions=predictions,
        labels=labels,
        window=due.window,
        losses=lost,
        fingerprint=_fingerprint(dataset, found, cache),
    )
    return Gathered(dataset, inputs)


def _predictions(
    job: Job,
    window: Window,
    found: Listing,
    store: ObjectStore,
    cache: Path,
    kept: Mapping[datetime, float],
    progress: Progress | None,
) -> Decoded:
    if not found.captured:
        return Decoded(Table((), (), 0), Intake())
    source = Captured(
        paths=captured(store, found.captured, cache),
        window=window,
        names=job.baseline.names,
        sides=job.spec.sides,
        output_last=job.spec.output_last,
        preprocess=None if job.spec.preprocess is None else Path(job.spec.preprocess),
        shapes=job.endpoint.payloads,
    )
    answers = None
    if job.needs_labels:
        answers = Answers(job.endpoint.prediction, job.endpoint.probability, job.endpoint.threshold)
        # Only the answers count here: a payload that cannot be read must not take its prediction with it.
        source = replace(source, sides=None, names=None)
    decoded = decode_cached(cache, source, answers=answers, progress=progress)
    return weighed_cached(cache, decoded, kept, source.paths)


def _labels(job: Job, found: Listing, store: ObjectStore, cache: Path, progress: Progress | None) -> Decoded:
    paths = store.fetch(found.labels, cache / MIRROR)
    return decode_labels_cached(cache, paths, path=job.endpoint.label_path, progress=progress)


def _losses(job: Job, window: Window, store: ObjectStore) -> Losses:
    if job.endpoint.capture is not None:  # of what others captured
        return NOT_KNOWN
    return losses(store, job.spec.endpoint, job.endpoint.variant, window)


def _fingerprint(dataset: Dataset, found: Listing, cache: Path) -> str:
    table = dataset.predictions if isinstance(dataset, Join) else dataset
    if table.rows == 0 or not isinstance(dataset, Join):
        return Listing(found.captured, ()).digest  # captured files never change, and no label matters here
    with TemporaryDirectory(dir=cache, prefix=".content-") as scratch:  # processes share the cache, but no scratch
        return content_fingerprint(dataset, Path(scratch))

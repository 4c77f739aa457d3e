"""What a capture counts, as Prometheus reads it: text exposition format 0.0.4."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from driftline.capture.counters import Counters
    from driftline.capture.watch import Watch
    from driftline.capture.writer import Writer

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Family(NamedTuple):
    """One metric: its samples by their labels."""

    name: str
    kind: Literal["counter", "gauge"]
    help: str
    samples: Iterable[tuple[Mapping[str, str], float]]


def exposition(families: Iterable[Family], labels: Mapping[str, str] | None = None) -> str:
    """The families as text, with `labels` on all samples; a family without samples is left out.

    >>> print(exposition([Family("asked_total", "counter", "Asked.", [({"endpoint": 'a"b'}, 2)])]), end="")
    # HELP asked_total Asked.
    # TYPE asked_total counter
    asked_total{endpoint="a\\"b"} 2
    """
    lines: list[str] = []
    for family in families:
        samples = [
            f"{family.name}{_labels({**own, **(labels or {})})} {_number(value)}" for own, value in family.samples
        ]
        if samples:
            about = family.help.replace("\\", r"\\").replace("\n", r"\n")
            lines += (f"# HELP {family.name} {about}", f"# TYPE {family.name} {family.kind}", *samples)
    return "".join(f"{line}\n" for line in lines)


def counted(totals: Mapping[tuple[str, str], Counters]) -> list[Family]:
    """The counters of every endpoint and variant."""
    of = [({"endpoint": endpoint, "variant": variant}, counters) for (endpoint, variant), counters in totals.items()]
    lost = [({**own, "reason": reason}, count) for own, c in of for reason, count in sorted(c.dropped.items())]
    withheld = [({**own, "reason": reason}, count) for own, c in of for reason, count in sorted(c.withheld.items())]
    return [
        Family("driftline_capture_seen_total", "counter", "Requests seen.", [(own, c.seen) for own, c in of]),
        Family("driftline_capture_sampled_total", "counter", "Requests chosen.", [(own, c.sampled) for own, c in of]),
        Family("driftline_capture_written_total", "counter", "Records stored.", [(own, c.written) for own, c in of]),
        Family("driftline_capture_dropped_total", "counter", "Requests chosen and lost, by reason.", lost),
        Family("driftline_capture_withheld_total", "counter", "Left out by a privacy policy, by reason.", withheld),
        Family("driftline_capture_pending", "gauge", "Chosen, on their way.", [(own, c.pending) for own, c in of]),
    ]


def waiting(writer: Writer | None) -> list[Family]:
    """What the writer of this process holds; None: it has not begun."""
    if writer is None:
        return []
    lags = [({"endpoint": endpoint, "variant": variant}, lag) for (endpoint, variant), lag in writer.lags().items()]
    room = writer.room
    spooled: list[tuple[Mapping[str, str], float]] = [] if room is None else [({}, room.used)]
    paused: list[tuple[Mapping[str, str], float]] = [] if room is None else [({}, int(room.full))]
    failures: list[tuple[Mapping[str, str], float]] = [({}, writer.outbox.failures)]
    conditional = writer.outbox.conditional
    kept: list[tuple[Mapping[str, str], float]] = [] if conditional is None else [({}, int(conditional))]
    return [
        Family("driftline_capture_lag_seconds", "gauge", "Age of the oldest file that is not in the store.", lags),
        Family("driftline_capture_spool_bytes", "gauge", "Held in the spool by all its processes.", spooled),
        Family("driftline_capture_paused", "gauge", "Whether the disk of the spool is too full.", paused),
        Family("driftline_capture_failures_total", "counter", "Failures that nobody foresaw.", failures),
        Family("driftline_capture_conditional_writes", "gauge", "Whether the store refuses to replace.", kept),
    ]


def in_force(shares: Iterable[tuple[str, float]], watch: Watch | None) -> list[Family]:
    """The shares by rule, and whether the config as it stands in its file is in force; None: there is no file."""
    told = "Share of the requests captured now, by rule."
    by_rule = [({"rule": rule}, share) for rule, share in shares]
    of_file = "Whether the config file as it is now is in force."
    known: list[tuple[Mapping[str, str], float]] = [] if watch is None else [({}, int(watch.trouble is None))]
    return [
        Family("driftline_capture_sampling_probability", "gauge", told, by_rule),
        Family("driftline_capture_config_in_force", "gauge", of_file, known),
    ]


def _labels(labels: Mapping[str, str]) -> str:
    if not labels:
        return ""
    return "{" + ",".join(f'{name}="{_escaped(value)}"' for name, value in labels.items()) + "}"


def _escaped(value: str) -> str:
    text = value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
    return text.encode(errors="replace").decode()


def _number(value: float) -> str:
    return str(value) if isinstance(value, int) else repr(float(value))

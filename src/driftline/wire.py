"""The shapes that go through files and wires: what a plan declares, and the same as JSON in the catalog."""

from __future__ import annotations

import hashlib
from typing import Annotated, Any, Final, Literal, TypeAlias, TypeVar

import msgspec

from driftline.errors import InputError
from driftline.schema import ProblemType, Shape
from driftline.windows import Schedule, parse_duration

T = TypeVar("T")
Count: TypeAlias = Annotated[int, msgspec.Meta(ge=1, le=100)]
Transition: TypeAlias = Literal["firing", "clearing"]


class _Shape(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A frozen value that refuses unknown keys and leaves out what is at its default."""


class EndpointSpec(_Shape, frozen=True):
    """A model behind a name, and where its answers stand."""

    variant: str = "AllTraffic"
    problem_type: ProblemType | None = None
    prediction: str | None = None
    """Index into the CSV output, or path into the JSON output."""
    probability: str | None = None
    threshold: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.5
    label_path: str | None = None
    """Path to the label inside the ground-truth record; None: its only value."""
    payloads: dict[Literal["input", "output"], Shape] = {}
    """How rows lie in the payloads of a side; not named: as each payload tells by itself."""
    capture: str | None = None
    """Prefix of the captured records among the objects; None: `captured/{endpoint}/{variant}`."""
    labels: str | None = None
    """Prefix of the labels among the objects; None: `labels/{endpoint}`."""


class ScheduleSpec(_Shape, frozen=True):
    """When a monitor looks, in text; durations are ISO 8601."""

    cron: str
    zone: str = "UTC"
    start_offset: str | None = None
    end_offset: str | None = None
    grace: str = "PT0S"
    late: str = "P7D"

    def schedule(self) -> Schedule:
        """The schedule that this text means. Raises InputError."""
        start = None if self.start_offset is None else parse_duration(self.start_offset)
        end = None if self.end_offset is None else parse_duration(self.end_offset)
        return Schedule(self.cron, self.zone, start, end, parse_duration(self.grace), parse_duration(self.late))


class MonitorSpec(_Shape, frozen=True):
    """A question that is asked of an endpoint's windows on a schedule."""

    kind: Literal["data-quality", "model-quality"]
    endpoint: str
    baseline: str
    schedule: ScheduleSpec
    mode: Literal["point", "confident"] | None = None
    """None: `confident` for our own baselines, `point` for those of Model Monitor."""
    false_alarms_per_month: Annotated[float, msgspec.Meta(gt=0, le=1000)] = 0.1
    """How often an alarm may fire although nothing is wrong, in an average month; constraints share it."""
    preprocess: str | None = None
    sides: tuple[Literal["input", "output"], ...] | None = None
    output_last: bool = False
    metrics: tuple[str, ...] | None = None
    """Judge only these metrics; None: all that the baseline constrains."""
    columns: tuple[str, ...] | None = None
    """Judge only these columns; None: all."""


class WebhookSpec(_Shape, frozen=True, tag_field="kind", tag="webhook"):
    """A URL that is told by an HTTP POST."""

    url: str
    secret_env: str | None = None
    """Name of the environment variable that holds the secret of the signature."""
    on: tuple[Transition, ...] = ("firing", "clearing")


class CommandSpec(_Shape, frozen=True, tag_field="kind", tag="command"):
    """A program that mends things."""

    command: Annotated[tuple[str, ...], msgspec.Meta(min_length=1)]
    cooldown: str = "PT0S"
    timeout: str = "PT10M"
    retries: Annotated[int, msgspec.Meta(ge=0, le=10)] = 0
    on: tuple[Transition, ...] = ("firing",)
    folder: str | None = None
    """Where it runs; None: the folder of the YAML file."""


RETAINED: Final = ("captured", "labels", "reports", "dead-letters", "cache")
"""What has a time after which it is removed."""

ChannelSpec: TypeAlias = WebhookSpec | CommandSpec


class AlarmSpec(_Shape, frozen=True):
    """When to raise an alarm over a monitor, and who is told."""

    monitor: str
    metrics: tuple[str, ...] | None = None
    columns: tuple[str, ...] | None = None
    datapoints: Count = 1
    of: Count = 1
    clear: Count = 1
    hold: str = "PT0S"
    notify: tuple[str, ...] = ()
    act: tuple[str, ...] = ()


class PlanFile(_Shape, frozen=True):
    """Everything that one YAML file declares. Paths are absolute."""

    version: Literal[1] = 1
    endpoints: dict[str, EndpointSpec] = {}
    baselines: dict[str, str] = {}
    monitors: dict[str, MonitorSpec] = {}
    channels: dict[str, ChannelSpec] = {}
    alarms: dict[str, AlarmSpec] = {}
    retention: dict[str, str] = {}
    """How long each kind of object is kept, as durations."""


def encode(spec: Any) -> Any:
    """The shape as plain JSON values, without what is at its default."""
    return msgspec.to_builtins(spec)


def decode(kind: type[T] | Any, value: Any) -> T:
    """The shape out of plain JSON values.

    Raises:
        InputError: a key is unknown, missing, or holds the wrong type.
    """
    try:
        result: T = msgspec.convert(value, kind)
    except msgspec.ValidationError as why:
        raise InputError(f"not a {getattr(kind, '__name__', kind)}: {why}") from why
    return result


def digest(spec: Any) -> str:
    """A fingerprint of the shape: equal for equal shapes, 64 hexadecimal digits."""
    return hashlib.sha256(msgspec.json.encode(spec, order="deterministic")).hexdigest()

"""The shapes that go through files and wires: monitors as code in YAML, and the same as JSON in the catalog."""

from __future__ import annotations

import hashlib
import re
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Final, Literal, NoReturn, TypeAlias, TypeVar

import msgspec
import yaml

from driftline.errors import InputError, NotFound
from driftline.schema import ProblemType
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
    late: str = "PT0S"

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
    false_alarms_per_month: Annotated[float, msgspec.Meta(gt=0, le=1000)] = 1.0
    preprocess: str | None = None
    sides: tuple[Literal["input", "output"], ...] | None = None
    output_last: bool = False


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


def read_plan(path: Path) -> PlanFile:
    """The YAML file at `path`, checked. Relative paths in it are relative to its folder.

    Raises:
        NotFound: there is no such file.
        InputError: with the file, the line and the key.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as why:
        raise NotFound(f"{path}: there is no such file") from why
    except (UnicodeDecodeError, OSError) as why:
        raise InputError(f"{path} cannot be read as a text in UTF-8: {why}") from why
    return parse_plan(text, str(path), path.absolute().parent)


def parse_plan(text: str, file: str, folder: Path) -> PlanFile:
    """The YAML in `text`; `file` names it in messages, and relative paths in it are relative to `folder`."""
    return _Reader(file, folder).plan(text)


_SLUG: Final = re.compile(r"[a-zA-Z0-9](-*[a-zA-Z0-9])*")
_SECTIONS: Final[dict[str, Any]] = {
    "endpoints": EndpointSpec,
    "baselines": str,
    "monitors": MonitorSpec,
    "channels": ChannelSpec,
    "alarms": AlarmSpec,
}
_LOCATIONS: Final = ("prediction", "probability", "label_path")
"""Keys whose value may be an index: people write it without quotes."""
_TAGS: Final = frozenset(f"tag:yaml.org,2002:{kind}" for kind in ("str", "map", "seq"))
_Path: TypeAlias = tuple[str | int, ...]


class _Reader:
    """Reads one file; remembers the line of every key, for messages."""

    def __init__(self, file: str, folder: Path) -> None:
        self.file = file
        self.folder = folder
        self.lines: dict[_Path, int] = {}

    def plan(self, text: str) -> PlanFile:
        try:
            root = yaml.compose(text, Loader=yaml.BaseLoader)
        except yaml.YAMLError as why:
            mark = getattr(why, "problem_mark", None)
            where = f", line {mark.line + 1}" if mark else ""
            raise InputError(f"{self.file}{where}: not YAML: {getattr(why, 'problem', None) or why}") from why
        if root is None:
            self.fail((), "the file is empty; begin with version: 1")
        tree = self.plain(root, (), frozenset())
        if not isinstance(tree, dict):
            self.fail((), f"the file holds a {type(tree).__name__}; it must hold keys: version, {', '.join(_SECTIONS)}")
        self.known_keys(tree, ("version", *_SECTIONS), ())
        if type(tree.get("version")) is not int or tree["version"] != 1:
            what = f"version {tree['version']!r} is not known" if "version" in tree else "key 'version' is missing"
            self.fail(("version",), f"{what}; this release reads version: 1")
        sections: dict[str, Any] = {name: self.section(name, tree.get(name)) for name in _SECTIONS}
        plan = PlanFile(**sections)
        self.check(plan)
        return plan

    def fail(self, path: _Path, message: str) -> NoReturn:
        line = next((self.lines[path[:n]] for n in range(len(path), -1, -1) if path[:n] in self.lines), 1)
        key = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).lstrip(".")
        raise InputError(f"{self.file}, line {line}{f', {key}' if key else ''}: {message}")

    def plain(self, node: yaml.Node, path: _Path, above: frozenset[int]) -> Any:
        """The node as plain values. Only true and false are booleans: `on` is a key of ours."""
        self.lines.setdefault(path, node.start_mark.line + 1)
        if node.tag not in _TAGS or id(node) in above:
            self.fail(path, "YAML tags and recursive aliases are not read; write the value out")
        above |= {id(node)}
        if isinstance(node, yaml.MappingNode):
            found: dict[str, Any] = {}
            for key, value in node.value:
                if not isinstance(key, yaml.ScalarNode):
                    self.fail(path, "a key must be a word")
                where = (*path, key.value)
                if key.value in found:
                    first = self.lines[where]
                    self.lines[where] = key.start_mark.line + 1
                    self.fail(where, f"the key stands here twice, first in line {first}; keep one of them")
                self.lines[where] = key.start_mark.line + 1
                found[key.value] = self.plain(value, where, above)
            return found
        if isinstance(node, yaml.SequenceNode):
            return [self.plain(item, (*path, i), above) for i, item in enumerate(node.value)]
        return node.value if isinstance(node, yaml.ScalarNode) and node.style else _scalar(node.value)

    def known_keys(self, value: dict[str, Any], allowed: tuple[str, ...], path: _Path) -> None:
        for key in value:
            if key not in allowed:
                self.fail((*path, key), f"unknown key {key!r}{_nearest(key, allowed)}; allowed: {', '.join(allowed)}")

    def section(self, name: str, value: Any) -> dict[str, Any]:
        if value is None:
            return {}
        if not isinstance(value, dict):
            self.fail((name,), f"must hold names, each with its keys below it, but it is {value!r}")
        for key in value:
            self.slug(key, (name, key))
        return {key: self.shape(_SECTIONS[name], item, (name, key)) for key, item in value.items()}

    def shape(self, kind: Any, value: Any, path: _Path) -> Any:
        if kind is not str:
            if not isinstance(value, dict):
                self.fail(path, f"must hold keys, but it is {value!r}")
            value = dict(value)
            if kind is ChannelSpec:
                kind = self.channel_kind(value, path)
            if kind is MonitorSpec and "schedule" in value:
                value["schedule"] = self.schedule(value["schedule"], (*path, "schedule"))
            self.check_keys(kind, value, path)
            for key in _LOCATIONS:
                if kind is EndpointSpec and type(value.get(key)) is int:
                    value[key] = str(value[key])
        try:
            return msgspec.convert(value, kind)
        except msgspec.ValidationError as why:
            message, _, at = str(why).partition(" - at `$")
            below = tuple(int(n) if n else key for key, n in re.findall(r"\.(\w+)|\[(\d+)\]", at))
            self.fail((*path, *below), f"{message}; it is {_at(value, below)!r}")

    def schedule(self, value: Any, path: _Path) -> Any:
        if isinstance(value, str):
            return {"cron": value}
        return msgspec.to_builtins(self.shape(ScheduleSpec, value, path))

    def channel_kind(self, value: dict[str, Any], path: _Path) -> Any:
        kinds = {"webhook": WebhookSpec, "command": CommandSpec}
        kind = value.get("kind")
        if not isinstance(kind, str) or kind not in kinds:
            what = f"kind {kind!r} is not known{_nearest(str(kind), kinds)}" if kind else "key 'kind' is missing"
            self.fail((*path, "kind"), f"{what}; a channel is one of: {', '.join(kinds)}")
        return kinds[kind]

    def check_keys(self, kind: Any, value: dict[str, Any], path: _Path) -> None:
        fields = msgspec.structs.fields(kind)
        names = tuple(field.name for field in fields)
        tagged = ("kind",) if kind in (WebhookSpec, CommandSpec) else ()
        self.known_keys(value, (*tagged, *names), path)
        for field in fields:
            if field.required and field.name not in value:
                self.fail(path, f"key {field.name!r} is missing; keys: {', '.join((*tagged, *names))}")

    def check(self, plan: PlanFile) -> None:
        for name, endpoint in plan.endpoints.items():
            self.slug(endpoint.variant, ("endpoints", name, "variant"))
        for name, path in plan.baselines.items():
            plan.baselines[name] = self.absolute(path)
        for name, monitor in plan.monitors.items():
            plan.monitors[name] = self.monitor(plan, monitor, ("monitors", name))
        for name, channel in plan.channels.items():
            plan.channels[name] = self.channel(channel, ("channels", name))
        for name, alarm in plan.alarms.items():
            self.alarm(plan, alarm, ("alarms", name))

    def monitor(self, plan: PlanFile, monitor: MonitorSpec, path: _Path) -> MonitorSpec:
        self.refer(monitor.endpoint, plan.endpoints, "endpoint", (*path, "endpoint"))
        self.refer(monitor.baseline, plan.baselines, "baseline", (*path, "baseline"))
        for key in ("start_offset", "end_offset", "grace", "late"):
            text = getattr(monitor.schedule, key)
            if text is not None:
                self.duration(text, (*path, "schedule", key), negative=key.endswith("offset"))
        try:
            monitor.schedule.schedule()
        except InputError as why:
            self.fail((*path, "schedule"), str(why))
        endpoint = plan.endpoints[monitor.endpoint]
        if monitor.kind == "model-quality" and endpoint.prediction is None and endpoint.probability is None:
            self.fail(
                (*path, "endpoint"),
                f"model quality needs to know where the answers of endpoint {monitor.endpoint!r} stand; "
                f"give it a prediction or a probability: an index into its CSV output, or a path into its JSON",
            )
        if monitor.preprocess is None:
            return monitor
        return msgspec.structs.replace(monitor, preprocess=self.absolute(monitor.preprocess))

    def channel(self, channel: ChannelSpec, path: _Path) -> ChannelSpec:
        if isinstance(channel, WebhookSpec):
            if not re.fullmatch(r"https?://[^/\s?#]+\S*", channel.url):
                self.fail((*path, "url"), f"{channel.url!r} is not an http or https URL")
            return channel
        self.duration(channel.cooldown, (*path, "cooldown"))
        if self.duration(channel.timeout, (*path, "timeout")) <= timedelta(0):
            self.fail((*path, "timeout"), "a command needs some time; write PT10M")
        return msgspec.structs.replace(channel, folder=self.absolute(channel.folder or "."))

    def alarm(self, plan: PlanFile, alarm: AlarmSpec, path: _Path) -> None:
        self.refer(alarm.monitor, plan.monitors, "monitor", (*path, "monitor"))
        self.duration(alarm.hold, (*path, "hold"))
        if alarm.datapoints > alarm.of:
            self.fail((*path, "datapoints"), f"datapoints is {alarm.datapoints}, more than of: {alarm.of}")
        for key, kind, other in (("notify", WebhookSpec, "act"), ("act", CommandSpec, "notify")):
            for i, name in enumerate(getattr(alarm, key)):
                self.refer(name, plan.channels, "channel", (*path, key, i))
                if not isinstance(plan.channels[name], kind):
                    self.fail((*path, key, i), f"channel {name!r} does not fit here; put it under {other}")

    def refer(self, name: str, known: dict[str, Any], what: str, path: _Path) -> None:
        if name not in known:
            listed = ", ".join(known) if known else "none"
            self.fail(path, f"{what} {name!r} is not defined{_nearest(name, known)}; defined: {listed}")

    def slug(self, name: str, path: _Path) -> None:
        if len(name) > 63 or not _SLUG.fullmatch(name):
            self.fail(path, f"{name!r} is not a name: 1 to 63 letters, digits and hyphens, none at the ends")

    def duration(self, text: str, path: _Path, *, negative: bool = False) -> timedelta:
        try:
            length = parse_duration(text)
        except InputError as why:
            self.fail(path, str(why))
        if length < timedelta(0) and not negative:
            self.fail(path, f"{text!r} is negative; leave out the minus sign")
        return length

    def absolute(self, path: str) -> str:
        return path if "://" in path else str((self.folder / Path(path).expanduser()).absolute())


def _scalar(text: str) -> Any:
    """A scalar without quotes, by the core rules of YAML 1.2."""
    if text in ("", "~", "null"):
        return None
    if text in ("true", "false"):
        return text == "true"
    if re.fullmatch(r"[-+]?\d+", text):
        return int(text)
    if re.fullmatch(r"[-+]?(\d+\.\d*|\.\d+|\d+(?=[eE]))([eE][-+]?\d+)?", text):
        return float(text)
    return text


def _nearest(name: str, known: Any) -> str:
    from difflib import get_close_matches

    close = get_close_matches(name, list(known), n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


def _at(value: Any, path: _Path) -> Any:
    for part in path:
        try:
            value = value[part]
        except (LookupError, TypeError):
            return value
    return value

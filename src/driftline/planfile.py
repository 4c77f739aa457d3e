"""Monitors as code: a YAML file read with every mistake named by file, line and key."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path
from typing import Any, Final, NoReturn, TypeAlias

import msgspec
import yaml

from driftline.errors import InputError, NotFound
from driftline.windows import parse_duration
from driftline.wire import (
    RETAINED,
    AlarmSpec,
    ChannelSpec,
    CommandSpec,
    EndpointSpec,
    MonitorSpec,
    PlanFile,
    ScheduleSpec,
    WebhookSpec,
)


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
    "retention": str,
}
_LOCATIONS: Final = ("prediction", "probability", "label_path")
"""Keys whose value may be an index: people write it without quotes."""
_LONGEST: Final = timedelta(days=3660)
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
        except RecursionError as why:
            raise InputError(f"{self.file}: nested too deeply to be read; a plan has five levels") from why
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
            found, allowed = _at(value, below), _allowed(kind, below)
            if allowed:
                message = f"it must be one of {', '.join(allowed)}{_nearest(str(found), allowed)}"
            self.fail((*path, *below), f"{message}; it is {found!r}")

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
            for key in ("capture", "labels"):
                self.prefix(getattr(endpoint, key), ("endpoints", name, key))
        for name, path in plan.baselines.items():
            plan.baselines[name] = self.absolute(path, ("baselines", name))
        for kind, text in plan.retention.items():
            if kind not in RETAINED:
                self.fail(
                    ("retention", kind), f"{kind!r} is not kept{_nearest(kind, RETAINED)}; {', '.join(RETAINED)} are"
                )
            if self.duration(text, ("retention", kind)) <= timedelta(0):
                self.fail(("retention", kind), "nothing would be kept at all; write how long, such as P90D")
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
        return msgspec.structs.replace(monitor, preprocess=self.absolute(monitor.preprocess, (*path, "preprocess")))

    def channel(self, channel: ChannelSpec, path: _Path) -> ChannelSpec:
        if isinstance(channel, WebhookSpec):
            if not re.fullmatch(r"https?://[^/\s?#]+\S*", channel.url):
                self.fail((*path, "url"), f"{channel.url!r} is not an http or https URL")
            return channel
        self.duration(channel.cooldown, (*path, "cooldown"))
        if self.duration(channel.timeout, (*path, "timeout")) <= timedelta(0):
            self.fail((*path, "timeout"), "a command needs some time; write PT10M")
        return msgspec.structs.replace(channel, folder=self.absolute(channel.folder or ".", (*path, "folder")))

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
        if abs(length) > _LONGEST:
            self.fail(path, f"{text!r} is longer than ten years (P3660D)")
        return length

    def prefix(self, prefix: str | None, path: _Path) -> None:
        parts = [] if prefix is None else prefix.rstrip("/").split("/")
        if any(not part or part.startswith(".") for part in parts):
            self.fail(
                path,
                f"{prefix!r} is not a prefix among the objects; write names separated by single slashes, none of which "
                f"begins with a dot, such as captured/shop/AllTraffic",
            )

    def absolute(self, text: str, path: _Path) -> str:
        try:
            return text if "://" in text else str((self.folder / Path(text).expanduser()).absolute())
        except RuntimeError as why:  # ~somebody who is not there
            self.fail(path, f"{text!r} has no meaning here: {why}")


def _scalar(text: str) -> Any:
    """A scalar without quotes, by the core rules of YAML 1.2."""
    if text in ("", "~", "null"):
        return None
    if text in ("true", "false"):
        return text == "true"
    if re.fullmatch(r"[-+]?\d{1,18}", text):
        return int(text)
    if re.fullmatch(r"[-+]?(\d+\.\d*|\.\d+|\d+(?=[eE]))([eE][-+]?\d+)?", text):
        return float(text)
    return text


def _nearest(name: str, known: Any) -> str:
    from difflib import get_close_matches

    close = get_close_matches(name, list(known), n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


def _allowed(kind: Any, path: _Path) -> tuple[str, ...]:
    """The words among which a value of this kind may choose at `path`; none where it is no choice of words."""
    from msgspec import inspect

    infos = _one_of(inspect.type_info(kind))
    for part in path:
        if isinstance(part, int):
            items = [info.item_type for info in infos if isinstance(info, inspect.VarTupleType)]
        else:
            structs = (info for info in infos if isinstance(info, inspect.StructType))
            items = [field.type for struct in structs for field in struct.fields if field.name == part]
        infos = [info for item in items for info in _one_of(item)]
    words = [str(value) for info in infos if isinstance(info, inspect.LiteralType) for value in info.values]
    return (*words, *(m.value for info in infos if isinstance(info, inspect.EnumType) for m in info.cls))


def _one_of(info: Any) -> list[Any]:
    return list(getattr(info, "types", (info,)))


def _at(value: Any, path: _Path) -> Any:
    for part in path:
        try:
            value = value[part]
        except (LookupError, TypeError):
            return value
    return value

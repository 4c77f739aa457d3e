"""Monitors as code: a YAML file read with every mistake named by file, line and key."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import msgspec

from driftline.errors import InputError
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
from driftline.yamlfile import KeyPath, Reader, nearest, read_text


def read_plan(path: Path) -> PlanFile:
    """The YAML file at `path`, checked. Relative paths in it are relative to its folder.

    Raises:
        NotFound: there is no such file.
        InputError: with the file, the line and the key.
    """
    return parse_plan(read_text(path), str(path), path.absolute().parent)


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


class _Reader(Reader):
    """Reads one plan."""

    def plan(self, text: str) -> PlanFile:
        tree = self.tree(text, tuple(_SECTIONS))
        sections: dict[str, Any] = {name: self.section(name, tree.get(name)) for name in _SECTIONS}
        plan = PlanFile(**sections)
        self.check(plan)
        return plan

    def section(self, name: str, value: Any) -> dict[str, Any]:
        if value is None:
            return {}
        if not isinstance(value, dict):
            self.fail((name,), f"must hold names, each with its keys below it, but it is {value!r}")
        for key in value:
            self.slug(key, (name, key))
        return {key: self.shape(_SECTIONS[name], item, (name, key)) for key, item in value.items()}

    def shape(self, kind: Any, value: Any, path: KeyPath) -> Any:
        if kind is not str:
            if not isinstance(value, dict):
                self.fail(path, f"must hold keys, but it is {value!r}")
            value = dict(value)
            if kind is ChannelSpec:
                kind = self.channel_kind(value, path)
            if kind is MonitorSpec and "schedule" in value:
                value["schedule"] = self.schedule(value["schedule"], (*path, "schedule"))
            self.check_keys(kind, value, path, ("kind",) if kind in (WebhookSpec, CommandSpec) else ())
            for key in _LOCATIONS:
                if kind is EndpointSpec and type(value.get(key)) is int:
                    value[key] = str(value[key])
        return self.converted(kind, value, path)

    def schedule(self, value: Any, path: KeyPath) -> Any:
        if isinstance(value, str):
            return {"cron": value}
        return msgspec.to_builtins(self.shape(ScheduleSpec, value, path))

    def channel_kind(self, value: dict[str, Any], path: KeyPath) -> Any:
        kinds = {"webhook": WebhookSpec, "command": CommandSpec}
        kind = value.get("kind")
        if not isinstance(kind, str) or kind not in kinds:
            what = f"kind {kind!r} is not known{nearest(str(kind), kinds)}" if kind else "key 'kind' is missing"
            self.fail((*path, "kind"), f"{what}; a channel is one of: {', '.join(kinds)}")
        return kinds[kind]

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
                    ("retention", kind), f"{kind!r} is not kept{nearest(kind, RETAINED)}; {', '.join(RETAINED)} are"
                )
            if self.duration(text, ("retention", kind)) <= timedelta(0):
                self.fail(("retention", kind), "nothing would be kept at all; write how long, such as P90D")
        for name, monitor in plan.monitors.items():
            plan.monitors[name] = self.monitor(plan, monitor, ("monitors", name))
        for name, channel in plan.channels.items():
            plan.channels[name] = self.channel(channel, ("channels", name))
        for name, alarm in plan.alarms.items():
            self.alarm(plan, alarm, ("alarms", name))

    def monitor(self, plan: PlanFile, monitor: MonitorSpec, path: KeyPath) -> MonitorSpec:
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

    def channel(self, channel: ChannelSpec, path: KeyPath) -> ChannelSpec:
        if isinstance(channel, WebhookSpec):
            if not re.fullmatch(r"https?://[^/\s?#]+\S*", channel.url):
                self.fail((*path, "url"), f"{channel.url!r} is not an http or https URL")
            return channel
        self.duration(channel.cooldown, (*path, "cooldown"))
        if self.duration(channel.timeout, (*path, "timeout")) <= timedelta(0):
            self.fail((*path, "timeout"), "a command needs some time; write PT10M")
        return msgspec.structs.replace(channel, folder=self.absolute(channel.folder or ".", (*path, "folder")))

    def alarm(self, plan: PlanFile, alarm: AlarmSpec, path: KeyPath) -> None:
        self.refer(alarm.monitor, plan.monitors, "monitor", (*path, "monitor"))
        self.duration(alarm.hold, (*path, "hold"))
        if alarm.datapoints > alarm.of:
            self.fail((*path, "datapoints"), f"datapoints is {alarm.datapoints}, more than of: {alarm.of}")
        for key, kind, other in (("notify", WebhookSpec, "act"), ("act", CommandSpec, "notify")):
            for i, name in enumerate(getattr(alarm, key)):
                self.refer(name, plan.channels, "channel", (*path, key, i))
                if not isinstance(plan.channels[name], kind):
                    self.fail((*path, key, i), f"channel {name!r} does not fit here; put it under {other}")

    def refer(self, name: str, known: dict[str, Any], what: str, path: KeyPath) -> None:
        if name not in known:
            listed = ", ".join(known) if known else "none"
            self.fail(path, f"{what} {name!r} is not defined{nearest(name, known)}; defined: {listed}")

    def slug(self, name: str, path: KeyPath) -> None:
        if len(name) > 63 or not _SLUG.fullmatch(name):
            self.fail(path, f"{name!r} is not a name: 1 to 63 letters, digits and hyphens, none at the ends")

    def duration(self, text: str, path: KeyPath, *, negative: bool = False) -> timedelta:
        try:
            length = parse_duration(text)
        except InputError as why:
            self.fail(path, str(why))
        if length < timedelta(0) and not negative:
            self.fail(path, f"{text!r} is negative; leave out the minus sign")
        if abs(length) > _LONGEST:
            self.fail(path, f"{text!r} is longer than ten years (P3660D)")
        return length

    def prefix(self, prefix: str | None, path: KeyPath) -> None:
        parts = [] if prefix is None else prefix.rstrip("/").split("/")
        if any(not part or part.startswith(".") for part in parts):
            self.fail(
                path,
                f"{prefix!r} is not a prefix among the objects; write names separated by single slashes, none of which "
                f"begins with a dot, such as captured/shop/AllTraffic",
            )

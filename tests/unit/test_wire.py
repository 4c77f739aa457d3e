"""Monitors as code: what is read, and how a mistake in the file is named."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest

from driftline.errors import InputError, NotFound

# ruff: noqa: E501  the table reads best with one mistake on a line
from driftline.planfile import parse_plan, read_plan
from driftline.wire import (
    CommandSpec,
    MonitorSpec,
    PlanFile,
    ScheduleSpec,
    WebhookSpec,
    decode,
    digest,
    encode,
)

WHOLE = """\
version: 1
endpoints:
  flights:
    problem_type: BinaryClassification
    probability: 0
baselines:
  flights-inputs: baselines/flights-inputs
  flights-quality: /srv/baselines/flights-quality
monitors:
  flights-data-quality: {kind: data-quality, endpoint: flights, baseline: flights-inputs, schedule: daily}
  flights-model-quality:
    kind: model-quality
    endpoint: flights
    baseline: flights-quality
    schedule: {cron: "0 0 * * *", start_offset: -P2D, end_offset: -P1D, grace: PT6H, late: P7D}
    mode: confident
    preprocess: scripts/clean.py
channels:
  team: {kind: webhook, url: "http://127.0.0.1:9000/hook", secret_env: TEAM_HOOK_SECRET}
  retrain: {kind: command, command: [python, retrain.py], cooldown: P14D, on: [firing]}
alarms:
  flights-decay:
    monitor: flights-model-quality
    metrics: [auc]
    datapoints: 2
    of: 3
    clear: 2
    hold: P1D
    notify: [team]
    act: [retrain]
"""


def read(text: str) -> PlanFile:
    return parse_plan(text, "plan.yaml", Path("/srv/flights"))


def test_everything_that_is_declared_is_read() -> None:
    plan = read(WHOLE)
    assert plan.endpoints["flights"].probability == "0"
    assert plan.endpoints["flights"].variant == "AllTraffic"
    assert plan.monitors["flights-data-quality"] == MonitorSpec(
        kind="data-quality", endpoint="flights", baseline="flights-inputs", schedule=ScheduleSpec(cron="daily")
    )
    schedule = plan.monitors["flights-model-quality"].schedule.schedule()
    assert (schedule.start_offset, schedule.grace, schedule.late) == (
        timedelta(days=2),
        timedelta(hours=6),
        timedelta(days=7),
    )
    assert plan.channels["team"] == WebhookSpec(url="http://127.0.0.1:9000/hook", secret_env="TEAM_HOOK_SECRET")  # noqa: S106
    assert plan.alarms["flights-decay"].act == ("retrain",)


def test_paths_are_relative_to_the_file() -> None:
    plan = read(WHOLE)
    assert plan.baselines["flights-inputs"] == "/srv/flights/baselines/flights-inputs"
    assert plan.baselines["flights-quality"] == "/srv/baselines/flights-quality"
    assert plan.monitors["flights-model-quality"].preprocess == "/srv/flights/scripts/clean.py"
    command = plan.channels["retrain"]
    assert isinstance(command, CommandSpec)
    assert command.folder == "/srv/flights"


def test_a_plan_survives_being_written_as_json() -> None:
    plan = read(WHOLE)
    again: PlanFile = decode(PlanFile, msgspec.json.decode(msgspec.json.encode(encode(plan))))
    assert again == plan
    assert digest(again) == digest(plan)


def test_the_word_on_is_a_key_and_not_a_boolean() -> None:
    plan = read("version: 1\nchannels:\n  a: {kind: webhook, url: http://h/, on: [clearing]}\n")
    assert plan.channels["a"].on == ("clearing",)


def test_a_file_that_does_not_exist_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no such file"):
        read_plan(tmp_path / "none.yaml")


def test_a_file_that_is_no_text_is_an_input_error(tmp_path: Path) -> None:
    (tmp_path / "plan.yaml").write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match="UTF-8"):
        read_plan(tmp_path / "plan.yaml")


def swap(old: str, new: str) -> str:
    assert old in WHOLE
    return WHOLE.replace(old, new, 1)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (swap("probability:", "probabilty:"), "line 5, endpoints.flights.probabilty: unknown key 'probabilty'; did you mean 'probability'.*allowed: variant, problem_type"),
        (swap("monitors:", "monitor:"), "line 9, monitor: unknown key 'monitor'; did you mean 'monitors'"),
        (swap("    datapoints: 2", "    datapoints: two"), "line 25, alarms.flights-decay.datapoints: Expected `int`, got `str`; it is 'two'"),
        (swap("    datapoints: 2", "    datapoints: 0"), "line 25, .*>= 1"),
        (swap("    of: 3", "    of: 101"), "line 26, .*<= 100"),
        (swap("    of: 3", "    of: 1"), "datapoints is 2, more than of: 1"),
        (swap("    clear: 2", "    datapoints: 2"), "line 27, alarms.flights-decay.datapoints: the key stands here twice, first in line 25"),
        (swap("    endpoint: flights\n", "    endpoint: flihgts\n"), "line 13, monitors.flights-model-quality.endpoint: endpoint 'flihgts' is not defined; did you mean 'flights'.; defined: flights"),
        (swap("    endpoint: flights\n", ""), "line 11, monitors.flights-model-quality: key 'endpoint' is missing"),
        (swap("baseline: flights-quality", "baseline: other"), "baseline 'other' is not defined"),
        (swap("monitor: flights-model-quality", "monitor: nothing"), "monitor 'nothing' is not defined"),
        (swap("notify: [team]", "notify: [tem]"), r"line 29, alarms.flights-decay.notify\[0\]: channel 'tem' is not defined; did you mean 'team'"),
        (swap("notify: [team]", "notify: [retrain]"), "put it under act"),
        (swap("act: [retrain]", "act: [team]"), "put it under notify"),
        (swap('"0 0 * * *"', '"0 99 * * *"'), "line 15, monitors.flights-model-quality.schedule: .*Bad hour"),
        (swap("schedule: daily", "schedule: dayly"), "line 10, .*'dayly' is not a schedule"),
        (swap("grace: PT6H", "grace: 6h"), "schedule.grace: '6h' is not a duration"),
        (swap("grace: PT6H", "grace: -PT6H"), "schedule.grace: .*negative"),
        (swap("grace: PT6H", "graze: PT6H"), "schedule.graze: unknown key 'graze'; did you mean 'grace'"),
        (swap("grace: PT6H", "grace: 6"), "schedule.grace: Expected `str`, got `int`; it is 6"),
        (swap("end_offset: -P1D", "end_offset: -P3D"), "empty window"),
        (swap("hold: P1D", "hold: P1M"), "alarms.flights-decay.hold: .*P30D"),
        (swap("hold: P1D", "hold: P999999D"), "line 28, alarms.flights-decay.hold: 'P999999D' is longer than ten years"),
        (swap("flights-inputs: baselines/", "flights-inputs: ~nobody-here/"), "line 7, baselines.flights-inputs: .*no meaning here"),
        (swap("cooldown: P14D", "cooldown: two weeks"), "channels.retrain.cooldown: "),
        (swap("command: [python, retrain.py]", "command: []"), "channels.retrain.command: .*length >= 1"),
        (swap("command: [python, retrain.py]", "command: python retrain.py"), "channels.retrain.command: Expected `array`"),
        (swap("on: [firing]", "on: [fire]"), r"channels.retrain.on\[0\]: it must be one of clearing, firing; did you mean 'firing'\?; it is 'fire'"),
        (swap("kind: webhook", "kind: pager"), "channels.team.kind: kind 'pager' is not known; a channel is one of: webhook, command"),
        (swap("kind: webhook, ", ""), "key 'kind' is missing"),
        (swap("kind: data-quality", "kind: data_quality"), "monitors.flights-data-quality.kind: it must be one of data-quality, model-quality; did you mean 'data-quality'.; it is 'data_quality'"),
        (swap("kind: data-quality", "kind: 3"), "monitors.flights-data-quality.kind: it must be one of data-quality, model-quality; it is 3"),
        (swap("mode: confident", "mode: strict"), "flights-model-quality.mode: it must be one of confident, point; it is 'strict'"),
        (swap("http://127.0.0.1:9000/hook", "127.0.0.1:9000"), "channels.team.url: "),
        (swap("  flights:\n", "  flights_eu:\n"), "line 3, endpoints.flights_eu: 'flights_eu' is not a name"),
        (swap("  flights:\n", f"  {'f' * 64}:\n"), "is not a name"),
        (swap("    probability: 0\n", ""), "model quality needs to know where the answers"),
        (swap("    probability: 0\n", "    probability: 0\n    threshold: 50\n"), "endpoints.flights.threshold: .*<= 1"),
        (swap("BinaryClassification", "Binary"), "endpoints.flights.problem_type: it must be one of BinaryClassification, .*; it is 'Binary'"),
        (swap("version: 1", "version: 2"), "line 1, version: version 2 is not known"),
        (swap("version: 1\n", ""), "key 'version' is missing"),
        (swap("version: 1", "version: true"), "version True is not known"),
        ("", "the file is empty"),
        ("- 1\n", "the file holds a list"),
        ("version: 1\nendpoints: [flights]\n", "line 2, endpoints: must hold names"),
        ("version: 1\nendpoints:\n  flights: yes\n", "line 3, endpoints.flights: must hold keys, but it is 'yes'"),
        ("version: 1\nbaselines:\n  a: 5\n", "line 3, baselines.a: Expected `str`"),
        ("version: 1\nendpoints: {a: &x {variant: *x}}\n", "line 2, .*(tags|anchor|alias)"),
        ("version: 1\nendpoints: !!python/object:os.system {}\n", "tags"),
        ("version: 1\n\tendpoints:\n", "line 2: not YAML"),
        ("version: 1\n? [a]\n: 2\n", "a key must be a word"),
    ],
)  # fmt: skip
def test_a_mistake_is_named_with_file_line_and_key(text: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        read(text)
    assert str(caught.value).startswith("plan.yaml, line ")
    assert re.search(message, str(caught.value)), str(caught.value)


def test_an_unknown_key_in_json_is_an_input_error() -> None:
    with pytest.raises(InputError, match="unknown field"):
        decode(ScheduleSpec, {"cron": "daily", "zoen": "UTC"})


def test_payloads_are_declared_by_side_and_shape() -> None:
    plan = parse_plan("version: 1\nendpoints: {shop: {payloads: {input: document, output: csv}}}\n", "f", Path("/srv"))
    assert plan.endpoints["shop"].payloads == {"input": "document", "output": "csv"}
    with pytest.raises(InputError, match=r"tensor"):
        parse_plan("version: 1\nendpoints: {shop: {payloads: {input: tensor}}}\n", "f", Path("/srv"))
    with pytest.raises(InputError, match=r"inputs"):
        parse_plan("version: 1\nendpoints: {shop: {payloads: {inputs: csv}}}\n", "f", Path("/srv"))

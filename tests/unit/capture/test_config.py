from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any

import click
import msgspec
import pytest

from driftline.capture import Capture, CaptureMiddleware, CaptureWSGIMiddleware, Rule, Sampling, Spool
from driftline.capture.config import (
    ConfigSpec,
    GatewaySpec,
    RuleSpec,
    SamplingSpec,
    SinkSpec,
    SpoolSpec,
    read_config,
)
from driftline.capture.rules import PolicySpec
from driftline.cli.gateway import gateway
from driftline.cli.sink import sink
from driftline.errors import InputError, NotFound
from driftline.objects.directory import Directory

from .conftest import Clock, ReadBack

DOCUMENT = Path(__file__).parents[3] / "docs" / "config.md"
WHOLE = """\
version: 1
endpoint: flights
variant: canary
store: objects
format: jsonl
sampling:
  rate: 0.1
  rules:
    - {rate: 1.0, errors: true}
    - {rate: 0.5, header: X-Tenant=acme}
  most_per_second: 200
privacy:
  key_env: KEY
  input_columns: [age, email]
  rules:
    - {action: drop, name: email}
    - {action: hash, on: id}
spool:
  folder: spool
  most_bytes: 2 GiB
csv_content_types: [text/csv, text/plain]
roll_after_s: 30
queue_size: 500
queue_bytes: 1 MiB
paths: [/invocations, "/v2/models/{endpoint}/infer"]
max_body_bytes: 1000
gateway:
  upstream: http://127.0.0.1:5000
  port: 9000
"""
ENVIRON = {"KEY": "thirty-two bytes made at random."}


def written(folder: Path, text: str) -> Path:
    file = folder / "capture.yaml"
    file.write_text(text)
    return file


def test_every_key_means_what_the_argument_means(tmp_path: Path) -> None:
    config = read_config(written(tmp_path, WHOLE), ENVIRON)
    given = config.arguments()
    assert (given["endpoint"], given["variant"], given["store"]) == ("flights", "canary", str(tmp_path / "objects"))
    assert given["sampling"] == Sampling(0.1, [Rule(1.0, errors=True), Rule(0.5, header="X-Tenant=acme")], 200)
    assert repr(given["privacy"]) == "Policy(drop email on both, hash id)"
    assert given["spool"] == Spool(str(tmp_path / "spool"), most_bytes=2 << 30)
    assert (given["roll_after_s"], given["queue_size"], given["queue_bytes"]) == (30, 500, 1 << 20)
    assert given["csv_content_types"] == ("text/csv", "text/plain")
    assert given.keys() == inspect.signature(Capture).parameters.keys() - {"clock", "config"}


def test_a_short_file_means_what_no_arguments_mean(tmp_path: Path) -> None:
    file = written(tmp_path, "version: 1\nendpoint: flights\nsampling: 0.2\nspool: false\n")
    given = read_config(file, {"DRIFTLINE_OBJECTS": "s3://bucket/prefix"}).arguments()
    assert (given["sampling"], given["spool"], given["store"]) == (Sampling(0.2), False, "s3://bucket/prefix")
    parameters = inspect.signature(Capture).parameters
    for key in given.keys() - {"endpoint", "store", "sampling", "spool"}:
        assert given[key] == parameters[key].default


def test_a_capture_from_a_file_captures(
    tmp_path: Path, clock: Clock, read_back: ReadBack, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = written(
        tmp_path,
        "version: 1\nendpoint: flights\nstore: objects\nprivacy:\n  rules: [{action: drop, name: email}]\n",
    )
    monkeypatch.setenv("DRIFTLINE_CAPTURE_CONFIG", str(file))
    with Capture.from_config(clock=clock, variant="canary") as capture:
        capture.log('{"email": "a@b", "x": 1}', "0", request_content_type="application/json")
    (record,) = read_back()
    assert record.input is not None
    assert record.input.data == '{"x":1}'
    assert next(Directory(tmp_path / "objects").list("captured/flights/canary/2"))


def test_taps_take_their_paths_and_the_longest_body_from_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KEY", ENVIRON["KEY"])
    with Capture.from_config(written(tmp_path, WHOLE)) as capture:
        for kind in (CaptureMiddleware, CaptureWSGIMiddleware):
            middleware: Any = kind(None, capture)  # type: ignore[arg-type]
            assert middleware._tapping.max_body_bytes == 1000
            assert middleware._asked({}, "/v2/models/churn/infer") == ("churn", None)
            assert middleware._asked({}, "/predict") is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "capture.yaml, line 1: the file is empty; begin with version: 1"),
        ("version: 1\n", "line 1: key 'endpoint' is missing"),
        ("version: 1\nendpoint: a/b\n", "line 2, endpoint: endpoint 'a/b' is not a name"),
        ("version: 1\nendpoint: a\nsamplng: 1\n", "line 3, samplng: unknown key 'samplng'; did you mean 'sampling'?"),
        ("version: 1\nendpoint: a\nsampling: 20\n", "line 3, sampling: sampling is 20"),
        ("version: 1\nendpoint: a\nsampling: true\n", "line 3, sampling"),
        (
            "version: 1\nendpoint: a\nsampling:\n  rate: 1\n  rules:\n    - rate: 1\n    - rate: 7\n",
            "line 7, sampling.rules[1]: the rate of a rule is 7",
        ),
        (
            "version: 1\nendpoint: a\nsampling:\n  rules:\n    - {rate: 1, heder: a=b}\n",
            "line 5, sampling.rules[0].heder: unknown key 'heder'; did you mean 'header'?",
        ),
        ("version: 1\nendpoint: a\nsampling: {rules: 5}\n", "line 3, sampling.rules: must be a list of rules"),
        ("version: 1\nendpoint: a\nsampling: {rules: [x]}\n", "line 3, sampling.rules[0]: a rule must hold keys"),
        (
            "version: 1\nendpoint: a\nprivacy:\n  rules:\n  - {action: drop, name: x}\n  - {action: hash, name: y}\n",
            "line 6, privacy.rules[1]: rule 2 (hash): there is no key",
        ),
        (
            "version: 1\nendpoint: a\nprivacy:\n  rules: []\n  key_env: NO\n",
            "line 3, privacy: the environment variable NO of the key is not set",
        ),
        ("version: 1\nendpoint: a\nprivacy: drop\n", "line 3, privacy: must hold keys, but it is 'drop'"),
        (
            "version: 1\nendpoint: a\nprivacy: {rules: [{action: dorp}]}\n",
            "privacy.rules[0].action: it must be one of drop, hash, mask, round; did you mean 'drop'?",
        ),
        (
            "version: 1\nendpoint: a\nformat: parket\n",
            "line 3, format: it must be one of jsonl, parquet; did you mean 'parquet'?",
        ),
        (
            "version: 1\nendpoint: a\nspool: true\n",
            "line 3, spool: it is True; write a folder, keys, or false for none",
        ),
        ("version: 1\nendpoint: a\nspool:\n  most_bytes: 2 GB\n", "line 4, spool.most_bytes: '2 GB' is no size"),
        ("version: 1\nendpoint: a\nspool: {free_share: 2}\n", "line 3, spool: spool: most_bytes"),
        ("version: 1\nendpoint: a\nqueue_size: 0\n", "line 3, queue_size: it is 0; it must be above 0"),
        ("version: 1\nendpoint: a\npaths: [invocations]\n", "line 3, paths: "),
        ("version: 1\nendpoint: a\npaths: []\n", "line 3, paths: there is none in it"),
        ("version: 1\nendpoint: a\nmax_body_bytes: -1\n", "line 3, max_body_bytes: it is -1"),
        ("version: 1\nendpoint: a\ngateway: {prot: 1}\n", "gateway.prot: unknown key 'prot'; did you mean 'port'?"),
        ("version: 2\nendpoint: a\n", "line 1, version: version 2 is not known"),
        ("endpoint: [a\n", "not YAML"),
        ("version: 1\nendpoint: a\nendpoint: b\n", "line 3, endpoint: the key stands here twice, first in line 2"),
    ],
)
def test_a_mistake_is_named_by_file_line_and_key(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        read_config(written(tmp_path, text), {})


def test_a_file_that_is_not_there_or_not_named_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DRIFTLINE_CAPTURE_CONFIG", raising=False)
    with pytest.raises(InputError, match="name its file, or set DRIFTLINE_CAPTURE_CONFIG"):
        Capture.from_config()
    with pytest.raises(NotFound):
        Capture.from_config(tmp_path / "none.yaml")
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match="UTF-8"):
        Capture.from_config(tmp_path / "binary.yaml")


@pytest.mark.parametrize(("command", "shape"), [(gateway, GatewaySpec), (sink, SinkSpec)], ids=["gateway", "sink"])
def test_every_option_of_a_command_is_a_key(command: click.Command, shape: Any) -> None:
    options = {str(option.name) for option in command.params} - {"as_json", "config"}
    keys = {key.name for key in msgspec.structs.fields(shape)}
    whole = {key.name for key in msgspec.structs.fields(ConfigSpec)}
    assert options - whole == keys


@pytest.mark.parametrize("example", re.findall(r"```yaml\n(.*?)```", DOCUMENT.read_text(), re.DOTALL))
def test_every_example_in_the_document_can_be_read(example: str) -> None:
    assert read_config(Path("/srv/capture.yaml"), {"FLIGHTS_KEY": "k" * 32}, text=example.encode()).spec.endpoint


@pytest.mark.parametrize("shape", [ConfigSpec, SamplingSpec, RuleSpec, SpoolSpec, PolicySpec, GatewaySpec, SinkSpec])
def test_every_key_is_described(shape: Any) -> None:
    described = set(re.findall(r"`(\w+)`", DOCUMENT.read_text()))
    assert [key.name for key in msgspec.structs.fields(shape) if key.name not in described] == []

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from driftline.capture import Capture, Counters
from driftline.capture.counters import stored_counters
from driftline.capture.fields import NO_NAMES, NO_ROWS, OTHER_WIDTH
from driftline.capture.privacy import Policy, PolicySpec, Protected, Rule
from driftline.capture.record import Payload, Record
from driftline.errors import InputError
from driftline.objects.directory import Directory
from driftline.windows import Window

from .conftest import Clock, ReadBack

KEY = b"0123456789abcdef"
BOB = "h7ec8589a2edf52e9a8fe9bc8e3ce0aee"  # of bob@example.org
AT = datetime(2026, 3, 1, 9, tzinfo=UTC)


def record(given: str | None, answer: str | None = None, **more: Any) -> Record:
    def side(text: str | None) -> Payload | None:
        return None if text is None else Payload(text, "JSON" if text[:1] in "[{" else "CSV")

    return Record(event_id="e-1", inferred_at=AT, input=side(given), output=side(answer), **more)


def told(policy: Policy, given: str, answer: str | None = None) -> str | tuple[str, ...]:
    """The input as it is stored; the reasons where it is not."""
    found = policy.protect(record(given, answer))
    return found.withheld if found.record.input is None else found.record.input.data


@pytest.mark.parametrize(
    ("rule", "given", "stored"),
    [
        (Rule("drop", name="mail"), '{"a":{"mail":"x","b":[{"mail":{"c":1}}]},"n":1.50}', '{"a":{"b":[{}]},"n":1.50}'),
        (Rule("hash", name="mail"), '{"mail":"bob@example.org"}', f'{{"mail":"{BOB}"}}'),
        (Rule("hash", name="mail"), '{"mail":["bob@example.org",null,""]}', f'{{"mail":["{BOB}",null,""]}}'),
        (Rule("drop", path="instances[*].id"), '{"instances":[{"id":1,"x":2},{"id":3}]}', '{"instances":[{"x":2},{}]}'),
        (Rule("drop", path="instances.id"), '{"instances":[{"id":1,"x":2},{"id":3}]}', '{"instances":[{"x":2},{}]}'),
        (Rule("drop", path="$['a b'][1].*"), '{"a b":[{"c":1},{"c":2}]}', '{"a b":[{"c":1},{}]}'),
        (Rule("drop", path="[0]"), "[1,2]", "[null,2]"),
        (Rule("round", name="age", width=10), '{"age":37,"x":{"age":[41.9,-3]}}', '{"age":30,"x":{"age":[40,-10]}}'),
        (Rule("round", name="p", width=0.1), '{"p":0.37}', '{"p":0.3}'),
        (Rule("round", name="age", edges=(18, 40)), '{"age":[3,18,39.5,99]}', '{"age":[18,18,18,40]}'),
        (Rule("round", name="day", to="month"), '{"day":"2026-03-17T08:00:00Z"}', '{"day":"2026-03"}'),
        (Rule("round", name="day", to="year"), '{"day":"17 March"}', '{"day":null}'),
        (Rule("mask", name="note", pattern=r"\d+"), '{"note":"no 17","n":17}', '{"note":"no ***","n":17}'),
        (Rule("mask", pattern=r"\d{4,}"), '{"12345":"a 67890","n":12345,"m":17}', '{"***":"a ***","n":"***","m":17}'),
        (Rule("mask", pattern="ab", replacement="b"), '{"x":"aaab"}', '{"x":"b"}'),
        (Rule("drop", name="mail"), '{"mail":1}\n{"x":2}\n', '{}\n{"x":2}\n'),
        (Rule("drop", name="m\u00e4il"), '{"m\\u00e4il":"x"}', "{}"),
        (Rule("drop", path="a.id"), '{"a":{"id":1},"a":{}}', '{"a":{}}'),
        (Rule("drop", index=1, on="input"), "1,bob,2\n3,eve,4", "1,,2\n3,,4"),
        (Rule("hash", index=0, on="input"), 'bob@example.org,"a,b"\r\n', f'{BOB},"a,b"\r\n'),
        (Rule("drop", index=0, on="input"), "bob\neve\n", '""\n""\n'),
        (Rule("mask", pattern="bob"), '"bob, 1",2\n', '"***, 1",2\n'),
        (Rule("drop", index=1, on="input"), '{"instances":[[1,2],[3,4]]}', '{"instances":[[1,null],[3,null]]}'),
        (Rule("drop", index=1, on="input"), '{"inputs":[{"features":[1,2]}]}', '{"inputs":[{"features":[1,null]}]}'),
        (Rule("drop", index=1, on="input"), "[1,2]", "[1,null]"),
    ],
)  # fmt: skip
def test_a_rule_finds_its_values_and_leaves_the_others(rule: Rule, given: str, stored: str) -> None:
    assert told(Policy([rule], key=KEY), given) == stored


TENSORS = '{"inputs":[{"name":"mail","shape":[2],"data":["a","b"]},{"name":"age","shape":[2,1],"data":[35,22]}]}'
FLAT = '{"inputs":[{"name":"x","shape":[2,3],"datatype":"FP64","data":[1,2,3,4,5,6]}]}'
SPLIT = '{"dataframe_split":{"columns":["mail","age"],"data":[["a",35],["b",22]]}}'


@pytest.mark.parametrize(
    ("rule", "given", "stored"),
    [
        (Rule("drop", name="mail"), TENSORS, '{"inputs":[{"name":"age","shape":[2,1],"data":[35,22]}]}'),
        (Rule("round", name="age", width=10), TENSORS, TENSORS.replace("35,22", "30,20")),
        (Rule("drop", name="mail"), SPLIT, '{"dataframe_split":{"columns":["age"],"data":[[35],[22]]}}'),
        (Rule("round", name="age", width=10), SPLIT, SPLIT.replace("35", "30").replace("22", "20")),
        (Rule("drop", index=1, on="input"), FLAT, FLAT.replace("2,3,4,5", "null,3,4,null")),
    ],
)
def test_tensors_and_tables_are_understood(rule: Rule, given: str, stored: str) -> None:
    assert told(Policy([rule], key=KEY), given) == stored


def test_declared_columns_name_the_values_of_rows_without_keys() -> None:
    policy = Policy([Rule("drop", name="mail"), Rule("round", name="age", width=10)], input_columns=("age", "mail"))
    assert told(policy, '37,"a,b"\n41,c\n') == "30,\n40,\n"
    assert told(policy, '{"instances":[[37,"x"]]}') == '{"instances":[[30,null]]}'
    assert told(policy, '{"inputs":[{"name":"in","shape":[1,2],"data":[37,"x"]}]}').count("x") == 0
    assert policy.protect(record('{"mail":"x"}', "0.5")).record.output == Payload("0.5", "CSV")
    assert policy.protect(record('{"mail":"x"}', '{"predictions":[[0.2,0.8]]}')).withheld == ()


def test_the_first_line_of_a_csv_may_name_its_columns() -> None:
    policy = Policy([Rule("drop", name="mail", on="input")], header=True)
    assert told(policy, "mail,age\na,1\nb,2\n") == "mail,age\n,1\n,2\n"


@pytest.mark.parametrize(
    ("rule", "payload", "reason"),
    [
        (Rule("drop", name="x"), Payload("AAEC", "BASE64"), "privacy: neither CSV nor JSON"),
        (Rule("drop", name="x"), Payload("eyJ4", "BASE64", truncated=True), "privacy: the body is truncated"),
        (Rule("drop", name="x"), Payload('{"x": "sec', "JSON"), "privacy: not valid JSON"),
        (Rule("drop", name="x"), Payload('{"x":' * 100_000, "JSON"), "privacy: not valid JSON"),
        (Rule("drop", name="x"), Payload("1,2", "CSV"), NO_NAMES),
        (Rule("drop", name="x"), Payload("[[1,2]]", "JSON"), NO_NAMES),
        (Rule("drop", path="a.b"), Payload("1,2", "CSV"), "privacy: a path is asked for in CSV"),
        (Rule("drop", index=2, on="input"), Payload("1,2", "CSV"), OTHER_WIDTH),
        (Rule("drop", index=1, on="input"), Payload('1,"2', "CSV"), "privacy: not valid CSV"),
        (Rule("drop", index=1, on="input"), Payload('{"a":1}', "JSON"), NO_ROWS),
    ],
)  # fmt: skip
def test_what_cannot_be_protected_is_left_out_with_a_reason(rule: Rule, payload: Payload, reason: str) -> None:
    given = Record(event_id="e-1", inferred_at=AT, input=payload, output=Payload("{}", "JSON"))
    found = Policy([rule]).protect(given)
    assert (found.record.input, found.withheld) == (None, (reason,))
    assert found.record.output == Payload("{}", "JSON")


def test_a_side_without_rules_stays_as_it_came() -> None:
    given = Record(event_id="e-1", inferred_at=AT, input=Payload("AAEC", "BASE64"), output=Payload("0.5", "CSV"))
    assert Policy([Rule("mask", pattern="x", on="output")]).apply(given) == given


def test_rules_apply_in_their_order() -> None:
    mask, hashed = Rule("mask", name="x", pattern=".+", replacement="bob@example.org"), Rule("hash", name="x")
    assert told(Policy([mask, hashed], key=KEY), '{"x":"eve"}') == f'{{"x":"{BOB}"}}'


def test_custom_attributes_and_ids_are_protected_too() -> None:
    rules = [Rule("mask", pattern="user=[^;]*", replacement="user=*", on="attributes"), Rule("hash", on="id")]
    policy = Policy(rules, key=KEY)
    found = policy.apply(record("1", inference_id="bob@example.org", custom_attributes=("user=bob;t=1",)))
    assert (found.inference_id, found.custom_attributes) == (BOB, ("user=*;t=1",))
    assert policy.join_id("bob@example.org") == BOB
    assert policy.apply(record("1")).event_id == policy.join_id("e-1")
    dropped = Policy([Rule("drop", on="id"), Rule("drop", on="attributes")])
    found = dropped.apply(record("1", inference_id="bob", custom_attributes=("user=bob",)))
    assert (found.inference_id, found.event_id, found.custom_attributes) == (None, "e-1", ())


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        (Rule("drop"), "only a mask may be over everything"),
        (Rule("drop", name="a", index=1), "name and index"),
        (Rule("drop", index=1), "say on: input or on: output"),
        (Rule("drop", path="a..b"), "cannot be read at"),
        (Rule("drop", path="$"), "names the whole document"),
        (Rule("mask", name="a"), "there is no pattern"),
        (Rule("mask", pattern="("), "unterminated"),
        (Rule("mask", pattern="x*"), "matches where nothing is"),
        (Rule("mask", pattern="a", replacement=r"\2"), "invalid group reference"),
        (Rule("mask", pattern="a", replacement="aa"), "matched by its own pattern"),
        (Rule("round", name="a"), "give one of width, edges"),
        (Rule("round", name="a", width=-1), "must be above 0"),
        (Rule("round", name="a", edges=(2, 1)), "do not ascend"),
        (Rule("drop", name="a", width=3), "width has no meaning here"),
        (Rule("round", on="id", width=3), "cannot be rounded"),
        (Rule("drop", name="emial"), "not among the declared columns"),
    ],
    ids=str,
)
def test_a_rule_without_a_meaning_is_refused(rule: Rule, message: str) -> None:
    with pytest.raises(InputError, match="rule 2") as caught:
        Policy([Rule("drop", name="email"), rule], input_columns=("email", "a"))
    assert message in str(caught.value)


def test_the_key_comes_from_the_environment_or_a_file_and_is_never_shown(tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(KEY + b"\n")
    rules = (Rule("hash", name="a"),)
    for spec in (PolicySpec(rules, key_env="K"), PolicySpec(rules, key_file="key")):
        policy = Policy.of(spec, {"K": KEY.decode()}, tmp_path)
        assert told(policy, '{"a":"bob@example.org"}') == f'{{"a":"{BOB}"}}'
        assert KEY.decode() not in repr(policy) + repr(vars(policy))
    for spec, message in [
        (PolicySpec(rules), "there is no key"),
        (PolicySpec(rules, key_env="NONE"), "NONE of the key is not set"),
        (PolicySpec(rules, key_file="gone"), "cannot be read"),
        (PolicySpec(rules, key_env="SHORT"), "has 5 bytes"),
    ]:
        with pytest.raises(InputError, match=message):
            Policy.of(spec, {"SHORT": "short"}, tmp_path)


def test_nothing_unprotected_is_stored(
    store: Directory, clock: Clock, read_back: ReadBack, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    policy = Policy([Rule("drop", name="mail", on="input")])
    json_type: dict[str, Any] = {"request_content_type": "application/json"}
    with caplog.at_level(logging.WARNING), Capture("shop", store, clock=clock, privacy=policy) as capture:
        capture.log('{"mail":"s3cret"}', "1", inference_id="a", **json_type)
        capture.log(b"\x00s3cret", "0", inference_id="b", request_content_type="image/png")
        capture.log('{"mail":"s3cret', None, inference_id="c", **json_type)
    first, second = read_back()
    assert (first.input, second.input) == (Payload("{}", "JSON", "application/json"), None)
    assert second.output == Payload("0", "CSV", "text/csv")
    dropped, withheld = {"privacy: not valid JSON": 1}, {"privacy: neither CSV nor JSON": 1}
    assert capture.counters == Counters(3, 3, 2, dropped, withheld)
    assert (
        stored_counters(store, "shop", "AllTraffic", Window(clock.at, clock.at + timedelta(seconds=1)))
        == capture.counters
    )
    assert not any(b"s3cret" in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert "s3cret" not in caplog.text


class Broken(Policy):
    def protect(self, record: Record) -> Protected:
        raise KeyError(record.input)


def test_a_policy_that_breaks_costs_the_record(store: Directory, clock: Clock, read_back: ReadBack) -> None:
    with Capture("shop", store, clock=clock, privacy=Broken([])) as capture:
        capture.log("s3cret", "1")
    assert read_back() == []
    assert capture.counters == Counters(1, 1, 0, {"privacy policy failed": 1})


def test_numbers_keep_their_spelling(read_back: ReadBack) -> None:
    text = '{"a":1.0,"b":0.10,"c":12345678901234567890123,"d":-0.0,"e":true}'
    assert told(Policy([Rule("drop", name="z")]), text) == text
    assert json.loads(told(Policy([Rule("hash", name="a"), Rule("hash", name="e")], key=KEY), text))  # type: ignore[arg-type]

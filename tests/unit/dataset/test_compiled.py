"""The compiled parser gives just what the step-by-step way gives, whatever the lines are."""

from __future__ import annotations

import gzip
import json
import math
import struct
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from driftline.dataset.compiled import Asked, compiled, parse, uncompiled
from driftline.dataset.dataset import Answers, Captured, Decoded
from driftline.dataset.decode import decode
from driftline.dataset.decode_compiled import decode_compiled
from driftline.errors import InputError
from driftline.windows import Window

pytestmark = pytest.mark.skipif(not compiled(), reason="the package was built without a compiler")

WINDOW = Window(datetime(2026, 3, 1, 9, tzinfo=UTC), datetime(2026, 3, 1, 10, tzinfo=UTC))


def record(
    data: str | None = "1,0.5,a",
    answer: str | None = "0.25",
    event: str = "e",
    at: str = "2026-03-01T09:14:07Z",
    **more: Any,
) -> dict[str, Any]:
    sides: dict[str, Any] = {}
    if data is not None:
        sides["endpointInput"] = {"observedContentType": "text/csv", "mode": "INPUT", "data": data, "encoding": "CSV"}
    if answer is not None:
        sides["endpointOutput"] = {"mode": "OUTPUT", "data": answer, "encoding": "CSV"}
    return {"captureData": sides, "eventMetadata": {"eventId": event, "inferenceTime": at, **more}, "eventVersion": "0"}


def line(**given: Any) -> bytes:
    return json.dumps(record(**given), separators=(",", ":")).encode()


def told(decoded: Decoded) -> dict[str, Any]:
    """All that came out."""
    letters = [] if decoded.dead_letters is None else decoded.dead_letters.read_text().splitlines()
    table = pa.concat_tables([pq.read_table(path) for path in decoded.table.paths])
    return {
        "intake": decoded.intake,
        "columns": decoded.table.columns,
        "letters": sorted(letters),
        "schema": table.schema,
        "rows": [[_exact(value) for value in column.to_pylist()] for column in table.columns],
    }


def _exact(value: object) -> object:
    return struct.pack("d", value) if isinstance(value, float) else value


def both(files: Mapping[str, bytes], source: Mapping[str, Any], answers: Answers | None) -> tuple[Any, Any]:
    with TemporaryDirectory() as name:
        folder = Path(name)
        for file, data in files.items():
            (folder / file).write_bytes(gzip.compress(data) if file.endswith(".gz") else data)
        captured = Captured((folder,), **source)
        found: list[Any] = []
        for into in ("one", "other"):
            try:
                if into == "one":
                    found.append(told(decode(captured, folder / f".{into}", answers=answers)))
                else:
                    with uncompiled():
                        found.append(told(decode(captured, folder / f".{into}", answers=answers)))
            except InputError as why:
                found.append(str(why))
        return found[0], found[1]


SPELLED = """
0 -0 -0.0 007 1. .5 +1 1e5 1E-7 2.5e+300 1e400 -1e-400 5e-324 2.2250738585072014e-308 1e 1e+ 0x1 nan inf 1_0 ٣
9007199254740993 9223372036854775807 9223372036854775808 0.000000000000000000000001 12345678901234567890.5"""
TIMES = """
2026-03-01T09:14:07.25Z 2026-03-01T09:59:59.999999Z 2026-03-01T10:00:00Z 2026-03-01T08:59:59Z 2026-02-29T09:00:00Z
2024-02-29T09:00:00Z 2026-03-01T09:60:00Z 2026-03-01T24:00:00Z 2026-03-01T09:14:60Z 2026-03-01T09:14:07+00:00
2026-03-01T09:14:07.1234567Z 2026-03-01 2026-3-1T9:0:0Z soon 0001-01-01T00:00:00Z 1600-01-01T00:00:00.000001Z
2299-12-31T23:59:59Z 1969-12-31T23:59:59.5Z 2026-03-01T09:14:07.Z"""
ODD = ["", " ", "a", "cat01", "é", "𝄞", "a b", "true", '"', '"a"', "\\", "/", "\t", "\0", "\x7f"]
numbers = st.one_of(
    st.integers(-(10**20), 10**20).map(str),
    st.floats(allow_nan=False).map(repr),
    st.floats(-1e6, 1e6).map(lambda x: f"{x:.6g}"),
    st.floats(-1e300, 1e300).map(lambda x: f"{x:.20g}"),
    st.sampled_from(SPELLED.split()),
)
texts = st.one_of(st.sampled_from(ODD), st.text(max_size=6))
fields = st.one_of(numbers, numbers, texts)
ends = st.sampled_from(["", "", "", "\n", "\r\n", "\r", "\n\n", ",", " "])


@st.composite
def payloads(draw: st.DrawFn, width: int) -> str:
    width = width if draw(st.integers(0, 9)) else draw(st.integers(0, 4))
    rows = draw(st.sampled_from([1, 1, 1, 1, 2, 3]))
    join = draw(st.sampled_from(["\n", "\r\n", "\n\n"]))
    return join.join(",".join(draw(st.lists(fields, min_size=width, max_size=width))) for _ in range(rows)) + draw(ends)


times = st.sampled_from(["2026-03-01T09:14:07Z"] * 6 + TIMES.split())
values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=4,
)


@st.composite
def records(draw: st.DrawFn) -> bytes:
    def sometimes(percent: int) -> bool:
        return draw(st.integers(0, 99)) < percent

    own = draw(st.sampled_from(["e", "f", "g", "h", "é"])) + str(draw(st.integers(0, 30)))
    found = record(draw(payloads(3)), draw(payloads(1)), own, draw(times))
    sides, event = found["captureData"], found["eventMetadata"]
    if sometimes(20):
        event["inferenceId"] = draw(st.one_of(st.none(), texts, st.just("order-17")))
    if sometimes(15):
        event["inclusionProbability"] = draw(st.sampled_from([1, 1.0, 0.5, 0.1, 1e-3, 0, 2, -1, "0.5", None, True]))
    if sometimes(15):
        event["statusCode"] = draw(st.sampled_from([500, 404, 400, 399, 200, 0, 1000, 500.0, -500, "500", "x", None]))
    if sometimes(15):
        del sides[draw(st.sampled_from(["endpointInput", "endpointOutput"]))]
    for side in sides.values():
        if sometimes(5):
            side["encoding"] = draw(st.sampled_from(["csv", "JSON", "BASE64", "", None, 1]))
        if sometimes(3):
            side["data"] = draw(st.one_of(values, st.sampled_from(["[1, 2]", '{"a": 1}', '"1,2"'])))
    if sometimes(10):
        draw(st.sampled_from([found, sides, event]))[draw(st.sampled_from(["customAttributes", "x", "é", 'a"b']))] = (
            draw(values)
        )
    if sometimes(4):
        del event[draw(st.sampled_from(["eventId", "inferenceTime"]))]
    if sometimes(2):
        found["groundTruthData"] = draw(st.sampled_from([{"data": "1", "encoding": "CSV"}, None]))
    if sometimes(2):
        sides["batchTransformOutput"] = draw(st.sampled_from([{"data": "1", "encoding": "CSV"}, None]))
    if sometimes(20):
        found = dict(draw(st.permutations(list(found.items()))))
    style: Any = draw(st.sampled_from([{"separators": (",", ":")}, {}, {"ensure_ascii": False}, {"indent": " "}]))
    text = json.dumps(found, **style).replace("\n", "\r" if sometimes(50) else " ")
    if sometimes(3):
        key = draw(st.sampled_from(["data", "encoding", "eventId", "captureData", "endpointInput", "inferenceTime"]))
        text = text.replace(f'"{key}"', f'"{key}": "twice", "{key}"', 1)
    raw = text.encode("utf-8", "surrogatepass")
    if sometimes(10):  # a stroke of bad luck
        at = draw(st.integers(0, len(raw)))
        raw = raw[:at] + draw(st.binary(max_size=2)) + raw[at + draw(st.integers(0, 3)) :]
    return raw


JUNK = [
    b"",
    b" ",
    b"\t \r",
    b"{}",
    b"[]",
    b"null",
    b"\xff",
    b"\xc2\xa0",
    b"{",
    b"\xef\xbb\xbf",
    b"[" * 300,
    b'{"a":1}x',
]
junk = st.sampled_from([*JUNK, b"[" * 300])
lines = st.lists(st.one_of(*[records()] * 8, junk), max_size=14)


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    files=st.dictionaries(st.sampled_from(["a.jsonl", "b.jsonl.gz", "c.json"]), lines, min_size=1),
    join=st.sampled_from([b"\n", b"\r\n"]),
    last=st.booleans(),
    timed=st.booleans(),
    sides=st.sampled_from([None, None, ("input",), ("output",), ("input", "output")]),
    names=st.sampled_from([None, ("a", "b", "c"), ("y", "a", "b", "c")]),
    answers=st.sampled_from([None, None, Answers(prediction="0"), Answers(score="0"), Answers(score="1")]),
)
@example({"a.jsonl": [line(event=str(i)) for i in range(5)]}, b"\n", True, True, None, None, None)
@example({"a.jsonl": [line(), line(), line(event="f")]}, b"\n", True, True, None, None, None)
@example({"a.jsonl": [line(answer=None), line(event="f")]}, b"\n", True, True, None, None, None)
def test_both_ways_tell_the_same(
    files: dict[str, list[bytes]], join: bytes, last: bool, timed: bool, sides: Any, names: Any, answers: Any
) -> None:
    source = {"window": WINDOW if timed else None, "sides": sides, "names": names}
    written = {name: join.join(each) + (join if last else b"") for name, each in files.items()}
    one, other = both(written, source, answers)
    assert one == other


@pytest.mark.parametrize("way", ["compiled", "step by step"])
def test_errors_make_no_rows_and_are_counted_with_their_weight(tmp_path: Path, way: str) -> None:
    answers = [line(event=f"a{i}", inclusionProbability=0.25) for i in range(10)]
    errors = [line(data="oops", answer=None, event=f"b{i}", statusCode=503) for i in range(8)]
    errors += [line(data=None, answer=None, event="c", statusCode=404, inclusionProbability=0.5)]
    late = [line(event="d", statusCode=500, at="2026-03-01T10:00:00Z")]
    (tmp_path / "a.jsonl").write_bytes(b"\n".join(answers + errors + late))
    source = Captured((tmp_path,), window=WINDOW)
    if way == "compiled":
        found = decode_compiled(source, tmp_path / ".into", answers=None, progress=None)
        assert found is not None
        intake = found[0].intake
    else:
        with uncompiled():
            intake = decode(source, tmp_path / ".into").intake
    assert (intake.records, intake.rows, intake.dead, intake.outside) == (20, 10, 0, 1)
    assert (intake.errors, intake.statuses) == (9, {"404": 1, "503": 8})
    assert intake.error_share == 10 / 50


def test_a_long_id_of_many_rows_does_not_fill_the_memory() -> None:
    many = "1\n" * 100_000
    short, long = (line(event=e, data=many, answer=many, inferenceId=e * n) for e, n in (("s", 64), ("l", 1000)))
    one, other = both({"a.jsonl": short + b"\n" + long + b"\n"}, {}, None)
    assert one == other
    assert one["intake"].rows == 100_000
    assert one["intake"].reasons == {"an id of 1,000 bytes for 100,000 rows; give it a shorter one": 1}


def test_what_the_parser_understands_is_not_handed_back(tmp_path: Path) -> None:
    """Else all that is said here of both ways would be said of one way only."""
    more = {"inferenceId": "order-17", "inclusionProbability": 0.25, "customAttributes": {"a": [1, None, "é"]}}
    each = [line(event=f"e{i}", data=f"{i},{i}.5,ü/{i}\n1,2.5,b\n", answer="0.25\r\n0.5", **more) for i in range(5)]
    data = b"\n".join(each) + b"\n"
    types = {"i:0": pa.int64(), "i:1": pa.float64(), "i:2": pa.string(), "o:0": pa.float64()}
    found = parse(data, len(data), Asked({"input": 3, "output": 1}, types, ("output", "input"), WINDOW))
    assert (found.rows, found.lines, len(found.events), len(found.back), found.sampled) == (10, 5, 5, 0, True)
    assert found.columns["i:2"].to_pylist()[:4] == ["ü/0", "b", "ü/1", "b"]
    assert found.columns["i:1"].to_pylist()[:3] == [0.5, 2.5, 1.5]
    assert found.ordinal.to_pylist() == [0, 1] * 5
    assert found.id.to_pylist() == ["order-17"] * 10


def test_a_guess_that_proves_wrong_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("driftline.dataset.lines.BLOCK", 4096)
    monkeypatch.setattr("driftline.dataset.guess._LEAST", 1024)
    monkeypatch.setattr("driftline.dataset.guess._SHARE", 10**9)
    late: dict[int, Any] = {
        90: {"data": "1.5,0.5,a"},
        300: {"data": "1,2,a"},
        500: {"event": "e7"},
        600: {"inclusionProbability": 0.5},
    }
    each = [line(**{"event": f"e{i}"} | late.get(i, {})) for i in range(700)]
    (tmp_path / "a.jsonl").write_bytes(b"\n".join(each))
    found = decode_compiled(Captured((tmp_path,)), tmp_path / ".one", answers=None, progress=None)
    assert found is not None
    one = found[0]
    with uncompiled():
        other = decode(Captured((tmp_path,)), tmp_path / ".other")
    assert told(one) == told(other)
    assert one.intake.duplicates == 1
    kinds = [str(kind) for kind in pq.read_schema(one.table.paths[0]).types]
    assert kinds[:4] == ["double", "string", "string", "string"]


def test_lines_that_are_no_records_keep_their_numbers_over_blocks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("driftline.dataset.lines.BLOCK", 1000)
    monkeypatch.setattr("driftline.dataset.lines.LONGEST", 3000)
    good = line()
    odd = {3: b"{", 10: b"x" * 9000, 11: b"\xff", 20: b" ", 30: b'{"a": ' + b"[" * 500, 39: b"}"}
    each = [odd.get(i, good.replace(b'"e"', b'"e%d"' % i)) for i in range(40)]
    one, other = both({"a.jsonl": b"\n".join(each), "b.jsonl": b"\n\n{\n"}, {}, None)
    assert one == other
    assert sorted(json.loads(letter)["line"] for letter in one["letters"]) == [3, 4, 11, 12, 31, 40]


DECIMALS = st.from_regex(r"-?[0-9]{1,19}\.[0-9]{1,19}(e-?[0-9]{1,3})?", fullmatch=True)
FLOATS = st.floats(allow_nan=False, allow_infinity=False).map(repr)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.one_of(FLOATS, numbers, DECIMALS), min_size=1, max_size=50))
def test_numbers_are_the_nearest_ones(spelled: list[str]) -> None:
    spelled = [text for text in spelled if text.isascii()]
    data = b"".join(line(data=text, answer=None, event=str(i)) + b"\n" for i, text in enumerate(spelled))
    asked = Asked({"input": 1, "output": 0}, {"i:0": pa.float64()}, ("input",))
    found = parse(data, len(data), asked)
    taken = np.setdiff1d(np.arange(len(spelled)), found.back[:, 2])
    for text, value in zip([spelled[at] for at in taken], found.columns["i:0"].to_pylist(), strict=True):
        if any(sign in text for sign in ".eE") and text[-1].isdigit() and text.lstrip("-")[0].isdigit():
            assert value is not None
            assert math.copysign(1, value) == math.copysign(1, float(text))
            assert value == float(text) or "_" in text

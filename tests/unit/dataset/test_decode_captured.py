from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from driftline.dataset.dataset import Answers, Captured, Decoded
from driftline.dataset.decode import decode
from driftline.errors import InputError
from driftline.schema import ID, LABEL, ORDINAL, PREDICTION, PROBABILITY, SCORE, TIME
from driftline.windows import Window

Capture = Callable[..., str]
Rows = Callable[..., list[dict[str, Any]]]
BASE64 = "BASE64 data; a preprocess script must decode it"
HOUR = Window(datetime(2026, 3, 1, 9, tzinfo=UTC), datetime(2026, 3, 1, 10, tzinfo=UTC))


@pytest.fixture
def take(tmp_path: Path) -> Callable[..., Decoded]:
    def take(*lines: str, answers: Answers | None = None, label: str | None = None, **options: Any) -> Decoded:
        path = tmp_path / "in" / "a.jsonl"
        path.parent.mkdir(exist_ok=True)
        path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
        return decode(Captured((path,), **options), tmp_path / "out", answers=answers, label=label)

    return take


def test_csv_columns_get_their_names_by_position_outputs_first(take: Any, capture: Capture, rows: Rows) -> None:
    found = take(capture("1,2", "0.5"), names=("p", "a", "b"))
    assert rows(found) == [{"p": 0.5, "a": 1, "b": 2}]
    assert rows(take(capture("1,2", "0.5"), names=("a", "b", "p"), output_last=True)) == [{"a": 1, "b": 2, "p": 0.5}]
    assert rows(take(capture("1,2,3", "0.5"), names=("p", "a"))) == [{"p": 0.5, "a": 1, "_c2": 2, "_c3": 3}]
    assert rows(take(capture("1,2", "0.5"))) == [{"_c0": 0.5, "_c1": 1, "_c2": 2}]


def test_the_input_stands_alone_when_it_has_just_as_many_columns_as_names(
    take: Any, capture: Capture, rows: Rows
) -> None:
    found = take(capture("1,2", "0.5"), names=("a", "b"), answers=Answers(score="0"))
    assert rows(found) == [{"a": 1, "b": 2}]
    assert rows(found, reserved=True)[0][SCORE] == 0.5


def test_reserved_columns_say_who_when_and_how_likely(take: Any, capture: Capture, rows: Rows) -> None:
    found = rows(take(capture(inclusionProbability=0.25), capture(event_id="e2", inferenceId="order-2")), reserved=True)
    assert [(r[ID], r[ORDINAL], r[PROBABILITY]) for r in found] == [("e1", 0, 0.25), ("order-2", 0, 1.0)]
    assert found[0][TIME] == datetime(2026, 3, 1, 9, 14, 7, tzinfo=UTC)


def test_a_probability_of_one_everywhere_is_no_column(take: Any, capture: Capture, types: Any) -> None:
    assert PROBABILITY not in types(take(capture(), capture(event_id="e2", inclusionProbability=1.0)))


def test_rows_of_one_request_are_paired_in_order(take: Any, capture: Capture, rows: Rows) -> None:
    found = take(capture("1,2\n3,4\n", "0.5\n0.25\n"), capture("5,6", "0.75", event_id="e2"))
    assert [(r[ID], r[ORDINAL], r["_c0"], r["_c1"]) for r in rows(found, reserved=True)] == [
        ("e1", 0, 0.5, 1), ("e1", 1, 0.25, 3), ("e2", 0, 0.75, 5),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("data", "output", "encodings", "expected"),
    [
        ("1\n2\n3", "0.1,0.2,0.3", ("CSV", "CSV"), [(0.1, 1), (0.2, 2), (0.3, 3)]),
        ("1\n2", "[0.1, 0.2]", ("CSV", "JSON"), [(0.1, 1), (0.2, 2)]),
        ("1\n2", '{"predictions": [0.1, 0.2]}', ("CSV", "JSON"), [(0.1, 1), (0.2, 2)]),
        ("1\n2", "[[0.1], [0.2]]", ("CSV", "JSON"), [(0.1, 1), (0.2, 2)]),
        ("1\n2", "0.1\n0.2\n", ("CSV", "JSON"), [(0.1, 1), (0.2, 2)]),
    ],
    ids=["one line of answers", "flat list", "predictions", "list of lists", "JSON lines"],
)
def test_answers_of_several_rows_come_in_many_shapes(
    take: Any, capture: Capture, rows: Rows, data: str, output: str, encodings: Any, expected: list[Any]
) -> None:
    found = rows(take(capture(data, output, encodings=encodings)))
    assert [tuple(row.values()) for row in found] == expected


def test_json_objects_are_flattened_by_path(take: Any, capture: Capture, rows: Rows) -> None:
    one = capture('{"a": 1, "b": {"c": [true, "x"]}}', '{"predictions": [{"score": 0.5}]}', encodings=("JSON", "JSON"))
    two = capture('{"a": 2, "z": null}', '{"predictions": [{"score": 1.5}]}', event_id="e2", encodings=("JSON", "JSON"))
    assert rows(take(one, two)) == [
        {"score": 0.5, "a": 1, "b.c.0": True, "b.c.1": "x", "z": None},
        {"score": 1.5, "a": 2, "b.c.0": None, "b.c.1": None, "z": None},
    ]


def test_the_same_key_on_both_sides_makes_two_columns(take: Any, capture: Capture, rows: Rows) -> None:
    found = take(capture('{"x": 1}', '{"x": 2}', encodings=("JSON", "JSON")))
    assert rows(found) == [{"x": 2, "endpointInput.x": 1}]


@pytest.mark.parametrize(
    "place", ["predictions[0].score", "predictions.0.score", "predictions[].score", "$.predictions[*].score", "score"]
)
def test_a_score_is_found_by_its_path(take: Any, capture: Capture, rows: Rows, place: str) -> None:
    output = '{"predictions": [{"score": 0.5, "label": "cat"}, {"score": 1, "label": "dog"}]}'
    line = capture("1\n2", output, encodings=("CSV", "JSON"))
    found = rows(take(line, answers=Answers(prediction="predictions[0].label", score=place)), reserved=True)
    assert [(r[SCORE], r[PREDICTION]) for r in found] == [(0.5, "cat"), (1.0, "dog")]


@pytest.mark.parametrize(
    ("output", "place"),
    [
        ('{"predictions": [0.25, 0.75]}', "predictions[1]"),
        ('{"predictions": [0.25, 0.75]}', "predictions.1"),
        ('{"predictions": [[0.25, 0.75]]}', "predictions[0][1]"),
        ("[0.25, 0.75]", "$[1]"),
        ('{"predictions": {"1": 0.75}}', "predictions.1"),
        ('{"predictions": [0.75]}', "predictions[0]"),
    ],
)
def test_a_path_into_a_flat_list_leads_to_the_value_at_that_place(
    take: Any, capture: Capture, rows: Rows, output: str, place: str
) -> None:
    line = capture("1,2", output, encodings=("CSV", "JSON"))
    assert [r[SCORE] for r in rows(take(line, answers=Answers(score=place)), reserved=True)] == [0.75]


def test_a_prediction_that_is_not_there_is_refused_with_what_is(take: Any, capture: Capture) -> None:
    with pytest.raises(InputError, match=r"there is no prediction at '7' in the output.*'0'"):
        take(capture(), answers=Answers(prediction="7"))


def test_a_side_that_was_not_captured_has_no_columns(take: Any, capture: Capture, rows: Rows) -> None:
    assert rows(take(capture("1,2", None))) == [{"_c0": 1, "_c1": 2}]
    assert rows(take(capture(None, "0.5"))) == [{"_c0": 0.5}]


def test_a_merged_record_brings_its_label(take: Any, capture: Capture, rows: Rows) -> None:
    truth = {"data": '{"instances": [{"label": 0}, {"label": 1}]}', "encoding": "JSON"}
    found = take(capture("1\n2", "0.1\n0.2", truth=truth))
    assert [r[LABEL] for r in rows(found, reserved=True)] == [0, 1]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('{"captureData": {"endp', "not valid JSON"),
        ("[1]", "not a JSON object"),
        ("{}", "no captureData with the data of an endpointInput or endpointOutput"),
        ({"data": "1,2,3"}, "endpointInput: 3 CSV fields where most records have 2"),
        ({"data": "1,2\n3,4", "output": "0.5\n0.5\n0.5"}, "input and output have different numbers of rows"),
        ({"data": "aGk=", "encodings": ("BASE64", "CSV")}, f"endpointInput: {BASE64}"),
        ({"data": "{", "encodings": ("JSON", "CSV")}, "endpointInput: the data is not valid JSON"),
        ({"data": "1", "encodings": ("XML", "CSV")}, "endpointInput: an encoding other than CSV, JSON and BASE64"),
        ({"data": "", "output": ""}, "no rows in the payloads"),
        ({"time": None}, "no eventMetadata.inferenceTime"),
        ({"time": "yesterday"}, "eventMetadata.inferenceTime is not a time"),
        ({"time": "infinity"}, "eventMetadata.inferenceTime is not a time"),
        ({"inclusionProbability": 0}, "eventMetadata.inclusionProbability is not a number in (0, 1]"),
    ],
)  # fmt: skip
def test_a_record_that_cannot_be_decoded_is_a_dead_letter(take: Any, capture: Capture, line: Any, reason: str) -> None:
    bad = line if isinstance(line, str) else capture(**{"event_id": "bad", **line})
    found = take(capture(event_id="e1"), bad, capture(event_id="e2"), window=HOUR)
    assert found.intake.reasons == {reason: 1}
    assert found.intake.rows == 2
    assert found.dead_letters is not None
    letter = json.loads(found.dead_letters.read_text())
    assert (letter["line"], letter["offset"]) == (2, len(capture(event_id="e1")) + 1)


def test_every_record_is_in_exactly_one_count(take: Any, capture: Capture) -> None:
    lines = [capture(event_id=f"e{i % 90}", time=f"2026-03-01T{8 + i % 3:02}:59:59Z") for i in range(100)]
    lines += ["{broken", capture("1,2,3", event_id="wide", time="2026-03-01T09:00:00Z")]
    intake = take(*lines, window=HOUR).intake
    assert intake.records == 102
    assert intake.rows + intake.dead + intake.outside + intake.duplicates + intake.skipped == 102
    assert (intake.dead, intake.outside) == (2, 67)


def test_of_two_records_of_one_event_the_first_stays(take: Any, capture: Capture, rows: Rows) -> None:
    found = take(capture("1,1"), capture("2,2"), capture("3,3", event_id=None), capture("4,4", event_id=None))
    assert [r["_c1"] for r in rows(found)] == [1, 3, 4]
    assert found.intake.duplicates == 1


def test_the_window_includes_its_start_and_not_its_end(take: Any, capture: Capture) -> None:
    times = ["08:59:59Z", "09:00:00Z", "09:59:59Z", "10:00:00Z", "10:30:00+01:00"]
    found = take(*(capture(event_id=t, time=f"2026-03-01T{t}") for t in times), window=HOUR)
    assert (found.intake.rows, found.intake.outside) == (3, 2)


def test_an_empty_window_is_a_table_without_rows(take: Any, capture: Capture, types: Any) -> None:
    found = take(capture(time="2026-03-02T09:00:00Z"), window=HOUR, answers=Answers(score="0"))
    assert (found.table.rows, found.intake.outside) == (0, 1)
    assert {ID, ORDINAL, TIME} <= set(types(found))
    assert take().table.rows == 0


def test_a_file_may_be_one_array_of_records(take: Any, capture: Capture, rows: Rows) -> None:
    assert len(rows(take("[" + capture() + ",\n" + capture(event_id="e2") + "]"))) == 2


def test_a_gz_file_that_was_never_one_is_a_dead_letter(tmp_path: Path, capture: Capture) -> None:
    path = tmp_path / "a.jsonl.gz"
    packed = bytearray(gzip.compress((capture() + "\n").encode()))
    packed[10:30] = b"\xff" * 20
    path.write_bytes(packed)
    found = decode(Captured((path,)), tmp_path / "out")
    assert found.intake.reasons == {"the gz file is broken from here on": 1}


def test_the_real_churn_requests_come_through_whole(tmp_path: Path, capture: Capture, types: Any) -> None:
    churn = Path(__file__).parents[2] / "data" / "churn" / "test-dataset-input-cols.csv"
    if not churn.exists():
        pytest.skip("the churn data is not in this tree")
    lines = churn.read_text().splitlines()
    path = tmp_path / "a.jsonl"
    path.write_text("".join(capture(line, "0.125", event_id=str(i)) + "\n" for i, line in enumerate(lines)))
    found = decode(Captured((path,)), tmp_path / "out")
    assert (found.intake.rows, found.intake.dead, len(found.table.columns)) == (334, 0, 70)
    assert list(types(found).values()).count("string") == 60

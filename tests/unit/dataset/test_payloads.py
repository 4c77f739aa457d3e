from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from driftline.dataset.compiled import uncompiled
from driftline.dataset.dataset import Answers, Captured, Decoded
from driftline.dataset.decode import decode
from driftline.schema import SCORE

Capture = Callable[..., str]
Rows = Callable[..., list[dict[str, Any]]]


@pytest.fixture
def take(tmp_path: Path) -> Callable[..., Decoded]:
    def take(*lines: str, **options: Any) -> Decoded:
        (tmp_path / "a.jsonl").write_text("".join(line + "\n" for line in lines), encoding="utf-8")
        answers = options.pop("answers", None)
        return decode(Captured((tmp_path / "a.jsonl",), **options), tmp_path / "out", answers=answers)

    return take


def tensors(**columns: list[Any]) -> list[dict[str, Any]]:
    return [{"name": k, "shape": [len(v), 1], "datatype": "FP64", "data": v} for k, v in columns.items()]


WANTED = [{"p": 0.25, "a": 1, "b": 2}, {"p": 0.75, "a": 3, "b": 4}]
SERVERS: dict[str, tuple[Any, Any]] = {
    "plain objects": ([{"a": 1, "b": 2}, {"a": 3, "b": 4}], [{"p": 0.25}, {"p": 0.75}]),
    "V1": ({"instances": [{"a": 1, "b": 2}, {"a": 3, "b": 4}]}, {"predictions": [{"p": 0.25}, {"p": 0.75}]}),
    "V2": ({"inputs": tensors(a=[1, 3], b=[2, 4])}, {"model_name": "m", "outputs": tensors(p=[0.25, 0.75])}),
    "TensorFlow Serving, columns": ({"inputs": {"a": [1, 3], "b": [2, 4]}}, {"outputs": {"p": [0.25, 0.75]}}),
    "MLflow, split": (
        {"dataframe_split": {"columns": ["a", "b"], "data": [[1, 2], [3, 4]]}, "params": {}},
        {"predictions": [{"p": 0.25}, {"p": 0.75}]},
    ),
    "MLflow, records": (
        {"dataframe_records": [{"a": 1, "b": 2}, {"a": 3, "b": 4}]},
        {"predictions": [{"p": 0.25}, {"p": 0.75}]},
    ),
    "BentoML": ({"df": [{"a": 1, "b": 2}, {"a": 3, "b": 4}]}, [{"p": 0.25}, {"p": 0.75}]),
    "FastAPI, columns in the answer": ({"rows": [{"a": 1, "b": 2}, {"a": 3, "b": 4}]}, {"p": [0.25, 0.75]}),
}


@pytest.mark.parametrize("server", SERVERS)
def test_what_servers_are_asked_and_answer_are_rows(take: Any, capture: Capture, rows: Rows, server: str) -> None:
    request, answer = map(json.dumps, SERVERS[server])
    assert rows(take(capture(request, answer, encodings=("JSON", "JSON")))) == WANTED


@pytest.mark.parametrize(
    ("request_", "answer"),
    [
        ({"instances": [[1, 2], [3, 4]]}, {"predictions": [0.25, 0.75]}),
        ({"input_data": [[1, 2], [3, 4]]}, [0.25, 0.75]),
        ([[1, 2], [3, 4]], {"predictions": [[0.25], [0.75]]}),
    ],
)
def test_values_without_names_have_them_by_position(
    take: Any, capture: Capture, rows: Rows, request_: Any, answer: Any
) -> None:
    line = capture(json.dumps(request_), json.dumps(answer), encodings=("JSON", "JSON"))
    assert rows(take(line, names=("p", "a", "b"))) == WANTED


def test_json_lines_answer_csv_lines(take: Any, capture: Capture, rows: Rows) -> None:
    line = capture("1,2\n3,4\n", '{"p": 0.25}\n{"p": 0.75}\n', encodings=("CSV", "JSON"))
    assert [list(row.values()) for row in rows(take(line))] == [[0.25, 1, 2], [0.75, 3, 4]]


def test_an_answer_of_one_row_has_the_column_that_an_answer_of_many_has(
    take: Any, capture: Capture, rows: Rows
) -> None:
    many = capture('[{"a": 1}, {"a": 2}]', '{"probability": [0.25, 0.75]}', encodings=("JSON", "JSON"))
    one = capture('{"a": 3}', '{"probability": [0.5]}', encodings=("JSON", "JSON"), event_id="e2")
    found = take(many, one, answers=Answers(score="probability[0]"))
    assert [(row["probability"], row[SCORE]) for row in rows(found, reserved=True)] == [
        (0.25, 0.25), (0.75, 0.75), (0.5, 0.5),
    ]  # fmt: skip


def test_probabilities_of_classes_stay_columns_of_one_row(take: Any, capture: Capture, rows: Rows) -> None:
    line = capture('{"a": 1}', '{"probabilities": [0.25, 0.75]}', encodings=("JSON", "JSON"))
    assert rows(take(line)) == [{"probabilities.0": 0.25, "probabilities.1": 0.75, "a": 1}]


def test_n_questions_with_m_answers_are_a_dead_letter(take: Any, capture: Capture) -> None:
    request = json.dumps({"inputs": tensors(a=[1, 2, 3])})
    found = take(capture(request, json.dumps({"outputs": tensors(p=[1, 2])}), encodings=("JSON", "JSON")), capture())
    assert found.intake.reasons == {"input and output have different numbers of rows": 1}


def test_what_guessing_gets_wrong_can_be_declared(take: Any, capture: Capture, rows: Rows) -> None:
    basket = capture('{"basket": [{"sku": 1}, {"sku": 2}]}', "0.5", encodings=("JSON", "CSV"))
    assert take(basket).intake.reasons == {"input and output have different numbers of rows": 1}
    found = rows(take(basket, shapes={"input": "document"}))
    assert [list(row.values()) for row in found] == [[0.5, 1, 2]]


def test_csv_with_a_line_of_names_is_declared_and_has_its_names(take: Any, capture: Capture, rows: Rows) -> None:
    line = capture("age,plan\n34,basic\n61,", '{"predictions": [1, 0]}', encodings=("CSV", "JSON"))
    assert take(line).intake.reasons == {"input and output have different numbers of rows": 1}
    found = rows(take(line, shapes={"input": "headed"}))
    assert [(row["age"], row["plan"]) for row in found] == [(34, "basic"), (61, None)]


def test_an_empty_body_and_a_binary_tensor_say_what_they_are(take: Any, capture: Capture) -> None:
    empty = capture("", "[1]", encodings=("JSON", "JSON"), event_id="e0")
    tensor = '{"inputs": [{"name": "x", "shape": [1], "datatype": "FP32", "parameters": {"binary_data_size": 4}}]}'
    binary = capture(tensor + "abcd", "[1]", encodings=("JSON", "JSON"), event_id="e1")
    assert [reason.partition(":")[2][:29] for reason in take(empty, binary).intake.reasons] == [
        " the body is empty", " tensors in the binary extens",
    ]  # fmt: skip


def test_both_ways_of_decoding_agree_on_mixed_payloads(take: Any, capture: Capture, rows: Rows) -> None:
    lines = [capture(f"{i},2", "0.5", event_id=str(i)) for i in range(50)]
    lines[7] = capture("MSwy", "0.5", event_id="b", encodings=("BASE64", "CSV"))
    lines[8] = capture('{"inputs": [{"name": "x"}]}', "0.5", event_id="j", encodings=("JSON", "CSV"))
    lines[9] = capture("1,2", "", event_id="e")
    compiled = take(*lines, shapes={"input": "csv"})
    with uncompiled():
        slow = take(*lines, shapes={"input": "csv"})
    assert (rows(compiled, reserved=True), compiled.intake) == (rows(slow, reserved=True), slow.intake)

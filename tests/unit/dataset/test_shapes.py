from __future__ import annotations

import json
from typing import Any

import pytest

from driftline.dataset.shapes import BINARY, Misshapen, documents_of
from driftline.schema import Shape


def rows(text: str, shape: Shape | None = None) -> list[Any]:
    return [json.loads(document) for document in documents_of(text, shape)]


def tensor(name: str, shape: list[int], data: Any, datatype: str = "FP64") -> dict[str, Any]:
    return {"name": name, "shape": shape, "datatype": datatype, "data": data, "parameters": {"content_type": "np"}}


@pytest.mark.parametrize(
    ("tensors", "expected"),
    [
        ([tensor("x", [2], [1, 2])], [{"x": 1}, {"x": 2}]),
        ([tensor("x", [2, 1], [1, 2])], [{"x": 1}, {"x": 2}]),
        ([tensor("x", [2, 2], [1, 2, 3, 4])], [{"x.0": 1, "x.1": 2}, {"x.0": 3, "x.1": 4}]),
        ([tensor("x", [2, 2], [[1, 2], [3, 4]])], [{"x.0": 1, "x.1": 2}, {"x.0": 3, "x.1": 4}]),
        ([tensor("x", [1, 2, 2], [1, 2, 3, 4])], [{"x.0.0": 1, "x.0.1": 2, "x.1.0": 3, "x.1.1": 4}]),
        ([tensor("x", [], [7])], [{"x": 7}]),
        ([tensor("age", [2, 1], [3, 4]), tensor("plan", [2], ["a", "b"], "BYTES")],
         [{"age": 3, "plan": "a"}, {"age": 4, "plan": "b"}]),
    ],
    ids=["one", "a column", "several columns", "nested data", "of rank 3", "a scalar", "several tensors"],
)  # fmt: skip
def test_tensors_are_rows_along_their_first_axis(tensors: list[Any], expected: list[Any]) -> None:
    for key in ("inputs", "outputs"):
        assert rows(json.dumps({"id": "1", key: tensors, "model_name": "m"})) == expected


@pytest.mark.parametrize(
    ("tensors", "reason"),
    [
        ([tensor("x", [3], [1, 2])], "tensor 'x' has other than as many values as its shape says"),
        ([tensor("x", [2], [1, 2]), tensor("y", [1], [1])], "the tensors have different numbers of rows"),
        ([{"name": "x", "shape": [1], "datatype": "FP32", "parameters": {"binary_data_size": 4}}], BINARY),
        ([tensor("x", [-1], [])], "the shape of tensor 'x' has a negative size"),
        ([tensor("x", [1, 224, 224, 3], [])], "tensor 'x' has other than as many values as its shape says"),
        ([tensor("x", [1, 20_000], [0] * 20_000)], "tensor 'x' has more than 10000 values a row; that is no table"),
    ],
)
def test_tensors_that_are_no_table_say_why(tensors: list[Any], reason: str) -> None:
    with pytest.raises(Misshapen) as why:
        rows(json.dumps({"inputs": tensors}))
    assert str(why.value) == reason


@pytest.mark.parametrize(
    "text",
    [
        '{"dataframe_split": {"columns": ["a", "b"], "index": [7, 8], "data": [[1, "x"], [2, null]]}}',
        '{"columns": ["a", "b"], "data": [[1, "x"], [2, null]]}',
        '{"inputs": {"a": [1, 2], "b": ["x", null]}, "params": {"k": 1}}',
    ],
)
def test_data_frames_become_rows(text: str) -> None:
    assert rows(text) == [{"a": 1, "b": "x"}, {"a": 2, "b": None}]


def test_a_split_data_frame_may_have_no_names_or_numbers_as_names() -> None:
    assert rows('{"dataframe_split": {"data": [[1, 2]]}}') == [[1, 2]]
    assert rows('{"dataframe_split": {"columns": [0, 1], "data": [[1, 2]]}}') == [{"0": 1, "1": 2}]
    with pytest.raises(Misshapen, match="as many values as there are columns"):
        rows('{"dataframe_split": {"columns": ["a"], "data": [[1, 2]]}}')
    with pytest.raises(Misshapen, match="has no data"):
        rows('{"dataframe_split": {}}')


def test_an_object_of_other_things_is_one_row_unless_declared_otherwise() -> None:
    assert rows('{"inputs": {"a": 1, "b": [2]}}') == [{"inputs": {"a": 1, "b": [2]}}]
    with pytest.raises(Misshapen, match="not every value of the object is a list"):
        rows('{"inputs": {"a": 1, "b": [2]}}', "columns")


def test_values_keep_their_spelling_and_what_is_not_a_number_is_no_value() -> None:
    assert documents_of('{"inputs": {"a": [1.50, 1e3], "b": [10000000000000000000000, 2]}}', None) == [
        '{"a":1.50,"b":10000000000000000000000}', '{"a":1e3,"b":2}',
    ]  # fmt: skip
    assert rows('{"inputs": {"a": [NaN, 2.5, -Infinity]}}') == [{"a": None}, {"a": 2.5}, {"a": None}]


@pytest.mark.parametrize(
    ("shape", "text", "expected"),
    [
        ("rows", "[1, 2]", [1, 2]),
        ("rows", '{"features": [1, 2], "model": "m"}', [1, 2]),
        ("document", '{"instances": [1, 2]}', [{"instances": [1, 2]}]),
        ("lines", '{"a": 1}\n\n{"a": 2}\n', [{"a": 1}, {"a": 2}]),
        ("columns", '{"a": [1, 2], "b": [3, 4]}', [{"a": 1, "b": 3}, {"a": 2, "b": 4}]),
        ("columns", '{"customers": {"a": [1, 2], "b": [3, 4]}}', [{"a": 1, "b": 3}, {"a": 2, "b": 4}]),
        ("split", '{"columns": ["a"], "data": [[1]]}', [{"a": 1}]),
    ],
)
def test_a_declared_shape_is_taken_at_its_word(shape: Shape, text: str, expected: list[Any]) -> None:
    assert rows(text, shape) == expected


@pytest.mark.parametrize("shape", ["rows", "document", "lines", "columns", "split", "tensors"])
@pytest.mark.parametrize("text", ["{", "x", "[1", '{"a": 1}}'])
def test_what_is_not_json_has_no_shape(shape: Shape, text: str) -> None:
    with pytest.raises(Misshapen):
        rows(text, shape)


def test_rows_that_could_lie_in_several_lists_are_not_guessed() -> None:
    with pytest.raises(Misshapen, match="several lists could hold the rows"):
        rows('{"a": [1], "b": [2]}', "rows")


def test_headed_csv_has_the_names_of_its_first_line() -> None:
    text = 'age,plan,"a ""name"""\r\n34.0,basic,-1e5\n\n007,,"x, y"\n'
    assert documents_of(text, "headed") == [
        '{"age":34.0,"plan":"basic","a \\"name\\"":-1e5}',
        '{"age":"007","plan":null,"a \\"name\\"":"x, y"}',
    ]
    assert documents_of("age,plan\n", "headed") == []


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("\n", "there is no line that names the columns"),
        ("a,a\n1,2", "the first line names a column twice"),
        ("a,b\n1,2,3", "a line has other than as many fields as the first one names"),
    ],
    ids=["nothing", "a name twice", "more fields than names"],
)
def test_headed_csv_that_is_none_says_why(text: str, reason: str) -> None:
    with pytest.raises(Misshapen) as why:
        documents_of(text, "headed")
    assert str(why.value) == reason

from __future__ import annotations

import json

import pytest

from driftline.dialects.sagemaker_json import java_double, parse, render
from driftline.errors import InputError


@pytest.mark.parametrize(
    ("x", "text"),
    [
        (0.0, "0.0"),
        (1.0, "1.0"),
        (100.0, "100.0"),
        (0.30791265775509713, "0.30791265775509713"),
        (0.003627554789531606, "0.003627554789531606"),
        (0.000509, "5.09E-4"),
        (-0.000509, "-5.09E-4"),
        (1e-5, "1.0E-5"),
        (1.25e-300, "1.25E-300"),
        (9999999.0, "9999999.0"),
        (1e7, "1.0E7"),
        (123456789.5, "1.234567895E8"),
        (1e22, "1.0E22"),
        (float("nan"), "NaN"),
    ],
)
def test_numbers_are_printed_as_java_prints_them(x: float, text: str) -> None:
    assert java_double(x) == text


def test_a_document_is_laid_out_as_model_monitor_lays_it_out() -> None:
    document = {"version": 0.0, "features": [{"name": 'Ärger "x"', "n": 2, "data": [[1.0, 2.5], []]}], "none": {}}
    text = render(document).decode()
    assert json.loads(text) == document
    assert text.splitlines()[:4] == ["{", '  "version" : 0.0,', '  "features" : [ {', '    "name" : "Ärger \\"x\\"",']
    assert '"data" : [ [ 1.0, 2.5 ], [ ] ]' in text


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (b"", "f.json, line 1, column 1: not JSON"),
        (b'{"a": 1', "f.json, line 1, column 8: not JSON"),
        (b"\xff\xfe", "f.json: not UTF-8 at byte 0"),
        (b"[1]", "f.json: holds a list, but must hold a JSON object"),
        (b"[" * 100_000, "f.json: nested too deeply"),
    ],
    ids=["empty", "truncated", "not UTF-8", "a list", "too deep"],
)
def test_what_is_not_a_json_object_is_refused_with_its_place(data: bytes, complaint: str) -> None:
    with pytest.raises(InputError, match="^" + complaint):
        parse(data, "f.json")


def test_a_wrong_value_is_named_with_its_key() -> None:
    place = parse(b'{"features": [{"completeness": 1.5, "name": 3, "on": "maybe", "n": 2.5}]}', "c.json")
    feature = next(place.need("features").items())
    with pytest.raises(InputError, match=r"c.json: features\[0\].completeness is 1.5, but must be .* from 0 to 1"):
        feature.need("completeness").number(0.0, 1.0)
    with pytest.raises(InputError, match=r"features\[0\].name is 3, but must be a string"):
        feature.need("name").text()
    with pytest.raises(InputError, match=r'features\[0\].on is "maybe", but must be "Enabled" or "Disabled"'):
        feature.need("on").flag()
    with pytest.raises(InputError, match=r"features\[0\].n is 2.5, but must be a whole number"):
        feature.need("n").count()
    with pytest.raises(InputError, match=r"key 'kll' of features\[0\] is missing"):
        feature.need("kll")


def test_numbers_that_are_none_are_refused() -> None:
    place = parse(b'{"a": NaN, "b": 1e999, "c": true, "d": 1' + b"0" * 400 + b"}", "c.json")
    for key in "abcd":
        with pytest.raises(InputError, match=f"c.json: {key} is .*must be a number"):
            place.need(key).number()
